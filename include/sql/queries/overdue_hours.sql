-- The hours of the last two days that hold events, ended a while ago and are not computed; the oldest first.
-- Hours before those that the schedule computes are left to people.
-- Parameters: scheduled_from (NULL: the first hour that was ever computed), overdue (interval).
WITH schedule AS (
    SELECT
        coalesce(%(scheduled_from)s::TIMESTAMPTZ, min(hour)) AS first_hour,
        now() - INTERVAL '1 hour' - %(overdue)s::INTERVAL AS last_hour
    FROM ops.hours
)

SELECT DISTINCT archive_files.hour
FROM ops.archive_files
INNER JOIN schedule ON archive_files.hour BETWEEN schedule.first_hour AND schedule.last_hour
LEFT JOIN ops.hours ON archive_files.hour = hours.hour
WHERE
    archive_files.kind = 'events'
    AND archive_files.hour >= now() - INTERVAL '2 days'
    AND hours.hour IS NULL
ORDER BY archive_files.hour;
