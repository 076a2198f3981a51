-- What the embedded vector index is filled from.
PRAGMA application_id = 0x6d656d76;
PRAGMA user_version = 1;

CREATE TABLE state (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  -- What the vectors were made with; NULL until the first setup.
  model_id TEXT,
  dimensions INTEGER,
  recipe TEXT,
  -- Number of the folder that holds the shard, and the engine that wrote it; NULL means that the
  -- shard must be filled again.
  shard INTEGER,
  engine TEXT,
  -- Every change gets the next number; the shard has those up to `flushed` on disk.
  changes INTEGER NOT NULL DEFAULT 0,
  flushed INTEGER NOT NULL DEFAULT 0,
  -- Vectors that were replaced or deleted and may still be readable in the shard's files.
  dead INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO state (only_row) VALUES (1);

CREATE TABLE vector (
  memory_id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  -- Little-endian: float32, uint32, float32.
  dense BLOB NOT NULL,
  lexical_indices BLOB NOT NULL,
  lexical_values BLOB NOT NULL,
  -- JSON: ids and filter values, never text.
  payload TEXT NOT NULL,
  text_hash TEXT NOT NULL,
  change INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX vector_by_change ON vector (change);
CREATE INDEX vector_by_owner ON vector (org_id, user_id);

-- Deletes that the shard does not have on disk yet.
CREATE TABLE removal (
  change INTEGER PRIMARY KEY,
  memory_id TEXT NOT NULL
) STRICT;
