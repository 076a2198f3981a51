-- What a sweep looks for: versions that have an end, and memories by age. The latter is the page of
-- an organization as well.
CREATE INDEX memory_by_expiry ON memory (org_id, expires_at, memory_id)
  WHERE expires_at IS NOT NULL;
CREATE INDEX memory_by_age ON memory (org_id, obtained_at, memory_id);

PRAGMA user_version = 6;
