-- Sessions of people at other doors than the API: the console, and hosts of apps.

-- +goose Up
ALTER TABLE sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'api' CHECK (kind IN ('api', 'console', 'app'));
ALTER TABLE sessions ADD COLUMN app TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN provider TEXT NOT NULL DEFAULT ''; -- the provider's own session id (sid)
CREATE INDEX sessions_by_principal ON sessions (principal, id);
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent <> '';
CREATE INDEX sessions_by_app ON sessions (app, id) WHERE app <> '';
