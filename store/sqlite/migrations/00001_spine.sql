-- Times are int64 microseconds since the Unix epoch, 0 for none; durations are
-- microseconds; ids, principals and instances are their text forms; maps, lists
-- and scopes are canonical JSON. Triggers defend what the code must never do
-- either: lengthening a grant (P1), changing the record (P9), and stepping back.

-- +goose Up

-- The head row: one. Its lock orders every update.
CREATE TABLE head (
  one             INTEGER PRIMARY KEY CHECK (one = 1),
  epoch           INTEGER NOT NULL,
  revision        INTEGER NOT NULL,
  mark            INTEGER NOT NULL, -- the clock of the last update
  pruned_epoch    INTEGER NOT NULL, -- changes up to and with this position are forgotten
  pruned_revision INTEGER NOT NULL,
  policy          TEXT REFERENCES policies (digest)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER head_keeps_order BEFORE UPDATE ON head
WHEN (NEW.epoch, NEW.revision) < (OLD.epoch, OLD.revision) OR NEW.mark < OLD.mark
  OR (NEW.pruned_epoch, NEW.pruned_revision) < (OLD.pruned_epoch, OLD.pruned_revision)
BEGIN SELECT RAISE(ABORT, 'feed position, clock and pruning never fall'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER head_stays BEFORE DELETE ON head
BEGIN SELECT RAISE(ABORT, 'the head row stays'); END;
-- +goose StatementEnd

-- The control log: leaves, and the hashes of its Merkle tree.
CREATE TABLE leaves (
  idx  INTEGER PRIMARY KEY,
  leaf BLOB NOT NULL
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER leaves_append BEFORE INSERT ON leaves
WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM leaves)
BEGIN SELECT RAISE(ABORT, 'the control log is append-only: not the next leaf'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER leaves_update BEFORE UPDATE ON leaves
BEGIN SELECT RAISE(ABORT, 'the control log is append-only: a leaf never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER leaves_delete BEFORE DELETE ON leaves
BEGIN SELECT RAISE(ABORT, 'the control log is append-only: a leaf never goes'); END;
-- +goose StatementEnd
CREATE TABLE hashes (
  idx  INTEGER PRIMARY KEY,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER hashes_append BEFORE INSERT ON hashes
WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM hashes)
BEGIN SELECT RAISE(ABORT, 'the control log is append-only: not the next hash'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER hashes_update BEFORE UPDATE ON hashes
BEGIN SELECT RAISE(ABORT, 'the control log is append-only: a hash never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER hashes_delete BEFORE DELETE ON hashes
BEGIN SELECT RAISE(ABORT, 'the control log is append-only: a hash never goes'); END;
-- +goose StatementEnd

-- What each revision changed, for streams that follow.
CREATE TABLE changes (
  epoch    INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  app      TEXT NOT NULL,
  body     BLOB NOT NULL,
  PRIMARY KEY (epoch, revision, app)
) STRICT;

-- Every policy that was ever in force.
CREATE TABLE policies (
  digest    TEXT PRIMARY KEY,
  commit_id TEXT NOT NULL,
  signer    TEXT NOT NULL,
  applied   INTEGER NOT NULL
) STRICT;
CREATE TABLE policy_files (
  policy TEXT NOT NULL REFERENCES policies (digest),
  path   TEXT NOT NULL,
  body   BLOB NOT NULL,
  PRIMARY KEY (policy, path)
) STRICT;

CREATE TABLE requests (
  id               TEXT PRIMARY KEY,
  revision         INTEGER NOT NULL CHECK (revision >= 1),
  requester        TEXT NOT NULL CHECK (requester <> ''),
  requester_person TEXT NOT NULL,
  beneficiary      TEXT NOT NULL CHECK (beneficiary <> ''),
  entitlement      TEXT NOT NULL,
  app              TEXT NOT NULL,
  params           TEXT NOT NULL,
  duration         INTEGER NOT NULL,
  state            TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'withdrawn', 'expired')),
  code             TEXT NOT NULL,
  sentence         TEXT NOT NULL,
  policy_commit    TEXT NOT NULL,
  policy_digest    TEXT NOT NULL,
  engine           TEXT NOT NULL,
  catalogue        TEXT NOT NULL,
  inputs           BLOB NOT NULL,
  steps            TEXT NOT NULL,
  step_began       INTEGER NOT NULL,
  offer            TEXT NOT NULL,
  offer_digest     TEXT NOT NULL,
  grant_id         TEXT NOT NULL,
  created_at       INTEGER NOT NULL,
  decide_by        INTEGER NOT NULL,
  decided_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_by_requester ON requests (requester, id);
CREATE INDEX requests_pending ON requests (decide_by) WHERE state = 'pending';
-- +goose StatementBegin
CREATE TRIGGER requests_state BEFORE UPDATE ON requests
WHEN OLD.state <> 'pending' AND NEW.state <> OLD.state
BEGIN SELECT RAISE(ABORT, 'a request moves only from pending'); END;
-- +goose StatementEnd

-- Personal texts, erasable by whom they are about: reasons, names, Offers.
CREATE TABLE texts (
  kind      TEXT NOT NULL, -- request, offer, approval, session
  id        TEXT NOT NULL,
  principal TEXT NOT NULL,
  body      BLOB NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX texts_by_principal ON texts (principal);

CREATE TABLE approvals (
  id           TEXT PRIMARY KEY,
  request      TEXT NOT NULL REFERENCES requests (id),
  revision     INTEGER NOT NULL,
  step         INTEGER NOT NULL,
  approver     TEXT NOT NULL CHECK (approver <> ''),
  person       TEXT NOT NULL CHECK (person <> ''),
  offer_digest TEXT NOT NULL,
  approves     INTEGER NOT NULL CHECK (approves IN (0, 1)),
  at           INTEGER NOT NULL,
  UNIQUE (request, revision, person)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER approvals_update BEFORE UPDATE ON approvals
BEGIN SELECT RAISE(ABORT, 'an approval never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER approvals_delete BEFORE DELETE ON approvals
BEGIN SELECT RAISE(ABORT, 'an approval never goes'); END;
-- +goose StatementEnd

-- P1: no row without an end, none longer than 24 h, and none that ever grows.
CREATE TABLE grants (
  id          TEXT PRIMARY KEY CHECK (id <> ''),
  request     TEXT REFERENCES requests (id) DEFERRABLE INITIALLY DEFERRED,
  principal   TEXT NOT NULL CHECK (principal <> ''),
  pseudonym   TEXT NOT NULL,
  entitlement TEXT NOT NULL,
  app         TEXT NOT NULL CHECK (app <> ''),
  scope       TEXT NOT NULL CHECK (scope <> ''),
  class       TEXT NOT NULL CHECK (class IN ('', 'read', 'write', 'money', 'secret', 'admin')),
  not_before  INTEGER NOT NULL CHECK (not_before > 0),
  not_after   INTEGER NOT NULL,
  revoked     INTEGER NOT NULL CHECK (revoked >= 0),
  finished    INTEGER NOT NULL CHECK (finished >= 0),
  ended_early TEXT NOT NULL,
  params      TEXT NOT NULL,
  catalogue   TEXT NOT NULL,
  swept       INTEGER NOT NULL CHECK (swept IN (0, 1)),
  CHECK (not_after > not_before),
  CHECK (not_after - not_before <= 86400000000)
) STRICT;
CREATE INDEX grants_by_principal ON grants (principal, id);
CREATE INDEX grants_by_app ON grants (app, id);
CREATE INDEX grants_live ON grants (not_after) WHERE revoked = 0 AND finished = 0;
CREATE INDEX grants_unswept ON grants (not_after) WHERE revoked = 0 AND finished = 0 AND swept = 0;
-- +goose StatementBegin
CREATE TRIGGER grants_insert BEFORE INSERT ON grants
WHEN EXISTS (SELECT 1 FROM grants WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a grant is never replaced'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER grants_update BEFORE UPDATE ON grants
WHEN NEW.id IS NOT OLD.id OR NEW.request IS NOT OLD.request OR NEW.principal IS NOT OLD.principal
  OR NEW.entitlement IS NOT OLD.entitlement OR NEW.app IS NOT OLD.app OR NEW.scope IS NOT OLD.scope
  OR NEW.class IS NOT OLD.class OR NEW.params IS NOT OLD.params OR NEW.catalogue IS NOT OLD.catalogue
  OR NEW.not_before IS NOT OLD.not_before OR NEW.not_after IS NOT OLD.not_after
BEGIN SELECT RAISE(ABORT, 'what a grant says never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER grants_marks BEFORE UPDATE ON grants
WHEN (OLD.revoked <> 0 AND NEW.revoked IS NOT OLD.revoked)
  OR (OLD.finished <> 0 AND NEW.finished IS NOT OLD.finished)
BEGIN SELECT RAISE(ABORT, 'a mark on a grant never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER grants_delete BEFORE DELETE ON grants
BEGIN SELECT RAISE(ABORT, 'a grant never goes'); END;
-- +goose StatementEnd

CREATE TABLE sessions (
  id         TEXT PRIMARY KEY,
  hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  principal  TEXT NOT NULL CHECK (principal <> ''),
  groups     TEXT NOT NULL,
  groups_at  INTEGER NOT NULL,
  acr        TEXT NOT NULL,
  auth_time  INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  ends_at    INTEGER NOT NULL CHECK (ends_at > 0),
  ended_at   INTEGER NOT NULL
) STRICT;
CREATE TABLE logins (
  key  TEXT PRIMARY KEY,
  body BLOB NOT NULL,
  ends INTEGER NOT NULL
) STRICT;
CREATE INDEX logins_by_end ON logins (ends);

CREATE TABLE persons (
  principal TEXT PRIMARY KEY CHECK (principal <> ''),
  key       BLOB,
  pseudonym TEXT UNIQUE,
  name      TEXT NOT NULL,
  email     TEXT NOT NULL COLLATE NOCASE
) STRICT;
CREATE INDEX persons_by_email ON persons (email);

CREATE TABLE instances (
  id             TEXT PRIMARY KEY,
  sidecar        TEXT NOT NULL,
  run            TEXT NOT NULL,
  apps           TEXT NOT NULL,
  environment    TEXT NOT NULL,
  version        TEXT NOT NULL,
  catalogues     TEXT NOT NULL,
  joined_at      INTEGER NOT NULL,
  last_pong      INTEGER NOT NULL,
  stale_after    INTEGER NOT NULL,
  acked_epoch    INTEGER NOT NULL,
  acked_revision INTEGER NOT NULL,
  acked_at       INTEGER NOT NULL,
  last_allowed   INTEGER NOT NULL,
  last_action    TEXT NOT NULL,
  bounded        INTEGER NOT NULL,
  nack           TEXT NOT NULL,
  nack_at        INTEGER NOT NULL,
  gone_at        INTEGER NOT NULL
) STRICT;

CREATE TABLE revocations (
  grant_id TEXT PRIMARY KEY REFERENCES grants (id) DEFERRABLE INITIALLY DEFERRED,
  epoch    INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  started  INTEGER NOT NULL,
  closed   INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_open ON revocations (started, grant_id) WHERE closed = 0;
CREATE TABLE waits (
  grant_id     TEXT NOT NULL REFERENCES revocations (grant_id),
  instance     TEXT NOT NULL,
  sidecar      TEXT NOT NULL,
  run          TEXT NOT NULL,
  last_pong    INTEGER NOT NULL,
  until_at     INTEGER NOT NULL,
  acked_at     INTEGER NOT NULL,
  last_allowed INTEGER NOT NULL,
  last_action  TEXT NOT NULL,
  bounded      INTEGER NOT NULL,
  PRIMARY KEY (grant_id, instance)
) STRICT;
CREATE INDEX waits_unacked ON waits (instance) WHERE acked_at = 0;

-- The sidecars' part of the record: accepted segments, in one unbroken run each.
CREATE TABLE spools (
  spool   TEXT PRIMARY KEY CHECK (spool <> ''),
  sidecar TEXT NOT NULL,
  next    INTEGER NOT NULL,
  chain   BLOB NOT NULL CHECK (length(chain) = 32)
) STRICT;
CREATE TABLE segments (
  spool      TEXT NOT NULL REFERENCES spools (spool),
  first_seq  INTEGER NOT NULL CHECK (first_seq >= 1),
  last_seq   INTEGER NOT NULL,
  sidecar    TEXT NOT NULL,
  frames     BLOB NOT NULL,
  root       BLOB NOT NULL CHECK (length(root) = 32),
  chain_head BLOB NOT NULL CHECK (length(chain_head) = 32),
  leaf       INTEGER NOT NULL,
  PRIMARY KEY (spool, first_seq),
  CHECK (last_seq >= first_seq)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER segments_append BEFORE INSERT ON segments
WHEN NEW.first_seq IS NOT (SELECT coalesce(max(last_seq) + 1, 1) FROM segments WHERE spool = NEW.spool)
BEGIN SELECT RAISE(ABORT, 'a spool is append-only: not the next segment'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER segments_update BEFORE UPDATE ON segments
BEGIN SELECT RAISE(ABORT, 'a spool is append-only: a segment never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER segments_delete BEFORE DELETE ON segments
BEGIN SELECT RAISE(ABORT, 'a spool is append-only: a segment never goes'); END;
-- +goose StatementEnd

-- Where the records that name an id stand; spool '' is the control log.
CREATE TABLE places (
  noted INTEGER PRIMARY KEY,
  id    TEXT NOT NULL,
  spool TEXT NOT NULL,
  seq   INTEGER NOT NULL,
  UNIQUE (id, spool, seq)
) STRICT;

CREATE TABLE reservations (
  action   TEXT PRIMARY KEY,
  grant_id TEXT NOT NULL,
  sidecar  TEXT NOT NULL,
  run      TEXT NOT NULL,
  result   INTEGER NOT NULL,
  reason   TEXT NOT NULL,
  leaf     INTEGER NOT NULL,
  at       INTEGER NOT NULL
) STRICT;

-- Answers to repeated calls.
CREATE TABLE answers (
  principal TEXT NOT NULL,
  route     TEXT NOT NULL,
  key       TEXT NOT NULL,
  body      BLOB NOT NULL,
  ends      INTEGER NOT NULL,
  PRIMARY KEY (principal, route, key)
) STRICT;
CREATE INDEX answers_by_end ON answers (ends);

CREATE TABLE outbox (
  seq  INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  id   TEXT NOT NULL,
  at   INTEGER NOT NULL
) STRICT;

INSERT INTO head VALUES (1, 1, 0, 0, 1, 0, NULL);
