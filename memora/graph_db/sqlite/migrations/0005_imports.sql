-- Imports of conversations, each with what it takes to take it back.

-- The counts are of what it wrote (conversations, memories) and of its last run (failed, skipped).
CREATE TABLE import (
  org_id TEXT NOT NULL,
  import_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  agent_id TEXT,
  process_id TEXT,
  status TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed', 'undoing', 'undone')),
  started_at INTEGER NOT NULL,
  finished_at INTEGER,
  conversations INTEGER NOT NULL DEFAULT 0,
  memories INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  skipped INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (org_id, import_id),
  FOREIGN KEY (org_id, user_id) REFERENCES user
) STRICT;

CREATE INDEX import_by_start ON import (org_id, started_at DESC, import_id DESC);
CREATE INDEX import_by_user ON import (org_id, user_id, started_at DESC, import_id DESC);

-- A conversation that an import wrote to. found: what was there before, as JSON; NULL: the import
-- created it. revision: that of the conversation after the import's last write.
CREATE TABLE import_change (
  org_id TEXT NOT NULL,
  import_id TEXT NOT NULL,
  interaction_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  found TEXT,
  PRIMARY KEY (org_id, import_id, interaction_id),
  FOREIGN KEY (org_id, import_id) REFERENCES import,
  FOREIGN KEY (org_id, interaction_id) REFERENCES interaction
) STRICT;

CREATE INDEX import_change_by_interaction ON import_change (org_id, interaction_id);

-- import_id: of the import that wrote the row; NULL: none did.
ALTER TABLE message ADD COLUMN import_id TEXT;
ALTER TABLE idempotency ADD COLUMN import_id TEXT;

CREATE INDEX idempotency_by_import ON idempotency (org_id, user_id, import_id)
  WHERE import_id IS NOT NULL;

PRAGMA user_version = 5;
