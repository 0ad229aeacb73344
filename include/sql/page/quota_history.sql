-- One user hour by hour, the oldest first: usage (NULL: the hour is not computed, or holds nothing of
-- the user), and the quota where it was passed.
-- Parameters: email, first, last.
WITH hours AS (
    SELECT generate_series(%(first)s::TIMESTAMPTZ, %(last)s::TIMESTAMPTZ, INTERVAL '1 hour') AS hour
)

SELECT
    hours.hour,
    mails.value AS usage,
    breaches.quota AS passed_quota
FROM hours
LEFT JOIN public.bytes_hourly AS mails
    ON hours.hour = mails.timestamp AND mails.type = 'mail_total_bytes' AND mails.id = %(email)s
LEFT JOIN public.user_quota_limit AS breaches
    ON hours.hour = breaches.timestamp AND breaches.email = %(email)s
ORDER BY hours.hour;
