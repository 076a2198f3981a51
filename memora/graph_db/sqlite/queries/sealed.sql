-- In an encrypted store each connection has these views in front of the tables of the same names:
-- what reads `memory` reads decrypted text, without knowing of it. Statements that write say
-- `main.memory`, and get their values from `seal`. A value is bound to its column and to the key
-- after it; a message also to the user whose interaction it is in.

-- name: organization
CREATE TEMP VIEW IF NOT EXISTS organization AS
SELECT
  t.org_id,
  memora_open('organization.org_name', t.org_name, t.org_id) AS org_name,
  t.created_at
FROM main.organization AS t;

-- name: user
CREATE TEMP VIEW IF NOT EXISTS user AS
SELECT
  t.org_id, t.user_id,
  memora_open('user.user_name', t.user_name, t.org_id, t.user_id) AS user_name,
  t.created_at,
  memora_open('user.salt', t.salt, t.org_id, t.user_id) AS salt
FROM main.user AS t;

-- name: agent
CREATE TEMP VIEW IF NOT EXISTS agent AS
SELECT
  t.org_id, t.agent_id,
  memora_open('agent.agent_label', t.agent_label, t.org_id, t.agent_id) AS agent_label,
  t.user_id, t.created_at, t.deleted_at
FROM main.agent AS t;

-- name: interaction
CREATE TEMP VIEW IF NOT EXISTS interaction AS
SELECT
  t.org_id, t.interaction_id, t.user_id, t.agent_id, t.external_id,
  memora_open('interaction.title', t.title, t.org_id, t.user_id, t.interaction_id) AS title,
  memora_open('interaction.metadata', t.metadata, t.org_id, t.user_id, t.interaction_id)
    AS metadata,
  t.active, t.participants, t.created_at, t.updated_at, t.last_activity_at, t.revision,
  t.message_count,
  memora_open('interaction.content_hash', t.content_hash, t.org_id, t.user_id, t.interaction_id)
    AS content_hash,
  t.import_id, t.process_id
FROM main.interaction AS t;

-- name: message
CREATE TEMP VIEW IF NOT EXISTS message AS
SELECT
  t.org_id, t.interaction_id, t.position,
  memora_open(
    'message.prefix_hash', t.prefix_hash, t.org_id,
    (SELECT i.user_id FROM main.interaction AS i
     WHERE i.org_id = t.org_id AND i.interaction_id = t.interaction_id),
    t.interaction_id, t.position
  ) AS prefix_hash,
  t.role,
  memora_open(
    'message.name', t.name, t.org_id,
    (SELECT i.user_id FROM main.interaction AS i
     WHERE i.org_id = t.org_id AND i.interaction_id = t.interaction_id),
    t.interaction_id, t.position
  ) AS name,
  t.timestamp,
  memora_open(
    'message.content', t.content, t.org_id,
    (SELECT i.user_id FROM main.interaction AS i
     WHERE i.org_id = t.org_id AND i.interaction_id = t.interaction_id),
    t.interaction_id, t.position
  ) AS content,
  memora_open(
    'message.data', t.data, t.org_id,
    (SELECT i.user_id FROM main.interaction AS i
     WHERE i.org_id = t.org_id AND i.interaction_id = t.interaction_id),
    t.interaction_id, t.position
  ) AS data,
  t.import_id
FROM main.message AS t;

-- name: memory
CREATE TEMP VIEW IF NOT EXISTS memory AS
SELECT
  t.org_id, t.memory_id, t.user_id, t.agent_id, t.interaction_id, t.chain_id, t.successor_id,
  t.superseded_at, t.obtained_at, t.recorded_at, t.memory_type, t.importance, t.pinned, t.archived,
  t.expires_at, t.source_role, t.confidence, t.access_count, t.last_accessed_at,
  memora_unmark('memory.content_hash', t.content_hash, t.org_id, t.user_id) AS content_hash,
  t.external_id, t.import_id, t.process_id,
  memora_open('memory.author', t.author, t.org_id, t.user_id, t.memory_id) AS author,
  memora_open('memory.tags', t.tags, t.org_id, t.user_id, t.memory_id) AS tags,
  memora_open('memory.entities', t.entities, t.org_id, t.user_id, t.memory_id) AS entities,
  memora_open('memory.metadata', t.metadata, t.org_id, t.user_id, t.memory_id) AS metadata,
  memora_open('memory.text', t.text, t.org_id, t.user_id, t.memory_id) AS text,
  memora_open('memory.relations', t.relations, t.org_id, t.user_id, t.memory_id) AS relations,
  t.stated_at, t.stated_role
