-- What a policy's digest is the SHA-256 of: its files by path and SHA-256. With it a file
-- that was changed afterwards is named, and not only that one was.

-- +goose Up
ALTER TABLE policies ADD COLUMN manifest BLOB NOT NULL DEFAULT x'';
