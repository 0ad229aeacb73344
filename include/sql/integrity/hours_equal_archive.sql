-- Computed hours whose totals in bytes_hourly (antennas, apps and mails) are not what the batch job
-- read, or not what the files that it covered hold; and hours with totals that were never computed.
WITH hourly AS (
    SELECT
        timestamp AS hour,
        coalesce(sum(value) FILTER (WHERE type = 'antenna_total_bytes'), 0) AS antennas,
        coalesce(sum(value) FILTER (WHERE type = 'app_total_bytes'), 0) AS apps,
        coalesce(sum(value) FILTER (WHERE type = 'mail_total_bytes'), 0) AS mails
    FROM public.bytes_hourly
    GROUP BY timestamp
),

covered AS (
    SELECT
        archive_files.hour,
        sum(archive_files.rows) AS events,
        sum(archive_files.total_bytes) AS total
    FROM ops.archive_files
    INNER JOIN ops.hours
        ON archive_files.hour = hours.hour AND archive_files.commit_id <= hours.covered_commit_id
    WHERE archive_files.kind = 'events'
    GROUP BY archive_files.hour
),

compared AS (
    SELECT
        coalesce(hours.hour, hourly.hour) AS hour,
        hours.archive_removed_at IS NULL AS has_archive,
        hours.events,
        hours.total_bytes AS total,
        coalesce(covered.events, 0) AS covered_events,
        coalesce(covered.total, 0) AS covered_total,
        coalesce(hourly.antennas, 0) AS antennas,
        coalesce(hourly.apps, 0) AS apps,
        coalesce(hourly.mails, 0) AS mails
    FROM ops.hours
    LEFT JOIN covered ON hours.hour = covered.hour
    FULL OUTER JOIN hourly ON hours.hour = hourly.hour
)

SELECT
    hour,
    format(
        'totals in bytes_hourly: antennas %s, apps %s, mails %s; the batch job read %s bytes in %s events; '
        'the files that it covered hold %s bytes in %s events',
        antennas, apps, mails, coalesce(total::TEXT, 'no'), coalesce(events::TEXT, 'no'),
        covered_total, covered_events
    ) AS figures
FROM compared
WHERE
    total IS NULL
    OR total <> antennas
    OR total <> apps
    OR total <> mails
    OR (has_archive AND (total <> covered_total OR events <> covered_events))
ORDER BY hour;
