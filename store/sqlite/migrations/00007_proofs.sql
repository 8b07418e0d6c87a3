-- Signed approvals, and what proves the policy of a commit to gateways. Neither is
-- believed by whoever checks: a gateway checks every signature for itself.

-- +goose Up
ALTER TABLE approvals ADD COLUMN signature BLOB NOT NULL DEFAULT x'';

CREATE TABLE policy_proofs (
  commit_id TEXT NOT NULL CHECK (commit_id <> ''),
  app       TEXT NOT NULL, -- '' for the line of commits alone
  body      BLOB NOT NULL,
  PRIMARY KEY (commit_id, app)
) STRICT;
