-- About how many ids one window holds: the most in some windows of the range.
-- Parameters: windows, window_seconds, type.
WITH looked_at AS (
    SELECT unnest(%(windows)s::TIMESTAMPTZ[]) AS timestamp
),

counted AS (
    SELECT count(*)::BIGINT AS ids
    FROM looked_at
    INNER JOIN ops.totals
        ON
            looked_at.timestamp = totals.timestamp
            AND totals.type = %(type)s
            AND totals.window_seconds = %(window_seconds)s
    GROUP BY looked_at.timestamp
)

SELECT coalesce(max(ids), 0) AS width
FROM counted;
