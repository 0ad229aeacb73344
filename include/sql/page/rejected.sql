-- Records that the stream rejected, by reason over time; a later replay changes nothing about that. Time is
-- that of the commit.
-- Parameters: first, last, bucket_seconds.
SELECT
    date_bin(make_interval(secs => %(bucket_seconds)s), batches.committed_at, '2000-01-01Z') AS bucket,
    reasons.key AS reason,
    sum(reasons.value::BIGINT)::BIGINT AS records
FROM ops.micro_batches AS batches
CROSS JOIN jsonb_each_text(batches.rejected_by_reason) AS reasons
WHERE
    batches.rejected > 0
    AND NOT batches.is_replay
    AND batches.committed_at >= %(first)s
    AND batches.committed_at < %(last)s
GROUP BY bucket, reasons.key
ORDER BY bucket, reason;
