-- Which grants came of one request, and the bundles that are not in force in all of
-- their apps yet: until when of the time that has passed each has to be.

-- +goose Up
CREATE INDEX grants_by_request ON grants (request, id);
CREATE TABLE bundles_beginning (
  request TEXT PRIMARY KEY,
  due     INTEGER NOT NULL CHECK (due > 0)
) STRICT, WITHOUT ROWID;
