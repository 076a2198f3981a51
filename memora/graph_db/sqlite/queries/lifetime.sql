-- How long memories stay. Of a whole organization where :user_id is NULL.

-- name: count_access
-- Usage is no version: nothing but these two fields changes.
UPDATE main.memory
SET access_count = access_count + :count,
  last_accessed_at = max(coalesce(last_accessed_at, :at), :at)
WHERE org_id = :org_id AND user_id = :user_id AND memory_id = :memory_id;

-- name: expired
-- In the order of their end, after (:after_time, :after_id); history included.
SELECT user_id, memory_id, expires_at AS at FROM memory
WHERE org_id = :org_id
  AND expires_at IS NOT NULL
  AND expires_at <= :now
  AND (expires_at, memory_id) > (:after_time, :after_id)
  AND (:user_id IS NULL OR user_id = :user_id)
ORDER BY expires_at, memory_id LIMIT :limit;

-- name: disused
-- Current memories that were neither obtained nor used since, oldest first. The `+` keeps SQLite
-- from sorting all memories of a user instead.
SELECT user_id, memory_id, obtained_at AS at FROM memory
WHERE org_id = :org_id
  AND superseded_at IS NULL
  AND archived = 0
  AND obtained_at <= :unused_since
  AND (obtained_at, memory_id) > (:after_time, :after_id)
  AND (last_accessed_at IS NULL OR last_accessed_at <= :unused_since)
  AND pinned = 0
  AND (expires_at IS NULL OR expires_at > :now)
  AND (:user_id IS NULL OR +user_id = :user_id)
ORDER BY obtained_at, memory_id LIMIT :limit;

-- name: still_disused
SELECT memory_id FROM memory
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids))
  AND superseded_at IS NULL
  AND archived = 0
  AND pinned = 0
  AND obtained_at <= :unused_since
  AND (last_accessed_at IS NULL OR last_accessed_at <= :unused_since);

-- name: archive
UPDATE main.memory SET archived = 1
WHERE org_id = :org_id
  AND +user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids));

-- name: counts
-- One row per type: how many versions, by what they are at :now.
SELECT
  memory_type,
  count(*) FILTER (WHERE alive AND superseded_at IS NULL AND archived = 0) AS current,
  count(*) FILTER (WHERE alive AND superseded_at IS NULL AND archived = 1) AS archived,
  count(*) FILTER (WHERE NOT alive) AS expired,
  count(*) FILTER (WHERE alive AND superseded_at IS NOT NULL) AS past,
  count(*) FILTER (
    WHERE alive AND superseded_at IS NULL AND archived = 0 AND pinned = 1
  ) AS pinned,
  count(*) FILTER (
    WHERE alive AND superseded_at IS NULL AND archived = 0 AND access_count = 0
  ) AS unused
FROM (
  SELECT *, expires_at IS NULL OR expires_at > :now AS alive FROM memory
  WHERE org_id = :org_id AND (:user_id IS NULL OR user_id = :user_id)
)
GROUP BY memory_type
ORDER BY memory_type;

-- name: ages
-- Of the current memories: their span, and how many were obtained after each of these times.
SELECT
  min(obtained_at) AS oldest,
  max(obtained_at) AS newest,
  count(*) FILTER (WHERE obtained_at > :bound_0) AS younger_0,
  count(*) FILTER (WHERE obtained_at > :bound_1) AS younger_1,
  count(*) FILTER (WHERE obtained_at > :bound_2) AS younger_2,
  count(*) FILTER (WHERE obtained_at > :bound_3) AS younger_3,
  count(*) AS total
FROM memory
WHERE org_id = :org_id
  AND (:user_id IS NULL OR user_id = :user_id)
  AND superseded_at IS NULL
  AND archived = 0
  AND (expires_at IS NULL OR expires_at > :now);

-- name: lag
-- Vector work of this owner.
SELECT
  count(*) FILTER (WHERE dead = 0) AS pending,
  count(*) FILTER (WHERE dead = 1) AS dead,
  min(enqueued_at) FILTER (WHERE dead = 0) AS oldest
FROM outbox
WHERE org_id = :org_id AND (:user_id IS NULL OR user_id = :user_id);
