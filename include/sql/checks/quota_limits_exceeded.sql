-- Every row of user_quota_limit is over its quota, and its usage is what bytes_hourly says.
-- Parameters: hour.
WITH asked AS (
    SELECT %(hour)s::TIMESTAMPTZ AS hour
),

limits AS (
    SELECT
        user_quota_limit.email,
        user_quota_limit.usage,
        user_quota_limit.quota,
        bytes_hourly.value AS hourly_bytes,
        coalesce(
            user_quota_limit.usage > user_quota_limit.quota
            AND user_quota_limit.usage = bytes_hourly.value,
            FALSE
        ) AS holds
    FROM asked
    INNER JOIN public.user_quota_limit ON asked.hour = user_quota_limit.timestamp
    LEFT JOIN public.bytes_hourly
        ON
            user_quota_limit.timestamp = bytes_hourly.timestamp
            AND user_quota_limit.email = bytes_hourly.id
            AND bytes_hourly.type = 'mail_total_bytes'
),

counted AS (
    SELECT
        count(*) AS users,
        count(*) FILTER (WHERE NOT holds) AS wrong,
        string_agg(
            format(
                '%%s usage %%s quota %%s (bytes_hourly %%s)',
                email, usage, quota, coalesce(hourly_bytes::TEXT, 'none')
            ),
            ', ' ORDER BY email
        ) FILTER (WHERE NOT holds) AS wrong_rows
    FROM limits
)

SELECT
    counted.wrong = 0 AS passed,
    format(
        'hour %%s: %%s users over quota, wrong rows: %%s',
        asked.hour, counted.users, coalesce(counted.wrong_rows, 'none')
    ) AS figures
FROM asked
CROSS JOIN counted;
