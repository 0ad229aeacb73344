-- Antennas and apps whose row in bytes_hourly is not the sum of their windows in bytes; of computed
-- hours without late events, whose windows retention has not removed.
WITH comparable AS (
    SELECT hours.hour
    FROM ops.hours
    WHERE
        hours.archive_removed_at IS NULL
        AND hours.windows_removed_at IS NULL
        AND NOT EXISTS (
            SELECT 1
            FROM ops.archive_files
            WHERE
                archive_files.kind = 'events'
                AND archive_files.hour = hours.hour
                AND archive_files.commit_id > hours.covered_commit_id
        )
),

windows AS (
    SELECT
        date_trunc('hour', timestamp, 'UTC') AS hour,
        type,
        id,
        sum(value) AS value
    FROM public.bytes
    WHERE type IN ('antenna_total_bytes', 'app_total_bytes')
    GROUP BY date_trunc('hour', timestamp, 'UTC'), type, id
),

hourly AS (
    SELECT
        timestamp AS hour,
        type,
        id,
        value
    FROM public.bytes_hourly
    WHERE type IN ('antenna_total_bytes', 'app_total_bytes')
),

compared AS (
    SELECT
        coalesce(windows.hour, hourly.hour) AS hour,
        coalesce(windows.type, hourly.type) AS type,
        coalesce(windows.id, hourly.id) AS id,
        windows.value AS of_windows,
        hourly.value AS of_hour
    FROM windows
    FULL OUTER JOIN hourly
        ON windows.hour = hourly.hour AND windows.type = hourly.type AND windows.id = hourly.id
)

SELECT
    compared.hour,
    format(
        '%s of %s: %s in bytes_hourly, %s in the windows of bytes',
        compared.type, compared.id,
        coalesce(compared.of_hour::TEXT, 'no row'), coalesce(compared.of_windows::TEXT, 'no row')
    ) AS figures
FROM compared
INNER JOIN comparable ON compared.hour = comparable.hour
WHERE compared.of_windows IS DISTINCT FROM compared.of_hour
ORDER BY compared.hour, compared.type, compared.id;
