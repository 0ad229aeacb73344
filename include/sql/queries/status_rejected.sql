-- Records rejected in the last 24 hours, by reason, most first.
SELECT
    reasons.key AS reason,
    sum(reasons.value::BIGINT)::BIGINT AS records
FROM ops.micro_batches AS batches
CROSS JOIN jsonb_each_text(batches.rejected_by_reason) AS reasons
WHERE batches.committed_at > now() - INTERVAL '24 hours'
GROUP BY reasons.key
ORDER BY records DESC, reason ASC;
