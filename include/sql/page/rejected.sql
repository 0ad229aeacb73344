-- Records that the stream rejected, by reason over time; a later replay changes nothing about that. Time is
-- that of the commit. Most micro-batches reject the same few records, so that alike ones are counted before
-- their reasons are taken apart.
-- Parameters: first, last, bucket_seconds.
WITH alike AS (
    SELECT
        date_bin(make_interval(secs => %(bucket_seconds)s), committed_at, '2000-01-01Z') AS bucket,
        rejected_by_reason,
        count(*) AS batches
    FROM ops.micro_batches
    WHERE rejected > 0 AND NOT is_replay AND committed_at >= %(first)s AND committed_at < %(last)s
    GROUP BY bucket, rejected_by_reason
)

SELECT
    alike.bucket,
    reasons.key AS reason,
    sum(reasons.value::BIGINT * alike.batches)::BIGINT AS records
FROM alike
CROSS JOIN jsonb_each_text(alike.rejected_by_reason) AS reasons
GROUP BY alike.bucket, reasons.key
ORDER BY alike.bucket, reasons.key;
