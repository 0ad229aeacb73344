-- The hours of bytes that end before an instant, the oldest first, and whether they may go.
-- computed: the batch layer has computed the hour with every file of it, or its archive went before.
-- Parameters: before.
WITH windows AS (
    SELECT DISTINCT date_trunc('hour', timestamp, 'UTC') AS hour
    FROM public.bytes
    WHERE timestamp < date_trunc('hour', %(before)s::TIMESTAMPTZ, 'UTC')
),

archived AS (
    SELECT
        hour,
        max(commit_id) AS newest_commit
    FROM ops.archive_files
    WHERE kind = 'events'
    GROUP BY hour
)

SELECT
    windows.hour,
    coalesce(
        coalesce(archived.newest_commit, 0) <= hours.covered_commit_id
        OR hours.archive_removed_at IS NOT NULL,
        FALSE
    ) AS computed
FROM windows
LEFT JOIN archived ON windows.hour = archived.hour
LEFT JOIN ops.hours ON windows.hour = hours.hour
ORDER BY windows.hour;
