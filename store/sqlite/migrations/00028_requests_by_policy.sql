-- Which requests a version of an entitlement decided.

-- +goose Up
CREATE INDEX requests_by_policy ON requests (entitlement, policy_digest, id);
