-- Grants that end when nobody uses them: how long each may lie unused, and when the
-- last use was that the record tells of.

-- +goose Up
ALTER TABLE grants ADD COLUMN idle_after INTEGER NOT NULL DEFAULT 0 CHECK (idle_after >= 0);
ALTER TABLE grants ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
CREATE INDEX grants_idle ON grants (used + idle_after) WHERE idle_after > 0 AND revoked = 0 AND finished = 0;
-- +goose StatementBegin
CREATE TRIGGER grants_used BEFORE UPDATE ON grants
WHEN NEW.idle_after IS NOT OLD.idle_after OR NEW.used < OLD.used
BEGIN SELECT RAISE(ABORT, 'how long a grant may lie unused never changes, and its last use never moves back'); END;
-- +goose StatementEnd
