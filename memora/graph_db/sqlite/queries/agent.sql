-- name: insert
-- A deleted one comes back under its new label; whom an agent serves never changes.
INSERT INTO main.agent (org_id, agent_id, agent_label, user_id, created_at)
VALUES (:org_id, :agent_id, :agent_label, :user_id, :created_at)
ON CONFLICT (org_id, agent_id) DO UPDATE
SET agent_label = excluded.agent_label, created_at = excluded.created_at, deleted_at = NULL
WHERE deleted_at IS NOT NULL AND user_id IS excluded.user_id;

-- name: find_even_deleted
SELECT org_id, agent_id, agent_label, user_id, created_at FROM agent
WHERE org_id = :org_id AND agent_id = :agent_id;

-- name: find
SELECT org_id, agent_id, agent_label, user_id, created_at FROM agent
WHERE org_id = :org_id AND agent_id = :agent_id AND deleted_at IS NULL;

-- name: rename
UPDATE main.agent SET agent_label = :agent_label
WHERE org_id = :org_id AND agent_id = :agent_id AND deleted_at IS NULL;

-- name: page
SELECT org_id, agent_id, agent_label, user_id, created_at FROM agent
WHERE org_id = :org_id AND deleted_at IS NULL
ORDER BY created_at, agent_id LIMIT :limit OFFSET :skip;

-- name: page_of_user
SELECT org_id, agent_id, agent_label, user_id, created_at FROM agent
WHERE org_id = :org_id AND user_id = :user_id AND deleted_at IS NULL
ORDER BY created_at, agent_id LIMIT :limit OFFSET :skip;

-- name: mark_deleted
UPDATE main.agent SET deleted_at = :now
WHERE org_id = :org_id AND agent_id = :agent_id AND deleted_at IS NULL;
