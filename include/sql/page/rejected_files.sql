-- The newest files that hold rejected records.
-- Parameters: limit.
SELECT path
FROM ops.archive_files
WHERE kind = 'rejected'
ORDER BY commit_id DESC
LIMIT %(limit)s;
