-- The hours of the archive that end before an instant, the oldest first, and whether they may go.
-- computed: the batch layer has computed the hour with every file of it, or its archive went before.
-- Parameters: before.
WITH archived AS (
    SELECT
        hour,
        max(commit_id) AS newest_commit
    FROM ops.archive_files
    WHERE kind = 'events' AND hour + INTERVAL '1 hour' <= %(before)s
    GROUP BY hour
)

SELECT
    archived.hour,
    coalesce(
        archived.newest_commit <= hours.covered_commit_id OR hours.archive_removed_at IS NOT NULL, FALSE
    ) AS computed
FROM archived
LEFT JOIN ops.hours ON archived.hour = hours.hour
ORDER BY archived.hour;
