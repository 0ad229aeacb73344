-- Files with offsets that the stream has not committed.
SELECT
    archive_files.path,
    format(
        'partition %s of topic %s up to offset %s; committed up to %s',
        spans.key, micro_batches.topic, (spans.value ->> 1)::BIGINT,
        coalesce((stream_offsets.next_offset - 1)::TEXT, 'none')
    ) AS figures
FROM ops.archive_files
INNER JOIN ops.micro_batches ON archive_files.commit_id = micro_batches.commit_id
CROSS JOIN jsonb_each(archive_files.offsets) AS spans
LEFT JOIN ops.stream_offsets
    ON micro_batches.topic = stream_offsets.topic AND spans.key::INTEGER = stream_offsets.partition
WHERE coalesce((spans.value ->> 1)::BIGINT >= stream_offsets.next_offset, TRUE)
ORDER BY archive_files.path, spans.key;
