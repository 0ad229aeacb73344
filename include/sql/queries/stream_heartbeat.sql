-- The driver that holds the stream of a topic, and its newest sign of life.
-- Parameters: topic.
SELECT
    driver_pid,
    heartbeat_at
FROM ops.streams
WHERE topic = %(topic)s;
