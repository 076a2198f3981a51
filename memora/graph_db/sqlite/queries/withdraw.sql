-- What comes from one source, and taking it back. Of :interaction_id, :agent_id, :import_id and
-- :process_id one is given, the others are NULL and equal nothing. A user's memories are looked
-- through; this is maintenance.

-- name: page
-- Newest first: versions obtained from the source, and those with a message of it (of the
-- interaction that a version was obtained in, the version says whose it is).
SELECT m.memory_id FROM memory AS m
WHERE m.org_id = :org_id
  AND m.user_id = :user_id
  AND (m.superseded_at IS NULL OR NOT :current_only)
  AND (m.expires_at IS NULL OR m.expires_at > :now)
  AND (
    (m.author IS NULL AND (
      m.interaction_id = :interaction_id
      OR m.agent_id = :agent_id OR m.import_id = :import_id OR m.process_id = :process_id
    ))
    OR EXISTS (
      SELECT 1 FROM memory_source AS source
      JOIN interaction AS i USING (org_id, interaction_id)
      WHERE source.org_id = :org_id
        AND source.memory_id = m.memory_id
        AND (
          i.interaction_id = :interaction_id
          OR (i.interaction_id IS m.interaction_id AND (
            m.agent_id = :agent_id OR m.import_id = :import_id OR m.process_id = :process_id
          ))
          OR (i.interaction_id IS NOT m.interaction_id AND (
            i.agent_id = :agent_id OR i.import_id = :import_id OR i.process_id = :process_id
          ))
        )
    )
  )
ORDER BY m.obtained_at DESC, m.memory_id DESC LIMIT :limit OFFSET :skip;

-- name: chains
-- The next chains with such a version, by id.
SELECT DISTINCT m.chain_id FROM memory AS m
WHERE m.org_id = :org_id
  AND m.user_id = :user_id
  AND m.chain_id > :after
  AND (
    (m.author IS NULL AND (
      m.interaction_id = :interaction_id
      OR m.agent_id = :agent_id OR m.import_id = :import_id OR m.process_id = :process_id
    ))
    OR EXISTS (
      SELECT 1 FROM memory_source AS source
      JOIN interaction AS i USING (org_id, interaction_id)
      WHERE source.org_id = :org_id
        AND source.memory_id = m.memory_id
        AND (
          i.interaction_id = :interaction_id
          OR (i.interaction_id IS m.interaction_id AND (
            m.agent_id = :agent_id OR m.import_id = :import_id OR m.process_id = :process_id
          ))
          OR (i.interaction_id IS NOT m.interaction_id AND (
            i.agent_id = :agent_id OR i.import_id = :import_id OR i.process_id = :process_id
          ))
        )
    )
  )
ORDER BY m.chain_id LIMIT :limit;

-- name: versions
-- All versions of these chains, oldest first; of equally old ones their links decide.
SELECT
  m.memory_id, m.chain_id, m.obtained_at, m.recorded_at, m.superseded_at, m.successor_id,
  m.source_role, m.content_hash, m.interaction_id, m.agent_id, m.import_id, m.process_id, m.author,
  m.pinned, m.archived, m.stated_at, m.stated_role
FROM json_each(:chain_ids) AS wanted
CROSS JOIN memory_version AS m
  ON m.org_id = :org_id AND m.chain_id = wanted.value AND +m.user_id = :user_id
ORDER BY m.chain_id, m.obtained_at, m.inserted;

-- name: source_messages
-- Messages that these versions came from, with what their interactions say.
SELECT
  source.memory_id, source.interaction_id, source.position, message.role, message.prefix_hash,
  i.agent_id, i.import_id, i.process_id,
  coalesce(source.said_at, message.timestamp) AS said_at
FROM json_each(:memory_ids) AS wanted
CROSS JOIN memory_source AS source
  ON source.org_id = :org_id AND source.memory_id = wanted.value
CROSS JOIN message
  ON message.org_id = :org_id
  AND message.interaction_id = source.interaction_id
  AND message.position = source.position
CROSS JOIN interaction AS i
  ON i.org_id = :org_id
  AND i.user_id = :user_id
  AND i.interaction_id = source.interaction_id
ORDER BY source.memory_id, source.interaction_id, source.position;

-- name: unfinished_jobs
SELECT * FROM job
WHERE org_id = :org_id AND user_id = :user_id AND status <> 'done'
ORDER BY created_at, job_id;

-- name: change_place
-- What was stated first is kept for as long as it is not what the version begins with.
UPDATE main.memory
SET successor_id = :successor_id, superseded_at = :superseded_at, obtained_at = :obtained_at,
  stated_at = nullif(coalesce(stated_at, obtained_at), :obtained_at),
  stated_role = CASE WHEN coalesce(stated_at, obtained_at) <> :obtained_at
    THEN coalesce(stated_role, source_role) END
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: change_trust
UPDATE main.memory SET source_role = :source_role
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: change_origin
-- What the memory counts as obtained from, and so as stated first.
UPDATE main.memory
SET interaction_id = :interaction_id, agent_id = :agent_id, import_id = :import_id,
  process_id = :process_id, stated_at = NULL, stated_role = NULL
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: unlink
-- The memory was found in the scope before.
DELETE FROM main.memory_source
WHERE org_id = :org_id
  AND memory_id = :memory_id
  AND interaction_id = :interaction_id
  AND position = :position;
