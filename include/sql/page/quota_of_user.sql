-- The quota of a user today, of all devices together; no row: nobody has this email.
-- Parameters: email.
SELECT sum(quota)::BIGINT AS quota
FROM public.user_metadata
WHERE email = %(email)s
HAVING count(*) > 0;
