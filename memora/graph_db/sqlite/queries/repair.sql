-- Each repair looks again, inside its transaction, at what a check found.

-- name: chains_of
-- The chains that a version is in, follows or precedes, or that have this id.
SELECT chain_id FROM memory WHERE org_id = :org_id AND memory_id = :record_id
UNION
SELECT chain_id FROM memory WHERE org_id = :org_id AND chain_id = :record_id
UNION
SELECT chain_id FROM memory WHERE org_id = :org_id AND successor_id = :record_id
UNION
SELECT later.chain_id FROM memory
JOIN memory AS later ON later.org_id = memory.org_id AND later.memory_id = memory.successor_id
WHERE memory.org_id = :org_id AND memory.memory_id = :record_id;

-- name: versions
-- All versions of a chain, oldest first, in the order in which reads have them.
SELECT user_id, memory_id, successor_id, obtained_at, superseded_at FROM memory_version
WHERE org_id = :org_id AND chain_id = :chain_id
ORDER BY obtained_at, inserted;

-- name: unlink
UPDATE main.memory SET successor_id = NULL WHERE org_id = :org_id AND memory_id = :memory_id;

-- name: place
UPDATE main.memory
SET chain_id = :chain_id, successor_id = :successor_id, superseded_at = :superseded_at
WHERE org_id = :org_id AND memory_id = :memory_id;

-- name: put_agent_back
-- As a deleted one: what it wrote can be read, and nobody writes as it.
INSERT INTO main.agent (org_id, agent_id, agent_label, user_id, created_at, deleted_at)
SELECT org_id, :agent_id, :agent_label, NULL, :now, :now FROM organization WHERE org_id = :org_id
ON CONFLICT DO NOTHING;

-- name: drop_stray_sources
DELETE FROM main.memory_source
WHERE org_id = :org_id AND memory_id = :memory_id
  AND NOT EXISTS (
    SELECT 1 FROM memory
    JOIN interaction USING (org_id, user_id)
    JOIN message
      ON message.org_id = interaction.org_id
      AND message.interaction_id = interaction.interaction_id
    WHERE memory.org_id = memory_source.org_id
      AND memory.memory_id = memory_source.memory_id
      AND interaction.interaction_id = memory_source.interaction_id
      AND message.position = memory_source.position
  );

-- name: second_external_id
-- The interaction, if an older one of the user has its external id.
SELECT user_id, external_id, metadata FROM interaction AS own
WHERE org_id = :org_id AND interaction_id = :interaction_id AND external_id IS NOT NULL
  AND EXISTS (
    SELECT 1 FROM interaction AS older
    WHERE older.org_id = own.org_id
      AND older.user_id = own.user_id
      AND older.external_id = own.external_id
      AND (older.created_at, older.interaction_id) < (own.created_at, own.interaction_id)
  );

-- name: drop_external_id
UPDATE main.interaction SET external_id = NULL, metadata = :metadata
WHERE org_id = :org_id AND interaction_id = :interaction_id;

-- name: memory_times
UPDATE main.memory
SET obtained_at = min(max(obtained_at, :first), :last),
  recorded_at = CASE
    WHEN recorded_at > :ahead THEN :now ELSE max(recorded_at, :first) END,
  superseded_at = min(max(superseded_at, obtained_at, :first), :last),
  expires_at = min(max(expires_at, :first), :last),
  last_accessed_at = min(max(last_accessed_at, :first), :last)
WHERE org_id = :org_id AND memory_id = :record_id;

-- name: interaction_times
UPDATE main.interaction
SET created_at = min(max(created_at, :first), :last),
  updated_at = CASE WHEN updated_at > :ahead THEN :now ELSE max(updated_at, :first) END,
  last_activity_at = min(max(last_activity_at, created_at, :first), :last)
WHERE org_id = :org_id AND interaction_id = :record_id;

-- name: job_times
UPDATE main.job
SET created_at = CASE WHEN created_at > :ahead THEN :now ELSE max(created_at, :first) END,
  updated_at = CASE
    WHEN updated_at > :ahead OR created_at > :ahead THEN :now
    ELSE max(updated_at, created_at, :first) END
