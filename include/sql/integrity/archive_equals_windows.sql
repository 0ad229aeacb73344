-- Hours whose archive does not add up to their 5-minute windows in bytes, for antennas, devices and
-- apps alike. Hours whose archive or windows retention has removed cannot be compared.
WITH archived AS (
    SELECT
        hour,
        sum(total_bytes) AS total
    FROM ops.archive_files
    WHERE kind = 'events'
    GROUP BY hour
),

windows AS (
    SELECT
        date_trunc('hour', timestamp, 'UTC') AS hour,
        coalesce(sum(value) FILTER (WHERE type = 'antenna_total_bytes'), 0) AS antennas,
        coalesce(sum(value) FILTER (WHERE type = 'user_total_bytes'), 0) AS devices,
        coalesce(sum(value) FILTER (WHERE type = 'app_total_bytes'), 0) AS apps
    FROM public.bytes
    GROUP BY date_trunc('hour', timestamp, 'UTC')
),

compared AS (
    SELECT
        coalesce(archived.hour, windows.hour) AS hour,
        coalesce(archived.total, 0) AS archived,
        coalesce(windows.antennas, 0) AS antennas,
        coalesce(windows.devices, 0) AS devices,
        coalesce(windows.apps, 0) AS apps
    FROM archived
    FULL OUTER JOIN windows ON archived.hour = windows.hour
)

SELECT
    compared.hour,
    format(
        'archive %s bytes; windows in bytes: antennas %s, devices %s, apps %s',
        compared.archived, compared.antennas, compared.devices, compared.apps
    ) AS figures
FROM compared
LEFT JOIN ops.hours ON compared.hour = hours.hour
WHERE
    hours.archive_removed_at IS NULL
    AND hours.windows_removed_at IS NULL
    AND (
        compared.archived <> compared.antennas
        OR compared.archived <> compared.devices
        OR compared.archived <> compared.apps
    )
ORDER BY compared.hour;
