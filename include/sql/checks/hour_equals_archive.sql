-- The hour's antenna total equals the bytes, and what the batch job read the bytes and events, of
-- the archive files up to the commit that it covers. Where retention has removed the files, only what
-- the batch job read can be compared.
-- Parameters: hour.
WITH asked AS (
    SELECT %(hour)s::TIMESTAMPTZ AS hour
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
        max(hours.events) AS events,
        max(hours.total_bytes) AS total_bytes,
        max(hours.archive_removed_at) AS archive_removed_at
    FROM asked
    INNER JOIN ops.hours ON asked.hour = hours.hour
),

covered AS (
    SELECT
        count(*) AS files,
        coalesce(sum(archive_files.rows), 0) AS events,
        coalesce(sum(archive_files.total_bytes), 0) AS total_bytes
    FROM asked
    INNER JOIN ops.archive_files ON asked.hour = archive_files.hour
    CROSS JOIN computed
    WHERE archive_files.kind = 'events' AND archive_files.commit_id <= computed.covered_commit_id
)

SELECT
    coalesce(
        hourly.antennas = computed.total_bytes
        AND (
            computed.archive_removed_at IS NOT NULL
            OR (computed.total_bytes = covered.total_bytes AND computed.events = covered.events)
        ),
        FALSE
    ) AS passed,
    format(
        'hour %%s: antenna totals in bytes_hourly %%s; the batch job read %%s bytes in %%s events; '
        'the %%s archive files up to commit %%s hold %%s bytes in %%s events%%s',
        asked.hour,
        hourly.antennas,
        coalesce(computed.total_bytes::TEXT, 'no'),
        coalesce(computed.events::TEXT, 'no'),
        covered.files,
        coalesce(computed.covered_commit_id::TEXT, 'none'),
        covered.total_bytes,
        covered.events,
        '; retention removed the archive at ' || computed.archive_removed_at
    ) AS figures
FROM asked
CROSS JOIN hourly
CROSS JOIN computed
CROSS JOIN covered;
