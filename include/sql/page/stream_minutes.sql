-- The stream minute by minute, the oldest first: the largest lag in records (NULL: no driver ran), and the
-- records committed.
-- Parameters: topic, minutes.
WITH minutes AS (
    SELECT generate_series(
        date_trunc('minute', now()) - make_interval(mins => %(minutes)s - 1),
        date_trunc('minute', now()),
        INTERVAL '1 minute'
    ) AS minute
),

committed AS (
    SELECT
        date_trunc('minute', committed_at) AS minute,
        sum(accepted + rejected)::BIGINT AS records
    FROM ops.micro_batches
    WHERE
        topic = %(topic)s
        AND NOT is_replay
        AND committed_at >= (SELECT min(minutes.minute) FROM minutes)
    GROUP BY date_trunc('minute', committed_at)
)

SELECT
    minutes.minute,
    stream_lag.lag,
    coalesce(committed.records, 0) AS records
FROM minutes
LEFT JOIN ops.stream_lag ON minutes.minute = stream_lag.minute AND stream_lag.topic = %(topic)s
LEFT JOIN committed ON minutes.minute = committed.minute
ORDER BY minutes.minute;
