-- Statements of one write plan, in the order in which they are needed.

-- name: user_salt
SELECT salt FROM user WHERE org_id = :org_id AND user_id = :user_id;

-- name: usable_agents
-- Agents of this user or of all users; `alive` tells whether it is still there.
SELECT agent_id, deleted_at IS NULL AS alive FROM agent
WHERE org_id = :org_id
  AND (user_id IS NULL OR user_id = :user_id)
  AND agent_id IN (SELECT value FROM json_each(:agent_ids));

-- name: idempotency
SELECT key, body_hash, result, import_id FROM idempotency
WHERE org_id = :org_id AND user_id = :user_id AND key = :key;

-- name: import_status
SELECT status FROM import
WHERE org_id = :org_id AND user_id = :user_id AND import_id = :import_id;

-- name: cut_off
-- The messages from :keep on, with what they are sources of.
SELECT message.*, (
  SELECT json_group_array(json_array(source.memory_id, source.said_at))
  FROM memory_source AS source
  WHERE source.org_id = message.org_id
    AND source.interaction_id = message.interaction_id
    AND source.position = message.position
) AS sources
FROM interaction
JOIN message USING (org_id, interaction_id)
WHERE interaction.org_id = :org_id
  AND interaction.user_id = :user_id
  AND interaction.interaction_id = :interaction_id
  AND message.position >= :keep
ORDER BY message.position;

-- name: import_change
SELECT * FROM import_change
WHERE org_id = :org_id
  AND user_id = :user_id
  AND import_id = :import_id
  AND interaction_id = :interaction_id;

-- name: put_import_change
INSERT INTO main.import_change (org_id, import_id, interaction_id, user_id, revision, found)
VALUES (:org_id, :import_id, :interaction_id, :user_id, :revision, :found)
ON CONFLICT DO UPDATE SET revision = excluded.revision, found = excluded.found
WHERE user_id = excluded.user_id;

-- name: count_written
UPDATE main.import
SET conversations = conversations + :conversations, memories = memories + :memories
WHERE org_id = :org_id AND user_id = :user_id AND import_id = :import_id;

-- name: job_attempts
SELECT attempts FROM job WHERE org_id = :org_id AND user_id = :user_id AND job_id = :job_id;

-- name: interaction_state
-- Also tells whether another user has an interaction of this id.
SELECT user_id = :user_id AS own, interaction.* FROM interaction
WHERE org_id = :org_id AND interaction_id = :interaction_id;

-- name: external_id_owner
SELECT interaction_id FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND external_id = :external_id;

-- name: insert_interaction
-- Empty; its messages follow as they do for one that was there.
INSERT INTO main.interaction (
  org_id, interaction_id, user_id, agent_id, metadata, participants, created_at, updated_at,
  last_activity_at, revision, message_count, content_hash, import_id, process_id
)
VALUES (
  :org_id, :interaction_id, :user_id, :agent_id, :metadata, '[]', :at, :now,
  :at, 0, 0, :content_hash, :import_id, :process_id
);

-- name: sourced_from
-- Memories that came from messages that are about to be cut.
SELECT DISTINCT memory_id FROM memory_source
WHERE org_id = :org_id AND interaction_id = :interaction_id AND position >= :keep;

-- name: cut_sources
DELETE FROM main.memory_source
WHERE org_id = :org_id AND interaction_id = :interaction_id AND position >= :keep;

-- name: cut_messages
DELETE FROM main.message
WHERE org_id = :org_id AND interaction_id = :interaction_id AND position >= :keep;

-- name: lower_jobs
-- Unfinished jobs end where the transcript was cut; one with nothing left is done.
UPDATE main.job
SET end_position = max(start_position, :keep),
  status = CASE WHEN start_position >= :keep THEN 'done' ELSE status END,
  lease_until = CASE WHEN start_position >= :keep THEN NULL ELSE lease_until END,
  updated_at = max(:now, updated_at + 1)
WHERE org_id = :org_id
  AND user_id = :user_id
  AND interaction_id = :interaction_id
  AND status <> 'done'
  AND end_position > :keep;

-- name: insert_message
INSERT INTO main.message (
  org_id, interaction_id, position, prefix_hash, role, name, timestamp, content, data, import_id
)
VALUES (
  :org_id, :interaction_id, :position, :prefix_hash, :role, :name, :timestamp, :content, :data,
  :import_id
);

-- name: last_hash
-- Prefix hash of the last message.
SELECT prefix_hash FROM message
WHERE org_id = :org_id AND interaction_id = :interaction_id AND position = :count - 1;

-- name: update_interaction
UPDATE main.interaction
SET external_id = :external_id, title = :title, metadata = :metadata,
  participants = :participants, updated_at = :updated_at, last_activity_at = :last_activity_at,
  revision = :revision, message_count = :message_count, content_hash = :content_hash
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: interaction_exists
SELECT 1 FROM interaction
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: memory_exists
-- In the whole organization, where the id is the key.
SELECT 1 FROM memory WHERE org_id = :org_id AND memory_id = :memory_id;

