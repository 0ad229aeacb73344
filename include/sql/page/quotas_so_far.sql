-- The users of the hour that is still open, by their 5-minute windows so far, those that used most of
-- their quota first. passed: over quota; near: from near_percent of it on.
-- Parameters: hour, search, state, near_percent, limit, offset.
WITH windows AS (
    SELECT
        generate_series(
            %(hour)s::TIMESTAMPTZ, %(hour)s::TIMESTAMPTZ + INTERVAL '55 minutes', INTERVAL '5 minutes'
        ) AS timestamp
),

used AS (
    SELECT
        bytes.id,
        sum(bytes.value) AS usage
    FROM windows
    INNER JOIN public.bytes ON windows.timestamp = bytes.timestamp AND bytes.type = 'user_total_bytes'
    GROUP BY bytes.id
),

users AS (
    SELECT
        user_metadata.email,
        coalesce(sum(used.usage), 0)::BIGINT AS usage,
        sum(user_metadata.quota)::BIGINT AS quota
    FROM public.user_metadata
    LEFT JOIN used ON user_metadata.id = used.id
    WHERE user_metadata.email IS NOT NULL
    GROUP BY user_metadata.email
),

judged AS (
    SELECT
        *,
        CASE
            WHEN usage > quota THEN 'passed'
            WHEN usage > 0 AND usage * 100 >= quota * %(near_percent)s THEN 'near'
            ELSE 'within'
        END AS state
    FROM users
    WHERE quota IS NOT NULL
),

counted AS (
    SELECT
        *,
        (count(*) FILTER (WHERE state = 'passed') OVER ())::BIGINT AS passed,
        (count(*) FILTER (WHERE state = 'near') OVER ())::BIGINT AS near
    FROM judged
)

SELECT
    email,
    usage,
    quota,
    state,
    passed,
    near,
    (count(*) OVER ())::BIGINT AS found
FROM counted
WHERE
    (%(state)s::TEXT IS NULL OR state = %(state)s)
    AND position(lower(%(search)s) IN lower(email)) > 0
ORDER BY usage::FLOAT / nullif(quota, 0) DESC NULLS FIRST, email ASC
LIMIT %(limit)s OFFSET %(offset)s;
