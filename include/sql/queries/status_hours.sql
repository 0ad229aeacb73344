-- The newest hours that hold events or were computed, newest first.
-- late: events that arrived after the hour was computed and are not in bytes_hourly yet. An hour whose
-- archive was removed by retention is not computed again.
-- Parameters: newest.
WITH archived AS (
    SELECT
        hour,
        sum(rows)::BIGINT AS events,
        max(commit_id) AS newest_commit
    FROM ops.archive_files
    WHERE kind = 'events'
    GROUP BY hour
)

SELECT
    coalesce(archived.hour, hours.hour) AS hour,
    coalesce(archived.events, 0) AS events,
    hours.hour IS NOT NULL AS computed,
    coalesce(
        archived.newest_commit > hours.covered_commit_id AND hours.archive_removed_at IS NULL, FALSE
    ) AS late
FROM archived
FULL OUTER JOIN ops.hours ON archived.hour = hours.hour
ORDER BY coalesce(archived.hour, hours.hour) DESC
LIMIT %(newest)s;
