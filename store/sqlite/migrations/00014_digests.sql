-- Instances whose table was found not to be what they were told, since when, and of
-- which apps. And what the feed tells of an app, in the order in which it is read.

-- +goose Up
ALTER TABLE instances ADD COLUMN strayed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN strayed TEXT NOT NULL DEFAULT '[]';
CREATE INDEX instances_strayed ON instances (id) WHERE strayed_at > 0;
CREATE INDEX grants_fed ON grants (app, id) WHERE revoked = 0 AND finished = 0 AND swept = 0;
