-- Grants of which no end is on record, in the order in which they are listed.

-- +goose Up
CREATE INDEX grants_open ON grants (id) WHERE revoked = 0 AND finished = 0 AND swept = 0;
CREATE INDEX grants_open_by_principal ON grants (principal, id) WHERE revoked = 0 AND finished = 0 AND swept = 0;
