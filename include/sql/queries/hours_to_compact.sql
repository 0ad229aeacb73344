-- The closed hours that have several files of one kind and topic, the oldest first.
-- Parameters: closed_before.
WITH crowded AS (
    SELECT
        archive_files.kind,
        archive_files.hour
    FROM ops.archive_files
    INNER JOIN ops.micro_batches ON archive_files.commit_id = micro_batches.commit_id
    GROUP BY archive_files.kind, archive_files.hour, micro_batches.topic
    HAVING count(*) > 1
)

SELECT DISTINCT
    kind,
    hour
FROM crowded
WHERE hour + INTERVAL '1 hour' <= %(closed_before)s
ORDER BY hour, kind;
