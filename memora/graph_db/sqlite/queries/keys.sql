-- The keys of an encrypted store, and the pass that encrypts everything anew: of each table the
-- place and the sealed columns of some rows after :after, and the statement that puts them back.

-- name: exists
SELECT count(*) FROM sqlite_master WHERE name = 'data_key';

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM main.organization);

-- name: list
SELECT id, wrapped, wrapped_by FROM data_key ORDER BY id;

-- name: put
INSERT INTO main.data_key (id, wrapped, wrapped_by) VALUES (:id, :wrapped, :wrapped_by)
ON CONFLICT (id) DO UPDATE SET wrapped = excluded.wrapped, wrapped_by = excluded.wrapped_by;

-- name: forget_before
DELETE FROM main.data_key WHERE id < :id;

-- name: forget_plain
-- A store with nothing but plain text has no keys.
DELETE FROM main.data_key WHERE wrapped IS NULL AND id = :id;

-- name: read_organization
SELECT rowid AS number, org_id, org_name
FROM main.organization WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_organization
UPDATE main.organization SET org_name = :org_name WHERE rowid = :number;

-- name: read_user
SELECT rowid AS number, org_id, user_id, user_name, salt
FROM main.user WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_user
UPDATE main.user SET user_name = :user_name, salt = :salt WHERE rowid = :number;

-- name: read_agent
SELECT rowid AS number, org_id, agent_id, agent_label
FROM main.agent WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_agent
UPDATE main.agent SET agent_label = :agent_label WHERE rowid = :number;

-- name: read_interaction
SELECT rowid AS number, org_id, user_id, interaction_id, title, metadata, content_hash
FROM main.interaction WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_interaction
UPDATE main.interaction SET title = :title, metadata = :metadata, content_hash = :content_hash
WHERE rowid = :number;

-- name: read_message
SELECT
  message.rowid AS number, message.org_id, interaction.user_id, message.interaction_id,
  message.position, message.prefix_hash, message.name, message.content, message.data
FROM main.message
LEFT JOIN main.interaction
  ON interaction.org_id = message.org_id AND interaction.interaction_id = message.interaction_id
WHERE message.rowid > :after ORDER BY message.rowid LIMIT :limit;

-- name: write_message
UPDATE main.message
SET prefix_hash = :prefix_hash, name = :name, content = :content, data = :data
WHERE rowid = :number;

-- name: read_memory
SELECT
  rowid AS number, org_id, user_id, memory_id, content_hash, author, tags, entities, metadata,
  text, relations
FROM main.memory WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_memory
UPDATE main.memory
SET content_hash = :content_hash, author = :author, tags = :tags, entities = :entities,
  metadata = :metadata, text = :text, relations = :relations
WHERE rowid = :number;

-- name: read_entity
SELECT rowid AS number, org_id, user_id, name_id, block, name
FROM main.entity WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_entity
UPDATE main.entity SET block = :block, name = :name WHERE rowid = :number;

-- name: read_idempotency
SELECT rowid AS number, org_id, user_id, key, body_hash, result
FROM main.idempotency WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_idempotency
UPDATE main.idempotency SET body_hash = :body_hash, result = :result WHERE rowid = :number;

-- name: read_import_change
SELECT rowid AS number, org_id, user_id, import_id, interaction_id, found
FROM main.import_change WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_import_change
UPDATE main.import_change SET found = :found WHERE rowid = :number;

-- name: read_job
SELECT rowid AS number, org_id, user_id, job_id, params, outputs, error
FROM main.job WHERE rowid > :after ORDER BY rowid LIMIT :limit;

-- name: write_job
UPDATE main.job SET params = :params, outputs = :outputs, error = :error WHERE rowid = :number;

-- name: read_outbox
SELECT seq AS number, seq, org_id, user_id, error
FROM main.outbox WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: write_outbox
UPDATE main.outbox SET error = :error WHERE seq = :number;
