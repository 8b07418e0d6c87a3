-- The same refusals, for less: the end of a spool is looked up instead of being sought
-- among all of its segments, and what a grant says is compared when it is written, not
-- when a use of the grant is noted.

-- +goose Up
DROP TRIGGER segments_append;
-- +goose StatementBegin
CREATE TRIGGER segments_append BEFORE INSERT ON segments
WHEN NEW.first_seq IS NOT coalesce((SELECT last_seq + 1 FROM segments WHERE spool = NEW.spool ORDER BY first_seq DESC LIMIT 1), 1)
BEGIN SELECT RAISE(ABORT, 'a spool is append-only: not the next segment'); END;
-- +goose StatementEnd
DROP TRIGGER grants_update;
-- +goose StatementBegin
CREATE TRIGGER grants_update BEFORE UPDATE OF id, request, principal, entitlement, app, scope, class, params, catalogue, not_before, not_after ON grants
WHEN NEW.id IS NOT OLD.id OR NEW.request IS NOT OLD.request OR NEW.principal IS NOT OLD.principal
  OR NEW.entitlement IS NOT OLD.entitlement OR NEW.app IS NOT OLD.app OR NEW.scope IS NOT OLD.scope
  OR NEW.class IS NOT OLD.class OR NEW.params IS NOT OLD.params OR NEW.catalogue IS NOT OLD.catalogue
  OR NEW.not_before IS NOT OLD.not_before OR NEW.not_after IS NOT OLD.not_after
BEGIN SELECT RAISE(ABORT, 'what a grant says never changes'); END;
-- +goose StatementEnd
