-- A place is found by the leaf that put it on the record: of the control log, or the one
-- that anchors its segment. Rows are half as long, stand in the order in which they are
-- read, and what several gateways tell of one grant at a time stands together.

-- +goose Up
CREATE UNIQUE INDEX segments_by_leaf ON segments (leaf);
-- A second key is a second way to put a row in the place of another.
DROP TRIGGER segments_append;
-- +goose StatementBegin
CREATE TRIGGER segments_append BEFORE INSERT ON segments
WHEN NEW.first_seq IS NOT coalesce((SELECT last_seq + 1 FROM segments WHERE spool = NEW.spool ORDER BY first_seq DESC LIMIT 1), 1)
  OR EXISTS (SELECT 1 FROM segments WHERE leaf = NEW.leaf)
BEGIN SELECT RAISE(ABORT, 'a spool is append-only: not the next segment'); END;
-- +goose StatementEnd
CREATE TABLE places_by_leaf (
  id   TEXT NOT NULL,
  leaf INTEGER NOT NULL,
  seq  INTEGER NOT NULL, -- of the frame in its spool; 0: the leaf itself names the id
  PRIMARY KEY (id, leaf, seq)
) STRICT, WITHOUT ROWID;
-- In a segment's row the leaf stands behind its frames, too far to be read for each place.
CREATE INDEX segments_leaf_of ON segments (spool, first_seq, leaf);
INSERT INTO places_by_leaf (id, leaf, seq)
  SELECT id, CASE spool WHEN '' THEN seq ELSE (SELECT leaf FROM segments INDEXED BY segments_leaf_of
    WHERE segments.spool = places.spool AND first_seq <= places.seq ORDER BY first_seq DESC LIMIT 1) END,
    CASE spool WHEN '' THEN 0 ELSE seq END
  FROM places;
DROP INDEX segments_leaf_of;
DROP TABLE places;
ALTER TABLE places_by_leaf RENAME TO places;
