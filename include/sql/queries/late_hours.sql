-- Hours whose archive grew after their last batch: late events to count. An hour whose archive was
-- removed by retention cannot be computed again.
SELECT DISTINCT archive_files.hour
FROM ops.archive_files
INNER JOIN ops.hours ON archive_files.hour = hours.hour
WHERE
    archive_files.kind = 'events'
    AND archive_files.commit_id > hours.covered_commit_id
    AND hours.archive_removed_at IS NULL
ORDER BY archive_files.hour;
