-- What was done on apps in observe mode, by caller, operation and day, as the record
-- tells. An empty code: it would have been allowed.

-- +goose Up
CREATE TABLE observed (
  app        TEXT NOT NULL,
  name       TEXT NOT NULL, -- of the caller, as the record has it
  operation  TEXT NOT NULL,
  code       TEXT NOT NULL,
  day        INTEGER NOT NULL CHECK (day > 0),
  last       INTEGER NOT NULL CHECK (last > 0),
  count      INTEGER NOT NULL CHECK (count > 0),
  attributes TEXT NOT NULL, -- JSON
  PRIMARY KEY (app, name, operation, code, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX observed_by_day ON observed (day);
