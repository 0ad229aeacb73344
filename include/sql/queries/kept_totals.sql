-- What the tables hold, to be compared with what was sent: rows, and the sum of their bytes.
-- bytes: all windows; bytes_hourly and user_quota_limit: the given hours.
-- Parameters: hours.
SELECT
    'bytes' AS table_name,
    count(*) AS row_count,
    coalesce(sum(value), 0) AS total
FROM public.bytes
UNION ALL
SELECT
    'bytes_hourly' AS table_name,
    count(*) AS row_count,
    coalesce(sum(value), 0) AS total
FROM public.bytes_hourly
WHERE timestamp = any(%(hours)s)
UNION ALL
SELECT
    'user_quota_limit' AS table_name,
    count(*) AS row_count,
    coalesce(sum(usage), 0) AS total
FROM public.user_quota_limit
WHERE timestamp = any(%(hours)s);