-- name: version
SELECT memory_id, chain_id, successor_id, superseded_at, predecessor_id FROM memory_version
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: chain_head
SELECT memory_id FROM memory
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND chain_id = :chain_id
  AND superseded_at IS NULL;

-- name: chain_exists
SELECT 1 FROM memory WHERE org_id = :org_id AND chain_id = :chain_id LIMIT 1;

-- name: equal_current
-- The newest current memory of this text, as `current_by_hash` in memory.sql answers it. Few have
-- it: the `+` keeps SQLite from going through the user's memories by their time. What is wanted is
-- asked of the table itself, as it is stored there.
SELECT found.memory_id
FROM json_each(:content_hashes) AS wanted
CROSS JOIN main.memory AS found
  ON found.org_id = :org_id
  AND found.user_id = :user_id
  AND found.content_hash = wanted.value
  AND found.superseded_at IS NULL
WHERE :agent_id IS NULL OR found.agent_id = :agent_id
ORDER BY +found.obtained_at DESC, found.memory_id DESC LIMIT 1;

-- name: supersede
UPDATE main.memory
SET successor_id = :successor_id, superseded_at = coalesce(:superseded_at, superseded_at)
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: insert_memory
INSERT INTO main.memory (
  org_id, memory_id, user_id, agent_id, interaction_id, chain_id, successor_id, superseded_at,
  obtained_at, recorded_at, memory_type, importance, pinned, expires_at, source_role, confidence,
  content_hash, external_id, import_id, process_id, author, tags, entities, metadata, text,
  relations
)
VALUES (
  :org_id, :memory_id, :user_id, :agent_id, :interaction_id, :chain_id, :successor_id,
  :superseded_at, :obtained_at, :recorded_at, :memory_type, :importance, :pinned, :expires_at,
  :source_role, :confidence, :content_hash, :external_id, :import_id, :process_id, :author, :tags,
  :entities, :metadata, :text,
  :relations
);

-- name: link_source
-- Only where the message is still the one that was meant.
INSERT INTO main.memory_source (org_id, memory_id, interaction_id, position, said_at)
SELECT memory.org_id, memory.memory_id, message.interaction_id, message.position, :said_at
FROM interaction
JOIN message USING (org_id, interaction_id)
JOIN memory USING (org_id, user_id)
WHERE interaction.org_id = :org_id
  AND interaction.user_id = :user_id
  AND interaction.interaction_id = :interaction_id
  AND message.position = :position
  AND message.prefix_hash = :prefix_hash
  AND memory.memory_id = :memory_id
ON CONFLICT DO NOTHING;

-- name: move_source
-- Both memories were found in the scope before.
UPDATE OR IGNORE main.memory_source SET memory_id = :memory_id
WHERE org_id = :org_id
  AND memory_id = :moved_from
  AND interaction_id = :interaction_id
  AND position = :position;

-- name: begin
-- What was stated first is kept for as long as it is not what the version begins with.
UPDATE main.memory
SET obtained_at = :obtained_at, source_role = :source_role,
  stated_at = nullif(coalesce(stated_at, obtained_at), :obtained_at),
  stated_role = CASE WHEN coalesce(stated_at, obtained_at) <> :obtained_at
    THEN coalesce(stated_role, source_role) END
WHERE org_id = :org_id
  AND user_id = :user_id
  AND memory_id = :memory_id
  AND obtained_at = :was;

-- name: end_before
UPDATE main.memory SET superseded_at = :superseded_at
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: end_head
UPDATE main.memory SET superseded_at = :ended_at
WHERE org_id = :org_id
  AND user_id = :user_id
  AND memory_id = :memory_id
  AND superseded_at IS NULL;

-- name: put_job
INSERT INTO main.job (
  org_id, job_id, user_id, interaction_id, agent_id, start_position, end_position, status, params,
  outputs, attempts, error, lease_until, created_at, updated_at
)
VALUES (
  :org_id, :job_id, :user_id, :interaction_id, :agent_id, :start, :end, :status, :params,
  :outputs, :attempts, :error, :lease_until, :created_at, :updated_at
)
ON CONFLICT (org_id, job_id) DO UPDATE
SET start_position = excluded.start_position, end_position = excluded.end_position,
  status = excluded.status, params = excluded.params, outputs = excluded.outputs,
  attempts = excluded.attempts, error = excluded.error, lease_until = excluded.lease_until,
  updated_at = excluded.updated_at
WHERE user_id = excluded.user_id;

-- name: insert_idempotency
INSERT INTO main.idempotency (org_id, user_id, key, body_hash, result, created_at, import_id)
VALUES (:org_id, :user_id, :key, :body_hash, :result, :now, :import_id);
