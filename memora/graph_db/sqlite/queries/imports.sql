-- Imports of conversations, and taking one back.

-- name: begin
INSERT INTO main.import (org_id, import_id, user_id, agent_id, process_id, status, started_at)
VALUES (:org_id, :import_id, :user_id, :agent_id, :process_id, 'running', :started_at)
ON CONFLICT DO UPDATE
SET status = 'running', finished_at = NULL, failed = 0, skipped = 0
WHERE user_id = excluded.user_id AND status NOT IN ('undoing', 'undone');

-- name: note
UPDATE main.import
SET conversations = conversations + :conversations, memories = memories + :memories,
  failed = failed + :failed, skipped = skipped + :skipped
WHERE org_id = :org_id
  AND user_id = :user_id
  AND import_id = :import_id
  AND status NOT IN ('undoing', 'undone');

-- name: finish
UPDATE main.import SET status = :status, finished_at = :now
WHERE org_id = :org_id
  AND user_id = :user_id
  AND import_id = :import_id
  AND status = 'running';

-- name: find
SELECT * FROM import WHERE org_id = :org_id AND import_id = :import_id;

-- name: page
SELECT * FROM import WHERE org_id = :org_id
ORDER BY started_at DESC, import_id DESC LIMIT :limit OFFSET :skip;

-- name: page_of_user
SELECT * FROM import WHERE org_id = :org_id AND user_id = :user_id
ORDER BY started_at DESC, import_id DESC LIMIT :limit OFFSET :skip;

-- name: mark
UPDATE main.import SET status = :status, finished_at = coalesce(finished_at, :now)
WHERE org_id = :org_id AND user_id = :user_id AND import_id = :import_id;

-- name: some_conversations
-- The next ones that the import wrote to, with their sizes.
SELECT c.interaction_id, i.message_count
FROM import_change AS c
JOIN interaction AS i USING (org_id, user_id, interaction_id)
WHERE c.org_id = :org_id
  AND c.user_id = :user_id
  AND c.import_id = :import_id
  AND c.interaction_id > :after
ORDER BY c.interaction_id LIMIT :limit;

-- name: changes
-- All imports' parts in a conversation.
SELECT import_id, interaction_id, revision, found FROM import_change
WHERE org_id = :org_id AND +user_id = :user_id AND interaction_id = :interaction_id;

-- name: chains
-- Chains with versions of the import obtained in these conversations, or with sources among the
-- messages that it wrote there.
SELECT m.chain_id
FROM json_each(:interaction_ids) AS wanted
CROSS JOIN memory AS m
  ON m.org_id = :org_id
  AND m.interaction_id = wanted.value
  AND +m.user_id = :user_id
  AND m.import_id = :import_id
UNION
SELECT m.chain_id
FROM json_each(:interaction_ids) AS wanted
CROSS JOIN message
  ON message.org_id = :org_id
  AND message.interaction_id = wanted.value
  AND message.import_id = :import_id
CROSS JOIN memory_source AS source
  ON source.org_id = :org_id
  AND source.interaction_id = message.interaction_id
  AND source.position = message.position
CROSS JOIN memory AS m
  ON m.org_id = :org_id AND m.memory_id = source.memory_id AND +m.user_id = :user_id;

-- name: source_messages
-- Messages that these versions came from; `import_id` is of the import that wrote the message.
SELECT
  source.memory_id, source.interaction_id, source.position, message.role, message.prefix_hash,
  i.agent_id, message.import_id, i.process_id,
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

-- name: writers
-- Who wrote the messages from :keep on.
SELECT DISTINCT message.import_id
FROM interaction JOIN message USING (org_id, interaction_id)
WHERE interaction.org_id = :org_id
  AND interaction.user_id = :user_id
  AND interaction.interaction_id = :interaction_id
  AND message.position >= :keep;

-- name: jobs
SELECT * FROM job
WHERE org_id = :org_id AND +user_id = :user_id AND interaction_id = :interaction_id;

-- name: delete_job
DELETE FROM main.job WHERE org_id = :org_id AND user_id = :user_id AND job_id = :job_id;

-- name: leave_interaction
-- What was made by hand of a memory of the conversation stays without it.
UPDATE main.memory SET interaction_id = NULL
WHERE org_id = :org_id AND +user_id = :user_id AND interaction_id = :interaction_id
RETURNING memory_id;

-- name: undone
-- Which of these imports were taken back.
SELECT import_id FROM import
WHERE org_id = :org_id
  AND user_id = :user_id
  AND status IN ('undoing', 'undone')
  AND import_id IN (SELECT value FROM json_each(:import_ids));

-- name: hand_over_messages
UPDATE main.message SET import_id = :heir
WHERE org_id = :org_id
  AND import_id = :import_id
  AND interaction_id = (
    SELECT interaction_id FROM main.interaction
    WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id
  );

-- name: hand_over_interaction
UPDATE main.interaction SET import_id = :heir
WHERE org_id = :org_id
  AND user_id = :user_id
  AND interaction_id = :interaction_id
  AND import_id = :import_id;

-- name: delete_change
DELETE FROM main.import_change
WHERE org_id = :org_id
  AND user_id = :user_id
  AND import_id = :import_id
  AND interaction_id = :interaction_id;

-- name: restore_interaction
UPDATE main.interaction
SET title = :title, metadata = :metadata, participants = :participants, updated_at = :updated_at,
  last_activity_at = :last_activity_at, revision = :revision, message_count = :message_count,
  content_hash = :content_hash
WHERE org_id = :org_id AND user_id = :user_id AND interaction_id = :interaction_id;

-- name: restore_source
INSERT INTO main.memory_source (org_id, memory_id, interaction_id, position, said_at)
SELECT m.org_id, m.memory_id, :interaction_id, :position, :said_at FROM main.memory AS m
WHERE m.org_id = :org_id AND m.user_id = :user_id AND m.memory_id = :memory_id
ON CONFLICT DO NOTHING;

-- name: count_keys
SELECT count(*) FROM idempotency
WHERE org_id = :org_id AND user_id = :user_id AND import_id = :import_id;

-- name: delete_keys
DELETE FROM main.idempotency
WHERE org_id = :org_id AND user_id = :user_id AND key IN (
  SELECT key FROM main.idempotency
  WHERE org_id = :org_id AND user_id = :user_id AND import_id = :import_id LIMIT :limit
);
