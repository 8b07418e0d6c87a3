-- A session of the command is bound to the key that it proves with each request
-- (RFC 9449), and says so from its beginning: sessions from before are none any
-- more, their owners log in again. What an access token may be exchanged for is
-- kept while it lives.

-- +goose Up
ALTER TABLE sessions ADD COLUMN proof_key BLOB NOT NULL DEFAULT x'' CHECK (length(proof_key) IN (0, 32)); -- RFC 7638, SHA-256
-- +goose StatementBegin
CREATE TRIGGER sessions_proof_key BEFORE INSERT ON sessions
WHEN (NEW.kind = 'api') <> (length(NEW.proof_key) = 32)
BEGIN SELECT RAISE(ABORT, 'a session of the command, and no other, is bound to a key'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_proof_key_stays BEFORE UPDATE ON sessions
WHEN NEW.proof_key IS NOT OLD.proof_key
BEGIN SELECT RAISE(ABORT, 'the key of a session never changes'); END;
-- +goose StatementEnd
CREATE TABLE issued_tokens (
  id     TEXT PRIMARY KEY CHECK (id <> ''),
  grants TEXT NOT NULL CHECK (grants <> ''), -- grt_
  onward TEXT NOT NULL,                      -- JSON list of apps
  ends   INTEGER NOT NULL CHECK (ends > 0)
) STRICT;
CREATE INDEX issued_tokens_by_end ON issued_tokens (ends);
