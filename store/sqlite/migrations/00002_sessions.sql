-- Sessions of people at other doors than the API: the console, and hosts of apps.
-- What a session is never changes, it is never lengthened, and one that was ended
-- stays ended. Only a session on a host of an app has an app, a host and a parent.

-- +goose Up
ALTER TABLE sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'api' CHECK (kind IN ('api', 'console', 'app'));
ALTER TABLE sessions ADD COLUMN app TEXT NOT NULL DEFAULT '' CHECK ((kind = 'app') = (app <> ''));
ALTER TABLE sessions ADD COLUMN host TEXT NOT NULL DEFAULT '' CHECK ((kind = 'app') = (host <> ''));
ALTER TABLE sessions ADD COLUMN parent TEXT NOT NULL DEFAULT '' CHECK ((kind = 'app') = (parent <> ''));
ALTER TABLE sessions ADD COLUMN provider TEXT NOT NULL DEFAULT ''; -- the provider's own session id (sid)
ALTER TABLE sessions ADD COLUMN pseudonym TEXT NOT NULL DEFAULT ''; -- of kind app: as the record and the feed have it
ALTER TABLE sessions ADD COLUMN swept INTEGER NOT NULL DEFAULT 0 CHECK (swept IN (0, 1)); -- its end by time left the feed
CREATE INDEX sessions_by_principal ON sessions (principal, id);
CREATE INDEX sessions_by_parent ON sessions (parent, id) WHERE parent <> '';
CREATE INDEX sessions_by_provider ON sessions (provider, id) WHERE provider <> '';
CREATE INDEX sessions_fed ON sessions (app, id) WHERE kind = 'app' AND ended_at = 0 AND swept = 0;
CREATE INDEX sessions_unswept ON sessions (ends_at) WHERE kind = 'app' AND ended_at = 0 AND swept = 0;
-- +goose StatementBegin
CREATE TRIGGER sessions_insert BEFORE INSERT ON sessions
WHEN EXISTS (SELECT 1 FROM sessions WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a session is never replaced'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_update BEFORE UPDATE ON sessions
WHEN NEW.id IS NOT OLD.id OR NEW.hash IS NOT OLD.hash OR NEW.kind IS NOT OLD.kind OR NEW.app IS NOT OLD.app
  OR NEW.host IS NOT OLD.host OR NEW.parent IS NOT OLD.parent OR NEW.principal IS NOT OLD.principal
  OR NEW.created_at IS NOT OLD.created_at
BEGIN SELECT RAISE(ABORT, 'what a session is never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_term BEFORE UPDATE ON sessions
WHEN NEW.ends_at > OLD.ends_at
BEGIN SELECT RAISE(ABORT, 'a session is never lengthened'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_end BEFORE UPDATE ON sessions
WHEN (OLD.ended_at <> 0 AND NEW.ended_at IS NOT OLD.ended_at) OR NEW.swept < OLD.swept
BEGIN SELECT RAISE(ABORT, 'the end of a session never changes'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sessions_delete BEFORE DELETE ON sessions
BEGIN SELECT RAISE(ABORT, 'a session never goes'); END;
-- +goose StatementEnd
