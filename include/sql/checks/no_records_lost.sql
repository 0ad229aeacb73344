-- Every range of records that Kafka's retention removed before they were read has been acknowledged.
-- Which hours they would have belonged to is not known, so no hour passes until then.
-- Parameters: hour.
SELECT
    count(*) = 0 AS passed,
    format(
        'hour %%s: ranges of lost records that nobody has acknowledged: %%s%%s',
        %(hour)s::TIMESTAMPTZ,
        count(*),
        coalesce(
            ': ' || string_agg(
                format('%%s partition %%s offsets %%s to %%s', topic, partition, first_offset, last_offset),
                '; ' ORDER BY topic, partition, first_offset
            ),
            ''
        )
    ) AS figures
FROM ops.lost_offsets
WHERE acknowledged_at IS NULL;
