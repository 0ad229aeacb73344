-- What the page in the Airflow UI shows of the past.
-- depends: 0002_operational_tables

-- The largest lag that the driver saw in each minute, in records. A minute without a row had no driver.
CREATE TABLE ops.stream_lag (
    topic TEXT NOT NULL REFERENCES ops.streams (topic),
    minute TIMESTAMPTZ NOT NULL,
    lag BIGINT NOT NULL,
    PRIMARY KEY (topic, minute)
);

-- The newest files of rejected records, without a look at the many of events.
CREATE INDEX archive_files_rejected ON ops.archive_files (commit_id) WHERE kind = 'rejected';

-- The minutes with rejected records, without a look at the many micro-batches without.
CREATE INDEX micro_batches_rejected ON ops.micro_batches (committed_at) WHERE rejected > 0;

-- Both tables of totals as one: window_seconds is 300 for public.bytes, 3600 for public.bytes_hourly.
CREATE VIEW ops.totals AS
SELECT
    300 AS window_seconds,
    timestamp,
    type,
    id,
    value
FROM public.bytes
UNION ALL
SELECT
    3600 AS window_seconds,
    timestamp,
    type,
    id,
    value
FROM public.bytes_hourly;
