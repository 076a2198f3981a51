-- Ids come as JSON lists, and they are few: CROSS JOIN makes SQLite start with them, and a `+`
-- before `user_id` keeps it from going through all memories of the user instead.

-- name: read
-- Exactly these versions; an agent narrows.
SELECT version.*
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory_version AS version
  ON version.org_id = :org_id
  AND version.memory_id = wanted.value
  AND +version.user_id = :user_id
WHERE :agent_id IS NULL OR version.agent_id = :agent_id
ORDER BY wanted.key;

-- name: resolve_current
-- The head of each one's chain.
SELECT asked.memory_id AS wanted_id, version.*
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory AS asked
  ON asked.org_id = :org_id AND asked.memory_id = wanted.value AND asked.user_id = :user_id
CROSS JOIN memory_version AS version
  ON version.org_id = :org_id
  AND version.chain_id = asked.chain_id
  AND version.superseded_at IS NULL
  AND +version.user_id = :user_id
ORDER BY wanted.key;

-- name: resolve_as_of
-- The version of each one's chain that was valid at :as_of.
SELECT asked.memory_id AS wanted_id, version.*
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory AS asked
  ON asked.org_id = :org_id AND asked.memory_id = wanted.value AND asked.user_id = :user_id
CROSS JOIN memory_version AS version
  ON version.org_id = :org_id
  AND version.chain_id = asked.chain_id
  AND version.obtained_at <= :as_of
  AND (version.superseded_at IS NULL OR version.superseded_at > :as_of)
  AND +version.user_id = :user_id
ORDER BY wanted.key;

-- name: chains
-- All versions, newest first; of equally old ones their links decide.
SELECT asked.memory_id AS wanted_id, version.*
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory AS asked
  ON asked.org_id = :org_id AND asked.memory_id = wanted.value AND asked.user_id = :user_id
CROSS JOIN memory_version AS version
  ON version.org_id = :org_id
  AND version.chain_id = asked.chain_id
  AND +version.user_id = :user_id
ORDER BY wanted.key, version.obtained_at DESC, version.inserted DESC;

-- name: sources
-- Messages that these memories, all found in the scope before, came from.
SELECT
  source.memory_id, source.interaction_id, message.position, message.role, message.name,
  message.timestamp, message.content, message.data
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory_source AS source
  ON source.org_id = :org_id AND source.memory_id = wanted.value
CROSS JOIN message
  ON message.org_id = :org_id
  AND message.interaction_id = source.interaction_id
  AND message.position = source.position
ORDER BY source.interaction_id, source.position;

-- name: contexts
-- What was said right before the first message that each of these memories came from.
SELECT
  owned.memory_id,
  (
    SELECT (
      SELECT earlier.content FROM message AS earlier
      WHERE earlier.org_id = message.org_id
        AND earlier.interaction_id = message.interaction_id
        AND earlier.position < message.position
        AND earlier.position >= message.position - :reach
        AND earlier.role IN ('user', 'assistant')
        AND earlier.content IS NOT NULL
      ORDER BY earlier.position DESC LIMIT 1
    )
    FROM memory_source AS source
    JOIN message
      ON message.org_id = source.org_id
      AND message.interaction_id = source.interaction_id
      AND message.position = source.position
    WHERE source.org_id = owned.org_id AND source.memory_id = owned.memory_id
    ORDER BY source.interaction_id, source.position LIMIT 1
  ) AS content
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory AS owned
  ON owned.org_id = :org_id AND owned.memory_id = wanted.value AND +owned.user_id = :user_id;

-- name: page
-- Newest first, after the row (:after_time, :after_id). With :now without archived and expired ones.
SELECT * FROM memory_version
WHERE org_id = :org_id
  AND user_id = :user_id
  AND (obtained_at, memory_id) < (:after_time, :after_id)
  AND (:agent_id IS NULL OR agent_id = :agent_id)
  AND (superseded_at IS NULL OR NOT :current_only)
  AND (:standing IS NULL OR pinned
    OR memory_type IN (SELECT value FROM json_each(:standing)))
  AND (:now IS NULL OR (archived = 0 AND (expires_at IS NULL OR expires_at > :now)))
ORDER BY obtained_at DESC, memory_id DESC LIMIT :limit OFFSET :skip;