FROM main.memory AS t;

-- name: memory_version
CREATE TEMP VIEW IF NOT EXISTS memory_version AS
SELECT
  t.org_id, t.memory_id, t.user_id, t.agent_id, t.interaction_id, t.chain_id, t.successor_id,
  t.superseded_at, t.obtained_at, t.recorded_at, t.memory_type, t.importance, t.pinned, t.archived,
  t.expires_at, t.source_role, t.confidence, t.access_count, t.last_accessed_at,
  memora_unmark('memory.content_hash', t.content_hash, t.org_id, t.user_id) AS content_hash,
  t.external_id, t.import_id, t.process_id,
  memora_open('memory.author', t.author, t.org_id, t.user_id, t.memory_id) AS author,
  memora_open('memory.tags', t.tags, t.org_id, t.user_id, t.memory_id) AS tags,
  memora_open('memory.entities', t.entities, t.org_id, t.user_id, t.memory_id) AS entities,
  memora_open('memory.metadata', t.metadata, t.org_id, t.user_id, t.memory_id) AS metadata,
  memora_open('memory.text', t.text, t.org_id, t.user_id, t.memory_id) AS text,
  memora_open('memory.relations', t.relations, t.org_id, t.user_id, t.memory_id) AS relations,
  t.stated_at, t.stated_role,
  t.rowid AS inserted,
  (
    SELECT p.memory_id FROM main.memory AS p
    WHERE p.org_id = t.org_id AND p.successor_id = t.memory_id
  ) AS predecessor_id
FROM main.memory AS t;

-- name: entity
CREATE TEMP VIEW IF NOT EXISTS entity AS
SELECT
  t.org_id, t.user_id, t.name_id, t.entity_id,
  memora_unmark('entity.block', t.block, t.org_id, t.user_id) AS block,
  t.decided,
  memora_open('entity.name', t.name, t.org_id, t.user_id, t.name_id) AS name
FROM main.entity AS t;

-- name: idempotency
CREATE TEMP VIEW IF NOT EXISTS idempotency AS
SELECT
  t.org_id, t.user_id, t.key,
  memora_open('idempotency.body_hash', t.body_hash, t.org_id, t.user_id, t.key) AS body_hash,
  memora_open('idempotency.result', t.result, t.org_id, t.user_id, t.key) AS result,
  t.created_at, t.import_id
FROM main.idempotency AS t;

-- name: import_change
CREATE TEMP VIEW IF NOT EXISTS import_change AS
SELECT
  t.org_id, t.import_id, t.interaction_id, t.user_id, t.revision,
  memora_open(
    'import_change.found', t.found, t.org_id, t.user_id, t.import_id, t.interaction_id
  ) AS found
FROM main.import_change AS t;

-- name: job
CREATE TEMP VIEW IF NOT EXISTS job AS
SELECT
  t.org_id, t.job_id, t.user_id, t.interaction_id, t.agent_id, t.start_position, t.end_position,
  t.status,
  memora_open('job.params', t.params, t.org_id, t.user_id, t.job_id) AS params,
  memora_open('job.outputs', t.outputs, t.org_id, t.user_id, t.job_id) AS outputs,
  t.attempts,
  memora_open('job.error', t.error, t.org_id, t.user_id, t.job_id) AS error,
  t.lease_until, t.created_at, t.updated_at
FROM main.job AS t;

-- name: outbox
CREATE TEMP VIEW IF NOT EXISTS outbox AS
SELECT
  t.seq, t.op, t.org_id, t.user_id, t.memory_ids, t.attempts,
  memora_open('outbox.error', t.error, t.org_id, t.user_id, t.seq) AS error,
  t.enqueued_at, t.not_before, t.dead, t.lease, t.lease_until
FROM main.outbox AS t;
