-- Exports and imports. Rows of a user are read in the order of the export, and only ids are sorted:
-- texts are fetched one by one, so that no sorter holds them.

-- name: organizations
SELECT org_id FROM organization ORDER BY org_id;

-- name: organization
SELECT * FROM organization WHERE org_id = :org_id;

-- name: users
SELECT * FROM user WHERE org_id = :org_id ORDER BY user_id;

-- name: agents
-- Of one user, or with NULL those of all users; deleted ones too.
SELECT * FROM agent WHERE org_id = :org_id AND user_id IS :user_id ORDER BY agent_id;

-- name: interactions
SELECT interaction_id FROM interaction
WHERE org_id = :org_id AND user_id = :user_id
ORDER BY interaction_id;

-- name: interaction
SELECT * FROM interaction WHERE org_id = :org_id AND interaction_id = :interaction_id;

-- name: messages
SELECT * FROM message
WHERE org_id = :org_id AND interaction_id = :interaction_id
ORDER BY position;

-- name: memories
SELECT memory_id FROM memory
WHERE org_id = :org_id AND user_id = :user_id
ORDER BY obtained_at, memory_id;

-- name: memory
SELECT * FROM memory_version WHERE org_id = :org_id AND memory_id = :memory_id;

-- name: sources
SELECT interaction_id, position, said_at FROM memory_source
WHERE org_id = :org_id AND memory_id = :memory_id
ORDER BY interaction_id, position;

-- name: tombstones
SELECT mark, purged_at FROM tombstone
WHERE org_id = :org_id AND user_id = :user_id
ORDER BY mark;

-- name: idempotency_keys
SELECT * FROM idempotency WHERE org_id = :org_id AND user_id = :user_id ORDER BY key;

-- name: jobs
SELECT job_id FROM job WHERE org_id = :org_id AND user_id = :user_id ORDER BY job_id;

-- name: job
SELECT * FROM job WHERE org_id = :org_id AND job_id = :job_id;

-- name: entities
-- Names whose entity does not follow from the name.
SELECT name_id, entity_id, decided FROM main.entity
WHERE org_id = :org_id AND user_id = :user_id AND (decided OR entity_id <> name_id)
ORDER BY name_id;

-- name: imports
SELECT * FROM import WHERE org_id = :org_id AND user_id = :user_id ORDER BY import_id;

-- name: import_changes
SELECT * FROM import_change
WHERE org_id = :org_id AND user_id = :user_id AND import_id = :import_id
ORDER BY interaction_id;

-- name: load_organization
INSERT INTO main.organization (org_id, org_name, created_at) VALUES (:org_id, :org_name, :created_at);

-- name: load_user
INSERT INTO main.user (org_id, user_id, user_name, created_at, salt)
VALUES (:org_id, :user_id, :user_name, :created_at, :salt);

-- name: load_agent
INSERT INTO main.agent (org_id, agent_id, agent_label, user_id, created_at, deleted_at)
VALUES (:org_id, :agent_id, :agent_label, :user_id, :created_at, :deleted_at);

-- name: load_interaction
INSERT INTO main.interaction (
  org_id, interaction_id, user_id, agent_id, external_id, title, metadata, active, participants,
  created_at, updated_at, last_activity_at, revision, message_count, content_hash, import_id,
  process_id
)
VALUES (
  :org_id, :interaction_id, :user_id, :agent_id, :external_id, :title, :metadata, :active,
  :participants, :created_at, :updated_at, :last_activity_at, :revision, :message_count,
  :content_hash, :import_id, :process_id
);

-- name: load_message
-- No row: the interaction is not there for this user.
INSERT INTO main.message (
  org_id, interaction_id, position, prefix_hash, role, name, timestamp, content, data, import_id
)
SELECT org_id, interaction_id, :position, :prefix_hash, :role, :name, :timestamp, :content, :data,
  :import_id
FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: load_memory
INSERT INTO main.memory (
  org_id, memory_id, user_id, agent_id, interaction_id, chain_id, successor_id, superseded_at,
  obtained_at, recorded_at, memory_type, importance, pinned, archived, expires_at, source_role,
  confidence, access_count, last_accessed_at, content_hash, external_id, import_id, process_id,
  author, tags, entities, metadata, text,
  relations, stated_at, stated_role
)
VALUES (
  :org_id, :memory_id, :user_id, :agent_id, :interaction_id, :chain_id, :superseded_by,
  :superseded_at, :obtained_at, :recorded_at, :memory_type, :importance, :pinned, :archived,
  :expires_at, :source_role, :confidence, :access_count, :last_accessed_at, :content_hash,
  :external_id, :import_id, :process_id, :author, :tags, :entities, :metadata, :text,
  :relations, :stated_at, :stated_role
);

-- name: load_source
-- No row: the message is not there for this user.
INSERT INTO main.memory_source (org_id, memory_id, interaction_id, position, said_at)
SELECT interaction.org_id, :memory_id, message.interaction_id, message.position, :said_at
FROM interaction
JOIN message USING (org_id, interaction_id)
WHERE interaction.org_id = :org_id
  AND interaction.user_id = :user_id
  AND interaction.interaction_id = :interaction_id
  AND message.position = :position;

-- name: load_tombstone
INSERT INTO main.tombstone (org_id, user_id, mark, purged_at)
VALUES (:org_id, :user_id, :mark, :purged_at);

-- name: load_idempotency_key
INSERT INTO main.idempotency (org_id, user_id, key, body_hash, result, created_at, import_id)
VALUES (:org_id, :user_id, :key, :body_hash, :result, :created_at, :import_id);

-- name: load_import
INSERT INTO main.import (
  org_id, import_id, user_id, agent_id, process_id, status, started_at, finished_at,
  conversations, memories, failed, skipped
)
VALUES (
  :org_id, :import_id, :user_id, :agent_id, :process_id, :status, :started_at, :finished_at,
  :conversations, :memories, :failed, :skipped
);

-- name: load_import_change
-- No row: the interaction is not there for this user.
INSERT INTO main.import_change (org_id, import_id, interaction_id, user_id, revision, found)
SELECT org_id, :import_id, interaction_id, user_id, :revision, :found
FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: load_job
INSERT INTO main.job (
  org_id, job_id, user_id, interaction_id, agent_id, start_position, end_position, status, params,
  outputs, attempts, error, lease_until, created_at, updated_at
)
SELECT org_id, :job_id, user_id, interaction_id, :agent_id, :start, :end, :status, :params,
  :outputs, :attempts, :error, NULL, :created_at, :updated_at
FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: load_entity
-- No row: no memory has the name.
UPDATE main.entity SET entity_id = :entity_id, decided = :decided
WHERE org_id = :org_id AND user_id = :user_id AND name_id = :name_id;
