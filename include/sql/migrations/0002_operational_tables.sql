-- The stream's truth: committed offsets, the archive manifest and progress, advanced together
-- with the sums in public.bytes by one transaction per micro-batch.
-- depends: 0001_public_tables

-- One row per metered topic. Every starting driver bumps the epoch; a driver of an older epoch
-- can commit nothing more.
CREATE TABLE ops.streams (
    topic TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'failed')),
    message TEXT NOT NULL DEFAULT '',
    driver_host TEXT NOT NULL,
    driver_pid INTEGER NOT NULL,
    spark_ui_url TEXT,
    started_at TIMESTAMPTZ NOT NULL,
    heartbeat_at TIMESTAMPTZ NOT NULL,
    last_commit_at TIMESTAMPTZ
);

-- next_offset: every record below it is in public.bytes and the archive, or was rejected.
-- event_clock: newest committed least(event time, Kafka timestamp), so that one device's fast
--   clock cannot run ahead of the partition.
-- caught_up_at: when the driver last saw that nothing in the log was left to consume.
CREATE TABLE ops.stream_offsets (
    topic TEXT NOT NULL REFERENCES ops.streams (topic),
    partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL,
    log_end_offset BIGINT NOT NULL,
    event_clock TIMESTAMPTZ,
    caught_up_at TIMESTAMPTZ,
    PRIMARY KEY (topic, partition)
);

-- One row per committed micro-batch; commit_id grows in commit order.
CREATE TABLE ops.micro_batches (
    commit_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic TEXT NOT NULL REFERENCES ops.streams (topic),
    epoch BIGINT NOT NULL,
    committed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    accepted BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    rejected_by_reason JSONB NOT NULL,
    newest_event_time TIMESTAMPTZ,
    executor_ms INTEGER NOT NULL
);

CREATE INDEX micro_batches_committed_at ON ops.micro_batches (committed_at);

-- The manifest: the files that hold the archive and the rejected records. What is not here is
-- no part of the archive. path is relative to the storage path; offsets maps each partition to the
-- first and last offset in the file.
CREATE TABLE ops.archive_files (
    path TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('events', 'rejected')),
    hour TIMESTAMPTZ NOT NULL,
    rows BIGINT NOT NULL,
    total_bytes NUMERIC NOT NULL,
    file_size BIGINT NOT NULL,
    offsets JSONB NOT NULL,
    commit_id BIGINT NOT NULL REFERENCES ops.micro_batches (commit_id)
);

CREATE INDEX archive_files_hour ON ops.archive_files (kind, hour, commit_id);

-- Records that retention removed before they were read. A row without acknowledged_at keeps
-- the stream unhealthy.
CREATE TABLE ops.lost_offsets (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    first_offset BIGINT NOT NULL,
    last_offset BIGINT NOT NULL,
    detected_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    acknowledged_at TIMESTAMPTZ,
    PRIMARY KEY (topic, partition, first_offset)
);

-- The hours that the batch layer has computed, and up to which commit. An hour with manifest
-- rows beyond covered_commit_id received late events and is computed again.
CREATE TABLE ops.hours (
    hour TIMESTAMPTZ PRIMARY KEY,
    covered_commit_id BIGINT NOT NULL,
    events BIGINT NOT NULL,
    total_bytes NUMERIC NOT NULL,
    computed_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