-- name: page_of_interaction
-- The same among the memories obtained in one interaction.
SELECT * FROM memory_version
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND interaction_id = :interaction_id
  AND (obtained_at, memory_id) < (:after_time, :after_id)
  AND (:agent_id IS NULL OR agent_id = :agent_id)
  AND (superseded_at IS NULL OR NOT :current_only)
  AND (:standing IS NULL OR pinned
    OR memory_type IN (SELECT value FROM json_each(:standing)))
  AND (:now IS NULL OR (archived = 0 AND (expires_at IS NULL OR expires_at > :now)))
ORDER BY obtained_at DESC, memory_id DESC LIMIT :limit OFFSET :skip;

-- name: page_of_organization
-- The same among the memories of all users.
SELECT * FROM memory_version
WHERE org_id = :org_id
  AND (obtained_at, memory_id) < (:after_time, :after_id)
  AND (:agent_id IS NULL OR agent_id = :agent_id)
  AND (:interaction_id IS NULL OR +interaction_id = :interaction_id)
  AND (superseded_at IS NULL OR NOT :current_only)
  AND (:standing IS NULL OR pinned
    OR memory_type IN (SELECT value FROM json_each(:standing)))
  AND (:now IS NULL OR (archived = 0 AND (expires_at IS NULL OR expires_at > :now)))
ORDER BY obtained_at DESC, memory_id DESC LIMIT :limit OFFSET :skip;

-- name: page_of_index
-- All versions as the index needs them: without neighbours and sources.
SELECT memory.*, NULL AS predecessor_id FROM memory
WHERE org_id = :org_id
  AND user_id = :user_id
  AND (obtained_at, memory_id) < (:after_time, :after_id)
ORDER BY obtained_at DESC, memory_id DESC LIMIT :limit;

-- name: current_by_hash
-- Oldest first, so that the newest of equal statements is the one that is kept in a mapping. What
-- is wanted is asked of the table itself, as it is stored there.
SELECT version.*
FROM json_each(:content_hashes) AS wanted
CROSS JOIN main.memory AS found
  ON found.org_id = :org_id
  AND found.user_id = :user_id
  AND found.content_hash = wanted.value
  AND found.superseded_at IS NULL
CROSS JOIN memory_version AS version
  ON version.org_id = :org_id AND version.memory_id = found.memory_id
WHERE :agent_id IS NULL OR version.agent_id = :agent_id
ORDER BY version.obtained_at, version.memory_id;

-- name: tombstones
SELECT mark FROM tombstone
WHERE org_id = :org_id
  AND user_id = :user_id
  AND mark IN (SELECT value FROM json_each(:marks));

-- name: known
SELECT memory_id FROM memory
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids));

-- name: some
SELECT memory_id FROM memory WHERE org_id = :org_id AND user_id = :user_id LIMIT :limit;

-- name: chain_links
-- All links of the chains that these memories are in, oldest version first.
SELECT chain_id, memory_id, successor_id FROM memory_version
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND chain_id IN (
    SELECT chain_id FROM memory
    WHERE org_id = :org_id AND memory_id IN (SELECT value FROM json_each(:memory_ids))
  )
ORDER BY chain_id, obtained_at, inserted;

-- name: relink
UPDATE main.memory SET successor_id = :successor_id
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: source_hashes
-- What tombstones are made of.
SELECT message.prefix_hash, memory.content_hash
FROM memory
JOIN memory_source AS source USING (org_id, memory_id)
JOIN message
  ON message.org_id = source.org_id
  AND message.interaction_id = source.interaction_id
  AND message.position = source.position
WHERE memory.org_id = :org_id
  AND memory.user_id = :user_id
  AND memory.memory_id IN (SELECT value FROM json_each(:memory_ids));

-- name: insert_tombstone
INSERT INTO main.tombstone (org_id, user_id, mark, purged_at)
VALUES (:org_id, :user_id, :mark, :purged_at)
ON CONFLICT DO NOTHING;

-- name: delete_sources
DELETE FROM main.memory_source
WHERE org_id = :org_id
  AND memory_id IN (
    SELECT value FROM json_each(:memory_ids)
    JOIN memory AS owned
      ON owned.org_id = :org_id AND owned.memory_id = value AND +owned.user_id = :user_id
  );

-- name: delete
DELETE FROM main.memory
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids));
