-- When each source said what the memory says. NULL: stored before this was noted; then the time of
-- the message counts, or else that of the memory.
ALTER TABLE memory_source ADD COLUMN said_at INTEGER;

-- When, and by whom, a version was stated where it was obtained, if another message said it before.
-- NULL: that is obtained_at and source_role.
ALTER TABLE memory ADD COLUMN stated_at INTEGER;
ALTER TABLE memory ADD COLUMN stated_role TEXT;

PRAGMA user_version = 7;
