-- The stream of a topic at a glance: ages in seconds by the database's clock, records, records/s.
-- Parameters: topic.
WITH stream AS (
    SELECT *
    FROM ops.streams
    WHERE topic = %(topic)s
),

offsets AS (
    SELECT
        coalesce(sum(greatest(log_end_offset - next_offset, 0)), 0)::BIGINT AS lag,
        CASE WHEN count(*) = count(caught_up_at) THEN min(caught_up_at) END AS caught_up_at
    FROM ops.stream_offsets
    WHERE topic = %(topic)s
),

recent AS (
    SELECT coalesce(sum(accepted + rejected), 0)::FLOAT / 30 AS records_per_second
    FROM ops.micro_batches
    WHERE topic = %(topic)s AND committed_at > now() - INTERVAL '30 seconds' AND NOT is_replay
),

lost AS (
    SELECT coalesce(sum(last_offset - first_offset + 1), 0)::BIGINT AS records
    FROM ops.lost_offsets
    WHERE topic = %(topic)s AND acknowledged_at IS NULL
)

SELECT
    stream.state,
    stream.message,
    stream.epoch,
    stream.driver_pid,
    stream.spark_ui_url,
    extract(EPOCH FROM now() - stream.started_at)::FLOAT AS started_age,
    extract(EPOCH FROM now() - stream.heartbeat_at)::FLOAT AS heartbeat_age,
    extract(EPOCH FROM now() - stream.last_commit_at)::FLOAT AS commit_age,
    offsets.lag,
    extract(EPOCH FROM now() - offsets.caught_up_at)::FLOAT AS caught_up_age,
    recent.records_per_second,
    lost.records AS lost_records
FROM stream
CROSS JOIN offsets
CROSS JOIN recent
CROSS JOIN lost;
