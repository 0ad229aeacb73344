-- The instant before which every hour is sealed: the wall clock less the grace, held back by the
-- slowest partition. A partition is consumed past an instant when its event clock is beyond it,
-- or when the driver saw it without lag a grace later. NULL before the first partition is known.
-- Parameters: grace_seconds.
SELECT
    date_trunc(
        'hour',
        least(
            now() - make_interval(secs => %(grace_seconds)s),
            min(greatest(event_clock, caught_up_at - make_interval(secs => %(grace_seconds)s)))
        )
    ) AS sealed_before
FROM ops.stream_offsets
HAVING count(*) > 0 AND count(*) = count(coalesce(event_clock, caught_up_at));
