-- name: insert
-- Keeps what is there.
INSERT INTO main.user (org_id, user_id, user_name, created_at, salt)
VALUES (:org_id, :user_id, :user_name, :created_at, :salt)
ON CONFLICT DO NOTHING;

-- name: find
SELECT org_id, user_id, user_name, created_at FROM user
WHERE org_id = :org_id AND user_id = :user_id;

-- name: rename
UPDATE main.user SET user_name = :user_name WHERE org_id = :org_id AND user_id = :user_id;

-- name: page
SELECT org_id, user_id, user_name, created_at FROM user WHERE org_id = :org_id
ORDER BY created_at, user_id LIMIT :limit OFFSET :skip;

-- name: salt
SELECT salt FROM user WHERE org_id = :org_id AND user_id = :user_id;

-- name: names
SELECT user_id, user_name FROM user
WHERE org_id = :org_id AND user_id IN (SELECT value FROM json_each(:user_ids));

-- name: agent_labels
-- Deleted agents too: their label stays for what they wrote.
SELECT agent_id, agent_label FROM agent
WHERE org_id = :org_id AND agent_id IN (SELECT value FROM json_each(:agent_ids));

-- name: delete_sources
DELETE FROM main.memory_source
WHERE org_id = :org_id
  AND memory_id IN (SELECT memory_id FROM memory WHERE org_id = :org_id AND user_id = :user_id);

-- name: delete_memories
DELETE FROM main.memory WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_messages
DELETE FROM main.message
WHERE org_id = :org_id
  AND interaction_id IN (
    SELECT interaction_id FROM interaction WHERE org_id = :org_id AND user_id = :user_id
  );

-- name: delete_jobs
DELETE FROM main.job WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_interactions
DELETE FROM main.interaction WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_tombstones
DELETE FROM main.tombstone WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_idempotency
DELETE FROM main.idempotency WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_import_changes
DELETE FROM main.import_change WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_imports
DELETE FROM main.import WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_agents
DELETE FROM main.agent WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete
DELETE FROM main.user WHERE org_id = :org_id AND user_id = :user_id;

-- name: delete_outbox
-- What was still to do for the user's vectors is part of dropping them all. What a worker has
-- leased stays until it is done, and the drop waits for it: nothing is written after the drop.
DELETE FROM main.outbox
WHERE org_id = :org_id AND user_id = :user_id AND (lease IS NULL OR lease_until <= :now);
