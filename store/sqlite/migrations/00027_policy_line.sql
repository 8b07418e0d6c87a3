-- How policy came to be what it is: each entry into force, the commits that wait for
-- theirs, and a hold.

-- +goose Up
CREATE TABLE policy_entries (
  seq       INTEGER PRIMARY KEY,
  digest    TEXT NOT NULL REFERENCES policies (digest),
  commit_id TEXT NOT NULL,
  signers   TEXT NOT NULL CHECK (json_valid(signers)), -- persons
  authors   TEXT NOT NULL CHECK (json_valid(authors)), -- persons and accounts
  at        INTEGER NOT NULL,
  how       TEXT NOT NULL CHECK (how IN ('commit', 'held', 'released'))
) STRICT;
CREATE INDEX policy_entries_by_time ON policy_entries (at); -- those of a day, at each request
-- +goose StatementBegin
CREATE TRIGGER policy_entries_stay BEFORE UPDATE ON policy_entries
BEGIN SELECT RAISE(ABORT, 'what entered into force is not changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_entries_are_kept BEFORE DELETE ON policy_entries
BEGIN SELECT RAISE(ABORT, 'what entered into force is not forgotten'); END;
-- +goose StatementEnd
INSERT INTO policy_entries (digest, commit_id, signers, authors, at, how)
  SELECT digest, commit_id, CASE signer WHEN '' THEN '[]' ELSE json_array(signer) END, CASE signer WHEN '' THEN '[]' ELSE json_array(signer) END, applied, 'commit' FROM policies ORDER BY applied, digest;

-- Policies after which an app, a host or a secret was there no more.
CREATE TABLE policy_dropped (digest TEXT PRIMARY KEY REFERENCES policies (digest)) STRICT, WITHOUT ROWID;

-- Commits from which somebody gains: they wait.
CREATE TABLE policy_settling (
  commit_id  TEXT PRIMARY KEY CHECK (commit_id <> ''),
  digest     TEXT NOT NULL REFERENCES policies (digest),
  signers    TEXT NOT NULL CHECK (json_valid(signers)),
  seen       INTEGER NOT NULL,
  due_passed INTEGER NOT NULL -- on the clock that goes on while the wall clock is moved
) STRICT;

-- At most one hold, which one person proposed and another confirmed, and at most one
-- proposal.
CREATE TABLE policy_hold (
  confirmed    INTEGER PRIMARY KEY CHECK (confirmed = (confirmed_by <> '')),
  commit_id    TEXT NOT NULL CHECK (commit_id <> ''),
  digest       TEXT NOT NULL REFERENCES policies (digest),
  length       INTEGER NOT NULL CHECK (length > 0),
  proposed_by  TEXT NOT NULL CHECK (proposed_by <> ''),
  under        TEXT NOT NULL CHECK (under <> ''), -- grant
  proposed_at  INTEGER NOT NULL,
  until_passed INTEGER NOT NULL, -- the proposal's end, then the hold's
  confirmed_by TEXT NOT NULL,
  confirmed_at INTEGER NOT NULL,
  back_commit  TEXT NOT NULL, -- what was in force before
  back_digest  TEXT NOT NULL
) STRICT;

-- When the repository was read last, and what was wrong with it or its tip.
CREATE TABLE policy_watch (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  at      INTEGER NOT NULL,
  tip     TEXT NOT NULL,
  failed  INTEGER NOT NULL, -- since when it could not be read; 0: it could
  refused TEXT NOT NULL CHECK (json_valid(refused))
) STRICT;
