-- The 5-minute windows of an hour: start in epoch seconds, type, id, value.
-- Parameters: hour.
WITH asked AS (
    SELECT %(hour)s::TIMESTAMPTZ AS hour
)

SELECT
    extract(EPOCH FROM bytes.timestamp)::BIGINT AS window_start,
    bytes.type,
    bytes.id,
    bytes.value
FROM asked
INNER JOIN public.bytes
    ON asked.hour <= bytes.timestamp AND asked.hour + INTERVAL '1 hour' > bytes.timestamp;
