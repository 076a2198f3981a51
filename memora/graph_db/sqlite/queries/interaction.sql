-- name: find
SELECT * FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: find_by_external_id
SELECT * FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND external_id = :external_id;

-- name: page
SELECT * FROM interaction WHERE org_id = :org_id AND user_id = :user_id
ORDER BY updated_at DESC, interaction_id LIMIT :limit OFFSET :skip;

-- name: messages
-- Positions from :start up to, not including, :end (NULL: to the last).
SELECT message.*
FROM interaction JOIN message USING (org_id, interaction_id)
WHERE interaction.org_id = :org_id
  AND interaction.user_id = :user_id
  AND interaction.interaction_id = :interaction_id
  AND message.position >= :start
  AND message.position < coalesce(:end, 9223372036854775807)
ORDER BY message.position;

-- name: prefix_hashes
SELECT message.prefix_hash
FROM interaction JOIN message USING (org_id, interaction_id)
WHERE interaction.org_id = :org_id
  AND interaction.user_id = :user_id
  AND interaction.interaction_id = :interaction_id
ORDER BY message.position;

-- name: known
SELECT interaction_id FROM interaction
WHERE org_id = :org_id
  AND user_id = :user_id
  AND interaction_id IN (SELECT value FROM json_each(:interaction_ids));

-- name: some
SELECT interaction_id FROM interaction WHERE org_id = :org_id AND user_id = :user_id LIMIT :limit;

-- name: some_memories
-- Memories obtained in these interactions.
SELECT memory_id FROM memory
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND interaction_id IN (SELECT value FROM json_each(:interaction_ids))
LIMIT :limit;

-- name: sourced_from
-- Memories that came from messages of these interactions.
SELECT DISTINCT source.memory_id
FROM json_each(:interaction_ids) AS wanted
CROSS JOIN interaction AS owned
  ON owned.org_id = :org_id AND owned.interaction_id = wanted.value AND owned.user_id = :user_id
CROSS JOIN memory_source AS source
  ON source.org_id = :org_id AND source.interaction_id = owned.interaction_id;

-- name: speakers
-- Names in the first messages of the interactions that changed last.
SELECT DISTINCT name FROM message
WHERE org_id = :org_id
  AND interaction_id IN (
    SELECT interaction_id FROM interaction
    WHERE org_id = :org_id AND user_id = :user_id
    ORDER BY updated_at DESC, interaction_id LIMIT :interactions
  )
  AND position < :messages
  AND name IS NOT NULL;

-- name: delete_sources
-- Links from memories that stay.
DELETE FROM main.memory_source
WHERE org_id = :org_id
  AND interaction_id IN (
    SELECT value FROM json_each(:interaction_ids)
    JOIN interaction AS owned
      ON owned.org_id = :org_id AND owned.interaction_id = value AND owned.user_id = :user_id
  );

-- name: delete_messages
DELETE FROM main.message
WHERE org_id = :org_id
  AND interaction_id IN (
    SELECT value FROM json_each(:interaction_ids)
    JOIN interaction AS owned
      ON owned.org_id = :org_id AND owned.interaction_id = value AND owned.user_id = :user_id
  );

-- name: delete_jobs
DELETE FROM main.job
WHERE org_id = :org_id
  AND user_id = :user_id
  AND interaction_id IN (SELECT value FROM json_each(:interaction_ids));

-- name: delete_import_changes
DELETE FROM main.import_change
WHERE org_id = :org_id
  AND user_id = :user_id
  AND interaction_id IN (SELECT value FROM json_each(:interaction_ids));

-- name: delete
DELETE FROM main.interaction
WHERE org_id = :org_id
  AND user_id = :user_id
  AND interaction_id IN (SELECT value FROM json_each(:interaction_ids));
