-- Records that the stream rejected in the last 24 hours, by reason, most first; a replay since then
-- changes nothing about that.
SELECT
    reasons.key AS reason,
    sum(reasons.value::BIGINT)::BIGINT AS records
FROM ops.micro_batches AS batches
CROSS JOIN jsonb_each_text(batches.rejected_by_reason) AS reasons
WHERE batches.committed_at > now() - INTERVAL '24 hours' AND NOT batches.is_replay
GROUP BY reasons.key
ORDER BY records DESC, reason ASC;
