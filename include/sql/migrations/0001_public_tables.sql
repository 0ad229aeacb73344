-- The tables that dashboards and people rely on. A window is named by its start, in UTC.

CREATE TABLE IF NOT EXISTS public.user_metadata (
    id TEXT PRIMARY KEY,
    name TEXT,
    email TEXT,
    quota BIGINT CHECK (quota >= 0)
);

CREATE TABLE IF NOT EXISTS public.bytes (
    timestamp TIMESTAMPTZ NOT NULL,
    id TEXT NOT NULL,
    value BIGINT NOT NULL,
    type TEXT NOT NULL,
    PRIMARY KEY (timestamp, type, id)
);

CREATE TABLE IF NOT EXISTS public.bytes_hourly (
    timestamp TIMESTAMPTZ NOT NULL,
    id TEXT NOT NULL,
    value BIGINT NOT NULL,
    type TEXT NOT NULL,
    PRIMARY KEY (timestamp, type, id)
);

CREATE TABLE IF NOT EXISTS public.user_quota_limit (
    email TEXT NOT NULL,
    usage BIGINT NOT NULL,
    quota BIGINT NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (timestamp, email)
);
