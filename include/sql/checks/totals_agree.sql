-- The hour's antenna, app and mail totals add up to the same bytes: zero for an hour without events,
-- but then for all three.
-- Parameters: hour.
WITH asked AS (
    SELECT %(hour)s::TIMESTAMPTZ AS hour
),

hourly AS (
    SELECT
        bytes_hourly.type,
        bytes_hourly.value
    FROM asked
    INNER JOIN public.bytes_hourly ON asked.hour = bytes_hourly.timestamp
),

totals AS (
    SELECT
        coalesce(sum(value) FILTER (WHERE type = 'antenna_total_bytes'), 0) AS antennas,
        coalesce(sum(value) FILTER (WHERE type = 'app_total_bytes'), 0) AS apps,
        coalesce(sum(value) FILTER (WHERE type = 'mail_total_bytes'), 0) AS mails
    FROM hourly
)

SELECT
    totals.antennas = totals.apps AND totals.antennas = totals.mails AS passed,
    format(
        'hour %%s: totals in bytes_hourly: antennas %%s, apps %%s, mails %%s',
        asked.hour, totals.antennas, totals.apps, totals.mails
    ) AS figures
FROM asked
CROSS JOIN totals;
