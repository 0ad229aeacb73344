-- The users of an hour that the batch layer has computed, those that used most of their quota first.
-- The quota of a user who passed it is that of the hour; of the others, today's.
-- Parameters: hour, search, state, near_percent, limit, offset.
WITH quotas AS (
    SELECT
        email,
        sum(quota)::BIGINT AS quota
    FROM public.user_metadata
    GROUP BY email
),

users AS (
    SELECT
        mails.id AS email,
        mails.value AS usage,
        coalesce(breaches.quota, quotas.quota) AS quota,
        breaches.email IS NOT NULL AS has_passed
    FROM public.bytes_hourly AS mails
    LEFT JOIN public.user_quota_limit AS breaches
        ON mails.timestamp = breaches.timestamp AND mails.id = breaches.email
    LEFT JOIN quotas ON mails.id = quotas.email
    WHERE mails.timestamp = %(hour)s AND mails.type = 'mail_total_bytes'
),

judged AS (
    SELECT
        *,
        CASE
            WHEN has_passed THEN 'passed'
            WHEN usage > 0 AND usage * 100 >= quota * %(near_percent)s THEN 'near'
            ELSE 'within'
        END AS state
    FROM users
    WHERE quota IS NOT NULL
),

counted AS (
    SELECT
        *,
        (count(*) FILTER (WHERE state = 'passed') OVER ())::BIGINT AS passed,
        (count(*) FILTER (WHERE state = 'near') OVER ())::BIGINT AS near
    FROM judged
)

SELECT
    email,
    usage,
    quota,
    state,
    passed,
    near,
    (count(*) OVER ())::BIGINT AS found
FROM counted
WHERE
    (%(state)s::TEXT IS NULL OR state = %(state)s)
    AND position(lower(%(search)s) IN lower(email)) > 0
ORDER BY usage::FLOAT / nullif(quota, 0) DESC NULLS FIRST, email ASC
LIMIT %(limit)s OFFSET %(offset)s;
