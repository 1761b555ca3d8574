-- Times are milliseconds since 1970-01-01 UTC; durations are milliseconds; sizes are bytes.

CREATE TABLE live_sessions (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- the API's session_id; never used twice
    key             TEXT NOT NULL,                      -- the mint, or a generic session's room name
    kind            TEXT NOT NULL CHECK (kind IN ('mint', 'room', 'demo')),
    room_name       TEXT,                               -- the LiveKit room that was really joined
    stream_info     TEXT,                               -- JSON: the coin as it was at the start
    started_at_ms   INTEGER NOT NULL,                   -- when the start was asked for
    ended_at_ms     INTEGER,                            -- when it ended, or was found dead; NULL: runs
    end_reason      TEXT,                               -- stopped, room_deleted, no_publisher, shutdown,
                                                        -- server_died, or error: …
    CHECK ((ended_at_ms IS NULL) = (end_reason IS NULL))
) STRICT;

CREATE INDEX live_sessions_running ON live_sessions (key) WHERE ended_at_ms IS NULL;

CREATE TABLE recordings (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- the API's recording_id; never used twice
    session_id      INTEGER NOT NULL REFERENCES live_sessions (id),
    key             TEXT NOT NULL,                      -- as live_sessions.key
    format          TEXT NOT NULL,                      -- name of a format: h264, …
    config          TEXT NOT NULL,                      -- JSON: the API's "config"
    started_at_ms   INTEGER NOT NULL,                   -- when the recording was asked for
    ended_at_ms     INTEGER,                            -- when its last file was complete; NULL: runs
    end_reason      TEXT,                               -- stopped, interrupted, session's reason, error: …
    CHECK ((ended_at_ms IS NULL) = (end_reason IS NULL))
) STRICT;

CREATE INDEX recordings_by_key ON recordings (key, started_at_ms);

CREATE TABLE recording_files (
    recording_id    INTEGER NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    part            INTEGER NOT NULL CHECK (part >= 1), -- position in the recording, from 1
    path            TEXT NOT NULL UNIQUE,               -- absolute
    started_at_ms   INTEGER NOT NULL,                   -- when the file was asked for
    duration_ms     INTEGER NOT NULL DEFAULT 0 CHECK (duration_ms >= 0),
    bytes           INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    dropped_frames  INTEGER NOT NULL DEFAULT 0 CHECK (dropped_frames >= 0),
    end_reason      TEXT,                               -- why this file ended; NULL: it is being written
    PRIMARY KEY (recording_id, part)
) STRICT;
