-- Times are milliseconds since 1970-01-01 UTC.

CREATE TABLE config (
    name            TEXT PRIMARY KEY,                   -- a setting, as the API names it
    value           TEXT NOT NULL                       -- JSON
) STRICT;

-- One row that is written to see whether writing works.
CREATE TABLE liveness (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    checked_at_ms   INTEGER NOT NULL
) STRICT;

CREATE TABLE pumpfun_coins (
    mint            TEXT PRIMARY KEY,                   -- base58
    coin            TEXT NOT NULL,                      -- JSON: as the platform described it last
    started_at_ms   INTEGER,                            -- when its stream began, if that was learnt
    fetched_at_ms   INTEGER NOT NULL                    -- when the platform said so
) STRICT;

CREATE INDEX pumpfun_coins_by_age ON pumpfun_coins (fetched_at_ms);

-- The list of live coins as it was fetched last.
CREATE TABLE pumpfun_lists (
    name            TEXT PRIMARY KEY,                   -- currently_live
    mints           TEXT NOT NULL,                      -- JSON: mints in the platform's order
    fetched_at_ms   INTEGER NOT NULL
) STRICT;

CREATE TABLE pumpfun_coin_history (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    mint                TEXT NOT NULL,
    observed_at_ms      INTEGER NOT NULL,
    market_cap          REAL,                           -- SOL
    usd_market_cap      REAL,                           -- US dollars
    num_participants    INTEGER CHECK (num_participants >= 0),
    is_currently_live   INTEGER CHECK (is_currently_live IN (0, 1))
) STRICT;

CREATE INDEX pumpfun_coin_history_by_mint ON pumpfun_coin_history (mint, id);
