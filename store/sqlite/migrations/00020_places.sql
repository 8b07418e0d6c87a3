-- +goose Up
-- One tree instead of two: a place is found by its id only, and each row is written
-- while the one writer is held.
CREATE TABLE places_by_id (
  id    TEXT NOT NULL,
  spool TEXT NOT NULL,
  seq   INTEGER NOT NULL,
  PRIMARY KEY (id, spool, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO places_by_id (id, spool, seq) SELECT id, spool, seq FROM places;
DROP TABLE places;
ALTER TABLE places_by_id RENAME TO places;
