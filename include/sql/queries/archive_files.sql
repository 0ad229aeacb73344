-- Rows of the manifest, each with the topic of its commit, in the order of their commits.
-- Parameters: kinds; first_hour, end_hour: hours from the one up to before the other.
WITH chosen AS (
    SELECT *
    FROM ops.archive_files
    WHERE kind = any(%(kinds)s) AND hour >= %(first_hour)s::TIMESTAMPTZ AND hour < %(end_hour)s::TIMESTAMPTZ
)

SELECT
    chosen.path,
    chosen.kind,
    chosen.hour,
    micro_batches.topic,
    chosen.rows,
    chosen.total_bytes,
    chosen.file_size,
    chosen.sha256,
    chosen.offsets,
    chosen.commit_id
FROM chosen
INNER JOIN ops.micro_batches ON chosen.commit_id = micro_batches.commit_id
ORDER BY chosen.commit_id, chosen.path;
