-- A revoke writes one row for each instance while it has the writer: a short row, in one
-- tree and in that of those awaited.

-- +goose Up
CREATE TABLE waits_short (
  grant_id     TEXT NOT NULL REFERENCES revocations (grant_id),
  instance     TEXT NOT NULL CHECK (instance GLOB '?*#?*'),
  last_pong    INTEGER NOT NULL,
  until_at     INTEGER NOT NULL,
  until_passed INTEGER NOT NULL, -- on the clock that goes on while the wall clock is moved
  acked_at     INTEGER NOT NULL,
  last_allowed INTEGER NOT NULL,
  last_action  TEXT NOT NULL,
  bounded      INTEGER NOT NULL,
  streams_cut  INTEGER NOT NULL,
  PRIMARY KEY (grant_id, instance)
) STRICT, WITHOUT ROWID;
INSERT INTO waits_short SELECT grant_id, instance, last_pong, until_at, until_passed, acked_at, last_allowed, last_action, bounded, streams_cut FROM waits;
DROP TABLE waits;
ALTER TABLE waits_short RENAME TO waits;
CREATE INDEX waits_unacked ON waits (instance) WHERE acked_at = 0;
