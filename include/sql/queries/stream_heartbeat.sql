-- The driver that holds the stream of a topic, and its newest sign of life, and its Spark UI.
-- Parameters: topic.
SELECT
    driver_pid,
    heartbeat_at,
    spark_ui_url
FROM ops.streams
WHERE topic = %(topic)s;
