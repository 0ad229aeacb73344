-- What status_stream.sql does not say of a topic's stream: how far it is behind in event time, how fresh the
-- newest event was when it was committed, both in seconds, and the records of the last hour.
-- Parameters: topic.
WITH behind AS (
    SELECT extract(EPOCH FROM now() - min(greatest(event_clock, caught_up_at)))::FLOAT AS seconds
    FROM ops.stream_offsets
    WHERE topic = %(topic)s AND log_end_offset > next_offset
),

newest AS (
    SELECT
        committed_at,
        extract(EPOCH FROM committed_at - newest_event_time)::FLOAT AS freshness
    FROM ops.micro_batches
    WHERE topic = %(topic)s AND newest_event_time IS NOT NULL AND NOT is_replay
    ORDER BY commit_id DESC
    LIMIT 1
),

last_hour AS (
    SELECT
        coalesce(sum(accepted), 0)::BIGINT AS accepted,
        coalesce(sum(rejected), 0)::BIGINT AS rejected
    FROM ops.micro_batches
    WHERE topic = %(topic)s AND committed_at > now() - INTERVAL '1 hour' AND NOT is_replay
)

SELECT
    behind.seconds AS lag_seconds,
    newest.committed_at AS last_commit,
    newest.freshness AS freshness_seconds,
    last_hour.accepted,
    last_hour.rejected
FROM last_hour
CROSS JOIN behind
LEFT JOIN newest ON TRUE;
