-- Maintenance of the archive: replays of rejected records, retention, and files that are about to
-- be deleted.
-- depends: 0002_operational_tables

-- is_replay: this is no micro-batch of the stream, but rejected records that were accepted later.
--   They count in accepted, and rejected takes them off (negative counts), so that the sums over all
--   rows say how many records are accepted and how many rejected.
ALTER TABLE ops.micro_batches ADD COLUMN is_replay BOOLEAN NOT NULL DEFAULT FALSE;

-- When retention removed the hour's files, so that it cannot be computed again, and its 5-minute
-- windows, so that it cannot be compared with them.
ALTER TABLE ops.hours ADD COLUMN archive_removed_at TIMESTAMPTZ;
ALTER TABLE ops.hours ADD COLUMN windows_removed_at TIMESTAMPTZ;

-- The digest of the file's bytes, in hexadecimal digits; NULL for files of before this migration.
ALTER TABLE ops.archive_files ADD COLUMN sha256 TEXT;

-- For the deletion of old micro-batches, which looks for files that refer to them.
CREATE INDEX archive_files_commit_id ON ops.archive_files (commit_id);

-- Files that left the manifest and still have to be deleted. What a crash leaves here, the next
-- maintenance deletes.
CREATE TABLE ops.files_to_delete (
    path TEXT PRIMARY KEY,
    since TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- How many records retention has removed from where: history means rows of ops.micro_batches, which
-- count records; events and rejected mean files. With these the counts can still be compared.
CREATE TABLE ops.removed_records (
    removed_from TEXT PRIMARY KEY CHECK (removed_from IN ('history', 'events', 'rejected')),
    accepted BIGINT NOT NULL DEFAULT 0,
    rejected BIGINT NOT NULL DEFAULT 0
);
