-- The users over quota in hours of the last two days of whom nobody was told yet; they count as told then.
WITH told AS (
    INSERT INTO ops.told_breaches (timestamp, email)
    SELECT
        user_quota_limit.timestamp,
        user_quota_limit.email
    FROM public.user_quota_limit
    WHERE user_quota_limit.timestamp >= now() - INTERVAL '2 days'
    ON CONFLICT DO NOTHING
    RETURNING timestamp, email
)

SELECT
    told.timestamp,
    told.email,
    user_quota_limit.usage,
    user_quota_limit.quota
FROM told
INNER JOIN public.user_quota_limit
    ON told.timestamp = user_quota_limit.timestamp AND told.email = user_quota_limit.email
ORDER BY told.timestamp ASC, user_quota_limit.usage DESC;
