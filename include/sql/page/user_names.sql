-- The users of some devices.
-- Parameters: ids.
SELECT
    id,
    coalesce(email, name) AS label
FROM public.user_metadata
WHERE id = any(%(ids)s) AND coalesce(email, name) IS NOT NULL;
