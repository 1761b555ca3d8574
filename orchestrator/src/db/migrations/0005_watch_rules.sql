-- Times are milliseconds since 1970-01-01 UTC.

-- Whose streams are recorded whenever they are live.
CREATE TABLE watch_rules (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
    mint            TEXT UNIQUE,                        -- one coin …
    creator         TEXT UNIQUE,                        -- … or every coin of this address
    choice          TEXT NOT NULL,                      -- JSON: how to record
    created_at_ms   INTEGER NOT NULL,
    seen_live_at_ms INTEGER,                            -- when the platform listed it last
    recording_id    INTEGER,                            -- the last one; it may be deleted by now
    CHECK ((mint IS NULL) <> (creator IS NULL))
) STRICT;

-- A coin's time live, from the first look that saw it to the one that didn't any more.
CREATE TABLE watch_periods (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    rule_id         INTEGER REFERENCES watch_rules (id) ON DELETE SET NULL,
    mint            TEXT NOT NULL,
    choice          TEXT NOT NULL,                      -- JSON: as the rule's was
    began_at_ms     INTEGER NOT NULL,
    session_id      INTEGER,                            -- the session it is recorded in
    owns_session    INTEGER NOT NULL DEFAULT 0 CHECK (owns_session IN (0, 1)),
    recording_id    INTEGER,
    owns_recording  INTEGER NOT NULL DEFAULT 0 CHECK (owns_recording IN (0, 1)),
    dismissed       INTEGER NOT NULL DEFAULT 0 CHECK (dismissed IN (0, 1)),
                                                        -- 1: somebody has stopped it
    ended_at_ms     INTEGER,                            -- NULL: goes on, also after a restart
    end_reason      TEXT,
    CHECK ((ended_at_ms IS NULL) = (end_reason IS NULL))
) STRICT;

-- However it comes about, a coin's time live is recorded once.
CREATE UNIQUE INDEX watch_periods_open ON watch_periods (mint) WHERE ended_at_ms IS NULL;
