-- The keys that tokens are signed with. A row is never deleted: a kid is not used
-- twice. The private part is sealed under a key that is not in this database, and
-- is gone once the key signs no more.

-- +goose Up
CREATE TABLE token_keys (
  kid          TEXT PRIMARY KEY CHECK (kid <> ''),
  alg          TEXT NOT NULL CHECK (alg <> ''),
  state        TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired', 'gone', 'removed')),
  public       BLOB NOT NULL CHECK (length(public) > 0),
  sealed       BLOB NOT NULL,
  leaf         INTEGER NOT NULL CHECK (leaf >= 0),
  published_at INTEGER NOT NULL CHECK (published_at > 0),
  activated_at INTEGER NOT NULL,
  retired_at   INTEGER NOT NULL,
  until        INTEGER NOT NULL,
  ended_at     INTEGER NOT NULL,
  CHECK (state <> 'active' OR (activated_at > 0 AND length(sealed) > 0)),
  CHECK (state <> 'retired' OR (retired_at > 0 AND until > 0)),
  CHECK (state IN ('next', 'active') OR length(sealed) = 0),
  CHECK (state NOT IN ('gone', 'removed') OR ended_at > 0)
) STRICT;
CREATE UNIQUE INDEX token_keys_one ON token_keys (state) WHERE state IN ('next', 'active');
