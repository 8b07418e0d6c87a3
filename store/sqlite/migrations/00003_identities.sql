-- What is needed to ask a person's provider again, and locks.

-- +goose Up

-- The refresh token of an account's newest login, sealed under a key that is not
-- in this database.
CREATE TABLE identities (
  principal  TEXT PRIMARY KEY CHECK (principal <> ''),
  sealed     BLOB NOT NULL CHECK (length(sealed) > 0),
  checked_at INTEGER NOT NULL CHECK (checked_at > 0), -- when the provider last stood for it
  tried_at   INTEGER NOT NULL, -- when it was last asked and gave no answer since
  retry_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX identities_by_check ON identities (checked_at);
CREATE INDEX sessions_by_end ON sessions (ends_at) WHERE ended_at = 0;

-- The reason of a lock is in texts, by its target.
CREATE TABLE locks (
  target    TEXT PRIMARY KEY CHECK (target <> ''), -- a person's name, or a principal
  locked_by TEXT NOT NULL CHECK (locked_by <> ''),
  at        INTEGER NOT NULL CHECK (at > 0)
) STRICT;
-- Every account that a lock has met: it stays locked, whoever it belongs to later.
CREATE TABLE lock_accounts (
  target    TEXT NOT NULL REFERENCES locks (target),
  principal TEXT NOT NULL CHECK (principal <> ''),
  place     INTEGER NOT NULL, -- the first is whom the reason is about
  PRIMARY KEY (target, principal)
) STRICT;
CREATE INDEX lock_accounts_by_principal ON lock_accounts (principal);
