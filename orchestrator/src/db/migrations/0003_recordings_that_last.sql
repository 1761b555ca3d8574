-- Times are milliseconds since 1970-01-01 UTC; durations are milliseconds; sizes are bytes.

-- 1 while the session is to run: one whose server ended is taken up again by the next.
ALTER TABLE live_sessions ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0 CHECK (wanted IN (0, 1));
-- connecting, live, waiting, reconnecting or ended; since when, and why.
ALTER TABLE live_sessions ADD COLUMN state TEXT NOT NULL DEFAULT 'connecting';
ALTER TABLE live_sessions ADD COLUMN state_reason TEXT;
ALTER TABLE live_sessions ADD COLUMN state_at_ms INTEGER;
-- How often a server has taken it up, and how often its worker was replaced.
ALTER TABLE live_sessions ADD COLUMN taken_up INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live_sessions ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;

UPDATE live_sessions SET wanted = 1 WHERE ended_at_ms IS NULL AND room_name IS NOT NULL;
UPDATE live_sessions SET state = 'ended', state_reason = end_reason, state_at_ms = ended_at_ms
    WHERE ended_at_ms IS NOT NULL;

-- 1 while the recording is to go on with its session.
ALTER TABLE recordings ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0 CHECK (wanted IN (0, 1));
-- JSON: what a worker must be told to go on with it.
ALTER TABLE recordings ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
-- The folder all its files lie in; NULL: that of its first file.
ALTER TABLE recordings ADD COLUMN directory TEXT;
-- 1: retention leaves it alone.
ALTER TABLE recordings ADD COLUMN kept INTEGER NOT NULL DEFAULT 0 CHECK (kept IN (0, 1));
-- The file that was made of all its files, if one was.
ALTER TABLE recordings ADD COLUMN joined_path TEXT;
ALTER TABLE recordings ADD COLUMN joined_duration_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recordings ADD COLUMN joined_bytes INTEGER NOT NULL DEFAULT 0;

UPDATE recordings SET wanted = 1 WHERE ended_at_ms IS NULL;

CREATE INDEX recordings_by_end ON recordings (ended_at_ms);

-- JSON: [{"at_ms", "for_ms"}], when nothing came, in the file's own time.
ALTER TABLE recording_files ADD COLUMN gaps TEXT NOT NULL DEFAULT '[]';

-- What was deleted, and why.
CREATE TABLE recording_deletions (
    recording_id    INTEGER PRIMARY KEY,                -- never used again
    session_id      INTEGER NOT NULL,
    key             TEXT NOT NULL,
    format          TEXT NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    ended_at_ms     INTEGER,
    bytes           INTEGER NOT NULL,                   -- that were freed
    deleted_at_ms   INTEGER NOT NULL,
    reason          TEXT NOT NULL                       -- requested, age, total_bytes, free_disk
) STRICT;
