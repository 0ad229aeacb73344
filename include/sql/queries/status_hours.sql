-- The newest hours that hold events or were computed, newest first.
-- late: events that arrived after the hour was computed and are not in bytes_hourly yet. An hour whose
-- archive was removed by retention is not computed again.
-- Parameters: newest.
WITH with_events AS (
    SELECT DISTINCT hour
    FROM ops.archive_files
    WHERE kind = 'events'
    ORDER BY hour DESC
    LIMIT %(newest)s
),

computed AS (
    SELECT hour
    FROM ops.hours
    ORDER BY hour DESC
    LIMIT %(newest)s
),

newest AS (
    SELECT hour FROM with_events
    UNION
    SELECT hour FROM computed
    ORDER BY hour DESC
    LIMIT %(newest)s
),

archived AS (
    SELECT
        hour,
        sum(rows)::BIGINT AS events,
        max(commit_id) AS newest_commit
    FROM ops.archive_files
    WHERE kind = 'events' AND hour IN (SELECT newest.hour FROM newest)
    GROUP BY hour
)

SELECT
    newest.hour,
    coalesce(archived.events, 0) AS events,
    hours.hour IS NOT NULL AS computed,
    coalesce(
        archived.newest_commit > hours.covered_commit_id AND hours.archive_removed_at IS NULL, FALSE
    ) AS late
FROM newest
LEFT JOIN archived ON newest.hour = archived.hour
LEFT JOIN ops.hours ON newest.hour = hours.hour
ORDER BY newest.hour DESC;
