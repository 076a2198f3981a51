-- purged_at: when the statement was purged; NULL: before this was noted. What was stored before is
-- another memory's, and was not extracted again.
ALTER TABLE tombstone ADD COLUMN purged_at INTEGER;

PRAGMA user_version = 3;
