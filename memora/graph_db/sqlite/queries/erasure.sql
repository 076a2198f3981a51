-- name: count_user
-- A message has no owner of its own: the foreign keys let none outlive its interaction, nor a link
-- its memory.
SELECT
  (SELECT count(*) FROM interaction WHERE org_id = :org_id AND user_id = :user_id) AS interactions,
  (
    SELECT count(*) FROM interaction AS owned
    JOIN message USING (org_id, interaction_id)
    WHERE owned.org_id = :org_id AND owned.user_id = :user_id
  ) AS messages,
  (SELECT count(*) FROM memory WHERE org_id = :org_id AND user_id = :user_id) AS memories,
  (SELECT count(*) FROM agent WHERE org_id = :org_id AND user_id = :user_id) AS agents,
  (SELECT count(*) FROM user WHERE org_id = :org_id AND user_id = :user_id) AS users,
  (SELECT count(*) FROM job WHERE org_id = :org_id AND user_id = :user_id) AS jobs,
  (
    SELECT count(*) FROM idempotency WHERE org_id = :org_id AND user_id = :user_id
  ) AS idempotency_keys,
  (SELECT count(*) FROM tombstone WHERE org_id = :org_id AND user_id = :user_id) AS tombstones,
  (SELECT count(*) FROM import WHERE org_id = :org_id AND user_id = :user_id) AS imports,
  (SELECT count(*) FROM outbox WHERE org_id = :org_id AND user_id = :user_id) AS outbox_entries,
  (SELECT count(*) FROM entity WHERE org_id = :org_id AND user_id = :user_id) AS entities;

-- name: count_organization
SELECT
  (SELECT count(*) FROM interaction WHERE org_id = :org_id) AS interactions,
  (SELECT count(*) FROM message WHERE org_id = :org_id) AS messages,
  (SELECT count(*) FROM memory WHERE org_id = :org_id) AS memories,
  (SELECT count(*) FROM agent WHERE org_id = :org_id) AS agents,
  (SELECT count(*) FROM user WHERE org_id = :org_id) AS users,
  (SELECT count(*) FROM job WHERE org_id = :org_id) AS jobs,
  (SELECT count(*) FROM idempotency WHERE org_id = :org_id) AS idempotency_keys,
  (SELECT count(*) FROM tombstone WHERE org_id = :org_id) AS tombstones,
  (SELECT count(*) FROM outbox WHERE org_id = :org_id) AS outbox_entries,
  (SELECT count(*) FROM import WHERE org_id = :org_id) AS imports,
  (SELECT count(*) FROM organization WHERE org_id = :org_id) AS organizations,
  (SELECT count(*) FROM entity WHERE org_id = :org_id) AS entities;