WHERE org_id = :org_id AND job_id = :record_id;

-- name: organization_times
UPDATE main.organization
SET created_at = CASE WHEN created_at > :ahead THEN :now ELSE max(created_at, :first) END
WHERE org_id = :org_id AND org_id = :record_id;

-- name: user_times
UPDATE main.user
SET created_at = CASE WHEN created_at > :ahead THEN :now ELSE max(created_at, :first) END
WHERE org_id = :org_id AND user_id = :record_id;

-- name: agent_times
UPDATE main.agent
SET created_at = CASE WHEN created_at > :ahead THEN :now ELSE max(created_at, :first) END
WHERE org_id = :org_id AND agent_id = :record_id;

-- name: free_entry
-- Given up, waiting or leased for implausibly long: due now, with all its tries.
UPDATE main.outbox
SET dead = 0, attempts = 0, not_before = :now, lease = NULL, lease_until = NULL,
  enqueued_at = min(enqueued_at, :ahead)
WHERE org_id = :org_id AND seq = :seq AND (dead = 1 OR not_before > :wait OR lease_until > :wait);

-- name: free_job
UPDATE main.job SET lease_until = NULL, status = CASE WHEN status = 'running' THEN 'pending' ELSE status END
WHERE org_id = :org_id AND job_id = :job_id AND lease_until > :wait;

-- name: current_with_sources
-- A current memory with what tombstones are made of.
SELECT memory.user_id, memory.obtained_at, memory.recorded_at, memory.content_hash, user.salt,
  message.prefix_hash
FROM memory
JOIN user USING (org_id, user_id)
JOIN memory_source AS source USING (org_id, memory_id)
JOIN message
  ON message.org_id = source.org_id
  AND message.interaction_id = source.interaction_id
  AND message.position = source.position
WHERE memory.org_id = :org_id AND memory.memory_id = :memory_id AND memory.superseded_at IS NULL;

-- name: transcript
-- What an interaction says of its messages, and what is there.
SELECT interaction.user_id, interaction.message_count, interaction.content_hash, count(message.position) AS found,
  coalesce(max(message.position) + 1, 0) = count(message.position) AS whole,
  coalesce((
    SELECT last.prefix_hash FROM message AS last
    WHERE last.org_id = interaction.org_id AND last.interaction_id = interaction.interaction_id
    ORDER BY last.position DESC LIMIT 1
  ), '') AS last_hash
FROM interaction
LEFT JOIN message
  ON message.org_id = interaction.org_id AND message.interaction_id = interaction.interaction_id
WHERE interaction.org_id = :org_id AND interaction.interaction_id = :interaction_id
GROUP BY interaction.org_id, interaction.interaction_id;

-- name: recount
UPDATE main.interaction SET message_count = :message_count, content_hash = :content_hash
WHERE org_id = :org_id AND interaction_id = :interaction_id;

-- name: drop_relations_of
-- Of a memory, or with a name.
DELETE FROM main.relation
WHERE org_id = :org_id AND user_id = :user_id
  AND (memory_id = :record_id OR subject_id = :record_id OR object_id = :record_id);

-- name: drop_mentions_of
DELETE FROM main.mention
WHERE org_id = :org_id AND user_id = :user_id AND (memory_id = :record_id OR name_id = :record_id);

-- name: memory_to_name
-- A memory with what its links are made of.
SELECT memory.entities, memory.relations, user.salt
FROM memory JOIN user USING (org_id, user_id)
WHERE memory.org_id = :org_id AND +memory.user_id = :user_id AND memory.memory_id = :record_id;

-- name: drop_unmentioned
DELETE FROM main.entity
WHERE org_id = :org_id AND user_id = :user_id
  AND NOT EXISTS (
    SELECT 1 FROM mention
    WHERE mention.org_id = entity.org_id
      AND mention.user_id = entity.user_id
      AND mention.name_id = entity.name_id
  );
