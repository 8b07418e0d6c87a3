-- The head row keeps what the clock needs to go on after a restart: the boot clock, and
-- which boot of the machine it counts from, when mark was written; and how much time has
-- certainly passed. A lease is over by that, not by a wall clock that somebody moves.

-- +goose Up
ALTER TABLE head ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE head ADD COLUMN boot_at INTEGER NOT NULL DEFAULT 0; -- nanoseconds
ALTER TABLE instances ADD COLUMN pong_passed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE waits ADD COLUMN until_passed INTEGER NOT NULL DEFAULT 301000000; -- the longest lease, as of now
