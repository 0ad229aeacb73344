-- Bytes over time of the ids with the largest totals, and of all together (id NULL).
-- Each window is looked up by the primary key (timestamp, type, id), so that a year of windows costs no
-- scan of all ids. The ids are ranked by every stride-th window. All ids together are read from the app
-- totals, which add up to the same bytes.
-- Parameters: first, last, window_seconds, bucket_seconds, type, stride, top.
WITH windows AS (
    SELECT
        timestamp,
        row_number() OVER () AS number
    FROM generate_series(
        %(first)s::TIMESTAMPTZ, %(last)s::TIMESTAMPTZ, make_interval(secs => %(window_seconds)s)
    ) AS timestamp
),

ranked AS (
    SELECT
        totals.id,
        sum(totals.value) AS total
    FROM windows
    INNER JOIN ops.totals
        ON
            windows.timestamp = totals.timestamp
            AND totals.type = %(type)s
            AND totals.window_seconds = %(window_seconds)s
    WHERE mod(windows.number, %(stride)s) = 0
    GROUP BY totals.id
),

shown AS (
    SELECT id
    FROM ranked
    ORDER BY total DESC, id ASC
    LIMIT %(top)s
)

SELECT
    date_bin(make_interval(secs => %(bucket_seconds)s), windows.timestamp, '2000-01-01Z') AS bucket,
    totals.id,
    sum(totals.value)::BIGINT AS value,
    (SELECT count(*) FROM ranked) AS ids
FROM windows
INNER JOIN ops.totals
    ON
        windows.timestamp = totals.timestamp
        AND totals.type = %(type)s
        AND totals.window_seconds = %(window_seconds)s
        AND totals.id = any(array(SELECT shown.id FROM shown))
GROUP BY bucket, totals.id
UNION ALL
SELECT
    date_bin(make_interval(secs => %(bucket_seconds)s), windows.timestamp, '2000-01-01Z') AS bucket,
    NULL AS id,
    sum(totals.value)::BIGINT AS value,
    (SELECT count(*) FROM ranked) AS ids
FROM windows
INNER JOIN ops.totals
    ON
        windows.timestamp = totals.timestamp
        AND totals.type = 'app_total_bytes'
        AND totals.window_seconds = %(window_seconds)s
GROUP BY bucket;
