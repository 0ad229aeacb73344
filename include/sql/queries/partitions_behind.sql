-- The partitions that are not consumed past an instant: their newest event time, when they were
-- last seen without lag, and their lag in records.
-- Parameters: instant, grace_seconds.
SELECT
    topic,
    partition,
    event_clock,
    caught_up_at,
    log_end_offset - next_offset AS lag
FROM ops.stream_offsets
WHERE
    coalesce(
        greatest(event_clock, caught_up_at - make_interval(secs => %(grace_seconds)s))
        < %(instant)s::TIMESTAMPTZ,
        TRUE
    )
ORDER BY topic, partition;
