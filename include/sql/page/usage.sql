-- Bytes over time of the ids with the largest totals, and of all together (id NULL).
-- Each window is looked up by the primary key (timestamp, type, id): OFFSET 0 keeps the planner from
-- reading whole tables instead. The ids are ranked by every stride-th window. All ids together are read
-- from the app totals, which add up to the same bytes.
-- Parameters: first, last, window_seconds, bucket_seconds, type, stride, top.
WITH windows AS (
    SELECT
        timestamp,
        row_number() OVER () AS number,
        date_bin(make_interval(secs => %(bucket_seconds)s), timestamp, '2000-01-01Z') AS bucket
    FROM generate_series(
        %(first)s::TIMESTAMPTZ, %(last)s::TIMESTAMPTZ, make_interval(secs => %(window_seconds)s)
    ) AS timestamp
),

ranked AS (
    SELECT
        looked_up.id,
        sum(looked_up.value) AS total
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
            OFFSET 0 -- noqa: AM09
        ) AS looked_up
    WHERE mod(windows.number, %(stride)s) = 0
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
    (SELECT count(*) FROM ranked) AS ids
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
    (SELECT count(*) FROM ranked) AS ids
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
