-- Bytes over time of the ids with the largest totals, and of all together (id NULL).
-- Each window is looked up by the primary key (timestamp, type, id): OFFSET 0 keeps the planner from
-- reading whole tables instead. Where the windows hold more than ranked_rows, the ids are ranked by every
-- stride-th window that holds any. All ids together are read from the app totals, which add up to the same
-- bytes.
-- Parameters: first, last, window_seconds, bucket_seconds, type, width (ids of a window), ranked_rows, top.
WITH windows AS (
    SELECT
        timestamp,
        date_bin(make_interval(secs => %(bucket_seconds)s), timestamp, '2000-01-01Z') AS bucket
    FROM generate_series(
        %(first)s::TIMESTAMPTZ, %(last)s::TIMESTAMPTZ, make_interval(secs => %(window_seconds)s)
    ) AS timestamp
),

filled AS (
    SELECT
        windows.timestamp,
        row_number() OVER (ORDER BY windows.timestamp) AS number
    FROM windows
    WHERE
        EXISTS (
            SELECT 1
            FROM ops.totals
            WHERE
                totals.timestamp = windows.timestamp
                AND totals.type = 'app_total_bytes'
                AND totals.window_seconds = %(window_seconds)s
        )
),

ranking AS (
    SELECT greatest(1, ceil(count(*) * %(width)s::FLOAT8 / %(ranked_rows)s))::BIGINT AS stride
    FROM filled
),

ranked AS (
    SELECT
        looked_up.id,
        sum(looked_up.value) AS total
    FROM filled
    CROSS JOIN ranking
    CROSS JOIN
        LATERAL ( -- noqa: ST05
            SELECT
                totals.id,
                totals.value
            FROM ops.totals
            WHERE
                totals.timestamp = filled.timestamp
                AND totals.type = %(type)s
                AND totals.window_seconds = %(window_seconds)s
            OFFSET 0 -- noqa: AM09
        ) AS looked_up
    WHERE mod(filled.number - 1, ranking.stride) = 0
    GROUP BY looked_up.id
),

shown AS (
    SELECT id
    FROM ranked
    ORDER BY total DESC, id ASC
    LIMIT %(top)s
)

SELECT
    windows.bucket,
    looked_up.id,
    sum(looked_up.value)::BIGINT AS value,
    (SELECT count(*) FROM ranked) AS ids,
    (SELECT ranking.stride FROM ranking) AS stride
FROM windows
CROSS JOIN
    LATERAL ( -- noqa: ST05
        SELECT
            totals.id,
            totals.value
        FROM ops.totals
        WHERE
            totals.timestamp = windows.timestamp
            AND totals.type = %(type)s
            AND totals.window_seconds = %(window_seconds)s
            AND totals.id = any(array(SELECT shown.id FROM shown))
        OFFSET 0 -- noqa: AM09
    ) AS looked_up
GROUP BY windows.bucket, looked_up.id
UNION ALL
SELECT
    windows.bucket,
    NULL AS id,
    sum(looked_up.value)::BIGINT AS value,
    (SELECT count(*) FROM ranked) AS ids,
    (SELECT ranking.stride FROM ranking) AS stride
FROM windows
CROSS JOIN
    LATERAL ( -- noqa: ST05
        SELECT totals.value
        FROM ops.totals
        WHERE
            totals.timestamp = windows.timestamp
            AND totals.type = 'app_total_bytes'
            AND totals.window_seconds = %(window_seconds)s
        OFFSET 0 -- noqa: AM09
    ) AS looked_up
GROUP BY windows.bucket;
