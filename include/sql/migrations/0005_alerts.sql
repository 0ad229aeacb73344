-- What people were told of, so that each thing is told once.
-- depends: 0004_page

-- The conditions under way.
CREATE TABLE ops.alerts (
    name TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    began_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- The users over quota that were told of, for some days.
CREATE TABLE ops.told_breaches (
    timestamp TIMESTAMPTZ NOT NULL,
    email TEXT NOT NULL,
    PRIMARY KEY (timestamp, email)
);
