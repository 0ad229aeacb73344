-- The hour equals its twelve 5-minute windows, for antennas, devices and apps alike, plus the late
-- events: those of commits that the batch did not cover yet are in the windows already. Where retention
-- has removed the windows or the archive, nothing can be compared.
-- Parameters: hour.
WITH asked AS (
    SELECT %(hour)s::TIMESTAMPTZ AS hour
),

windows AS (
    SELECT
        coalesce(sum(bytes.value) FILTER (WHERE bytes.type = 'antenna_total_bytes'), 0) AS antennas,
        coalesce(sum(bytes.value) FILTER (WHERE bytes.type = 'user_total_bytes'), 0) AS devices,
        coalesce(sum(bytes.value) FILTER (WHERE bytes.type = 'app_total_bytes'), 0) AS apps
    FROM asked
    INNER JOIN public.bytes
        ON asked.hour <= bytes.timestamp AND asked.hour + INTERVAL '1 hour' > bytes.timestamp
),

hourly AS (
    SELECT coalesce(sum(bytes_hourly.value), 0) AS antennas
    FROM asked
    INNER JOIN public.bytes_hourly ON asked.hour = bytes_hourly.timestamp
    WHERE bytes_hourly.type = 'antenna_total_bytes'
),

computed AS (
    SELECT
        max(hours.covered_commit_id) AS covered_commit_id,
        max(greatest(hours.archive_removed_at, hours.windows_removed_at)) AS removed_at
    FROM asked
    INNER JOIN ops.hours ON asked.hour = hours.hour
),

late AS (
    SELECT coalesce(sum(archive_files.total_bytes), 0) AS late_bytes
    FROM asked
    INNER JOIN ops.archive_files ON asked.hour = archive_files.hour
    CROSS JOIN computed
    WHERE archive_files.kind = 'events' AND archive_files.commit_id > computed.covered_commit_id
),

figures AS (
    SELECT
        asked.hour,
        hourly.antennas AS hourly_bytes,
        late.late_bytes,
        hourly.antennas + late.late_bytes AS expected,
        windows.antennas,
        windows.devices,
        windows.apps,
        computed.covered_commit_id IS NOT NULL AS batch_has_run,
        computed.removed_at
    FROM asked
    CROSS JOIN windows
    CROSS JOIN hourly
    CROSS JOIN late
    CROSS JOIN computed
)

SELECT
    batch_has_run
    AND (
        removed_at IS NOT NULL
        OR (antennas = expected AND devices = expected AND apps = expected)
    ) AS passed,
    format(
        'hour %%s: antenna totals in bytes_hourly %%s + late events %%s = %%s; '
        'twelve windows in bytes: antennas %%s, devices %%s, apps %%s; the batch job has run: %%s%%s',
        hour, hourly_bytes, late_bytes, expected, antennas, devices, apps, batch_has_run,
        '; retention removed windows or archive at ' || removed_at
    ) AS figures
FROM figures;
