-- How many records the stream and its replays have accepted and rejected in all.
WITH counted AS (
    SELECT
        accepted,
        rejected
    FROM ops.micro_batches
    UNION ALL
    SELECT
        accepted,
        rejected
    FROM ops.removed_records
    WHERE removed_from = 'history'
)

SELECT
    coalesce(sum(accepted), 0)::BIGINT AS accepted,
    coalesce(sum(rejected), 0)::BIGINT AS rejected
FROM counted;
