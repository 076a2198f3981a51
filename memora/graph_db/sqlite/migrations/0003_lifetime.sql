-- What a sweep looks for: versions that have an end, and current ones by age. The latter also are
-- the page of an organization.
CREATE INDEX memory_by_expiry ON memory (org_id, expires_at, memory_id)
  WHERE expires_at IS NOT NULL;
CREATE INDEX memory_in_use ON memory (org_id, obtained_at, memory_id)
  WHERE superseded_at IS NULL AND archived = 0;

PRAGMA user_version = 3;
