-- Times are milliseconds since 1970-01-01 UTC.

-- Who is told what happens.
CREATE TABLE webhooks (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
    url                 TEXT NOT NULL UNIQUE,
    events              TEXT NOT NULL,                      -- JSON: kinds of events; []: every
    configured          INTEGER NOT NULL CHECK (configured IN (0, 1)),
                                                            -- 1: by the operator, 0: by a client
    created_at_ms       INTEGER NOT NULL,
    delivered           INTEGER NOT NULL DEFAULT 0,         -- events
    dropped             INTEGER NOT NULL DEFAULT 0,         -- events that were too many
    last_delivered_at_ms INTEGER,
    last_error          TEXT                                -- NULL: the last try was well
) STRICT;

-- What somebody is still to be told.
CREATE TABLE webhook_events (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order in which they happened
    body                TEXT NOT NULL                       -- JSON: as it is sent
) STRICT;

CREATE TABLE webhook_deliveries (
    webhook_id          INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id            INTEGER NOT NULL REFERENCES webhook_events (id) ON DELETE CASCADE,
    lane                TEXT NOT NULL,                      -- the session's key: in order within it
    tries               INTEGER NOT NULL DEFAULT 0,
    next_try_at_ms      INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, event_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_deliveries_by_lane ON webhook_deliveries (webhook_id, lane, event_id);
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (event_id);
