-- Whether every record that a micro-batch accepted or rejected is in a file, less what retention
-- has removed: one row for each kind that differs.
WITH archived AS (
    SELECT
        coalesce(sum(rows) FILTER (WHERE kind = 'events'), 0) AS accepted,
        coalesce(sum(rows) FILTER (WHERE kind = 'rejected'), 0) AS rejected
    FROM ops.archive_files
),

removed AS (
    SELECT
        coalesce(sum(accepted) FILTER (WHERE removed_from <> 'history'), 0) AS accepted,
        coalesce(sum(rejected) FILTER (WHERE removed_from <> 'history'), 0) AS rejected,
        coalesce(sum(accepted) FILTER (WHERE removed_from = 'history'), 0) AS counted_accepted,
        coalesce(sum(rejected) FILTER (WHERE removed_from = 'history'), 0) AS counted_rejected
    FROM ops.removed_records
),

counted AS (
    SELECT
        coalesce(sum(accepted), 0) AS accepted,
        coalesce(sum(rejected), 0) AS rejected
    FROM ops.micro_batches
),

compared AS (
    SELECT
        'accepted' AS kind,
        counted.accepted + removed.counted_accepted AS counted,
        archived.accepted AS in_files,
        removed.accepted AS removed
    FROM counted CROSS JOIN removed CROSS JOIN archived
    UNION ALL
    SELECT
        'rejected' AS kind,
        counted.rejected + removed.counted_rejected AS counted,
        archived.rejected AS in_files,
        removed.rejected AS removed
    FROM counted CROSS JOIN removed CROSS JOIN archived
)

SELECT
    kind,
    format(
        '%s in ops.micro_batches; %s in the files of the manifest, %s removed by retention',
        counted, in_files, removed
    ) AS figures
FROM compared
WHERE counted <> in_files + removed
ORDER BY kind;
