-- Hours of event time, the newest first, and what became of each.
-- late_events: those that arrived after the hour was computed and are not in bytes_hourly yet.
-- Parameters: first, last.
WITH asked AS (
    SELECT generate_series(%(first)s::TIMESTAMPTZ, %(last)s::TIMESTAMPTZ, INTERVAL '1 hour') AS hour
),

archived AS (
    SELECT
        archive_files.hour,
        sum(archive_files.rows) AS events,
        sum(archive_files.total_bytes) AS total_bytes,
        sum(archive_files.rows)
        FILTER (WHERE archive_files.commit_id > hours.covered_commit_id) AS late_events
    FROM ops.archive_files
    LEFT JOIN ops.hours ON archive_files.hour = hours.hour
    WHERE
        archive_files.kind = 'events'
        AND archive_files.hour >= %(first)s
        AND archive_files.hour <= %(last)s
    GROUP BY archive_files.hour
),

breaches AS (
    SELECT
        timestamp AS hour,
        count(*) AS users
    FROM public.user_quota_limit
    WHERE timestamp >= %(first)s AND timestamp <= %(last)s
    GROUP BY timestamp
)

SELECT
    asked.hour,
    coalesce(archived.events, 0)::BIGINT AS events,
    coalesce(archived.total_bytes, 0)::NUMERIC AS total_bytes,
    hours.computed_at,
    coalesce(archived.late_events, 0)::BIGINT AS late_events,
    coalesce(breaches.users, 0)::BIGINT AS users_over_quota
FROM asked
LEFT JOIN archived ON asked.hour = archived.hour
LEFT JOIN ops.hours ON asked.hour = hours.hour
LEFT JOIN breaches ON asked.hour = breaches.hour
ORDER BY asked.hour DESC;
