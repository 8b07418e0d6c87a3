-- How many streams the end of a grant cut at an instance.

-- +goose Up
ALTER TABLE waits ADD COLUMN streams_cut INTEGER NOT NULL DEFAULT 0;
