-- A reindex fills rows of the next generation beside those in use, and switches by one update.
PRAGMA user_version = 2;

-- Rows of every other generation are of a reindex that is under way, or was cut short.
ALTER TABLE state ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;

ALTER TABLE removal ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;

DROP INDEX vector_by_change;
DROP INDEX vector_by_owner;
ALTER TABLE vector RENAME TO vector_before;

CREATE TABLE vector (
  memory_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  -- Little-endian: float32, uint32, float32.
  dense BLOB NOT NULL,
  lexical_indices BLOB NOT NULL,
  lexical_values BLOB NOT NULL,
  -- JSON: ids and filter values, never text.
  payload TEXT NOT NULL,
  text_hash TEXT NOT NULL,
  change INTEGER NOT NULL,
  PRIMARY KEY (memory_id, generation)
) STRICT;

INSERT INTO vector (
  memory_id, generation, org_id, user_id, dense, lexical_indices, lexical_values, payload,
  text_hash, change
)
SELECT memory_id, 1, org_id, user_id, dense, lexical_indices, lexical_values, payload, text_hash,
  change
FROM vector_before ORDER BY change;

DROP TABLE vector_before;

CREATE UNIQUE INDEX vector_by_change ON vector (generation, change);
CREATE INDEX vector_by_owner ON vector (org_id, user_id);
