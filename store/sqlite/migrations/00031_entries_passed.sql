-- When a policy entered into force by the clock that goes on while the wall clock is
-- moved: for how long no rule approves whoever signed it is counted by that. 0: it
-- entered before this was noted, and its time counts as it stands.

-- +goose Up
ALTER TABLE policy_entries ADD COLUMN at_passed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX policy_entries_by_passed ON policy_entries (at_passed);
