-- The rows of the table themselves, for the download.
-- Parameters: first, last, window_seconds, type.
WITH windows AS (
    SELECT
        generate_series(
            %(first)s::TIMESTAMPTZ, %(last)s::TIMESTAMPTZ, make_interval(secs => %(window_seconds)s)
        ) AS timestamp
)

SELECT
    totals.timestamp,
    totals.id,
    totals.value,
    totals.type
FROM windows
INNER JOIN ops.totals
    ON
        windows.timestamp = totals.timestamp
        AND totals.type = %(type)s
        AND totals.window_seconds = %(window_seconds)s
ORDER BY totals.timestamp, totals.id;
