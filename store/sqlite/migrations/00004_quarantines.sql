-- Gateways that are told nothing more until they are released.

-- +goose Up
CREATE TABLE quarantines (
  sidecar TEXT PRIMARY KEY CHECK (sidecar <> ''),
  since   INTEGER NOT NULL CHECK (since > 0),
  reason  TEXT NOT NULL
) STRICT;
