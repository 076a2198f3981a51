-- name: exists
SELECT 1 FROM organization WHERE org_id = :org_id;

-- name: insert
-- Keeps what is there.
INSERT INTO main.organization (org_id, org_name, created_at)
VALUES (:org_id, :org_name, :created_at)
ON CONFLICT DO NOTHING;

-- name: find
SELECT org_id, org_name, created_at FROM organization WHERE org_id = :org_id;

-- name: rename
UPDATE main.organization SET org_name = :org_name WHERE org_id = :org_id;

-- name: page
SELECT org_id, org_name, created_at FROM organization
ORDER BY created_at, org_id LIMIT :limit OFFSET :skip;

-- name: some_users
SELECT user_id FROM user WHERE org_id = :org_id LIMIT :limit;

-- name: delete_agents
DELETE FROM main.agent WHERE org_id = :org_id;

-- name: delete
DELETE FROM main.organization WHERE org_id = :org_id;

-- name: delete_outbox
-- What was still to do for its vectors is part of dropping them all; but see the user's.
DELETE FROM main.outbox WHERE org_id = :org_id AND (lease IS NULL OR lease_until <= :now);
