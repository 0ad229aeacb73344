-- Users new in the CSV are inserted, changed ones updated; equal ones are not touched.
WITH upserted AS (
    INSERT INTO public.user_metadata AS known (id, name, email, quota)
    SELECT
        id,
        name,
        email,
        quota
    FROM incoming_user_metadata
    ON CONFLICT (id) DO UPDATE
        SET name = excluded.name, email = excluded.email, quota = excluded.quota
        WHERE
        (known.name, known.email, known.quota)
        IS DISTINCT FROM (excluded.name, excluded.email, excluded.quota)
    RETURNING known.xmax = 0 AS inserted
)

SELECT
    count(*) FILTER (WHERE inserted) AS inserted,
    count(*) FILTER (WHERE NOT inserted) AS updated
FROM upserted;
