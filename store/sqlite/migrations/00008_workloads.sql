-- The workloads that were seen: calls at gateways, as the record tells of them, and
-- calls of the API. The row without a principal is of those who proved nobody.

-- +goose Up
CREATE TABLE workloads (
  principal   TEXT PRIMARY KEY,
  first       INTEGER NOT NULL CHECK (first > 0),
  last        INTEGER NOT NULL CHECK (last >= first),
  called      INTEGER NOT NULL CHECK (called BETWEEN 0 AND last), -- 0: never at a gateway
  environment TEXT NOT NULL,
  app         TEXT NOT NULL,
  operation   TEXT NOT NULL,
  code        TEXT NOT NULL,
  allowed     INTEGER NOT NULL CHECK (allowed >= 0),
  denied      INTEGER NOT NULL CHECK (denied >= 0),
  asked       INTEGER NOT NULL CHECK (asked >= 0)
) STRICT, WITHOUT ROWID;
