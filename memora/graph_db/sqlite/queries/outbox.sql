-- name: enqueue
INSERT INTO main.outbox (op, org_id, user_id, memory_ids, enqueued_at, not_before)
VALUES (:op, :org_id, :user_id, :memory_ids, :now, :now);

-- name: claim
-- Leases what is due, and `claimed` reads it; what lies behind :pause_end or :lease_end is of a
-- clock that has been set back since. `drop_organization` has the empty user, so "the same user or
-- the empty one" finds every drop that an entry has to wait for.
UPDATE main.outbox SET lease = :lease, lease_until = :lease_until
WHERE seq IN (
  SELECT entry.seq FROM outbox AS entry
  WHERE entry.dead = 0
    AND (entry.not_before <= :now OR entry.not_before > :pause_end)
    AND (entry.lease IS NULL OR entry.lease_until <= :now OR entry.lease_until > :lease_end)
    AND NOT EXISTS (
      SELECT 1 FROM outbox AS leased
      WHERE leased.org_id = entry.org_id
        AND leased.user_id = entry.user_id
        AND leased.seq < entry.seq
        AND leased.lease IS NOT NULL
        AND leased.lease_until > :now
        AND leased.lease_until <= :lease_end
    )
    AND (
      entry.op <> 'drop_organization'
      OR NOT EXISTS (
        SELECT 1 FROM outbox AS leased
        WHERE leased.org_id = entry.org_id
          AND leased.seq < entry.seq
          AND leased.lease IS NOT NULL
          AND leased.lease_until > :now
          AND leased.lease_until <= :lease_end
      )
    )
    AND NOT EXISTS (
      SELECT 1 FROM outbox AS earlier
      WHERE earlier.org_id = entry.org_id
        AND earlier.user_id IN (entry.user_id, '')
        AND earlier.op <> 'sync'
        AND earlier.seq < entry.seq
    )
  ORDER BY entry.seq LIMIT :limit
)
RETURNING seq;

-- name: claimed
SELECT outbox.* FROM json_each(:seqs) AS wanted CROSS JOIN outbox ON outbox.seq = wanted.value
ORDER BY outbox.seq;

-- name: ack
DELETE FROM main.outbox WHERE seq = :seq AND lease = :lease;

-- name: fail
UPDATE main.outbox
SET attempts = attempts + 1, error = :error, not_before = :not_before, dead = :dead,
  lease = NULL, lease_until = NULL
WHERE seq = :seq AND lease = :lease;

-- name: retry
-- Gives dead entries all their tries again.
UPDATE main.outbox SET not_before = :now, attempts = CASE WHEN dead THEN 0 ELSE attempts END, dead = 0
WHERE dead = 1 OR (not_before > :now AND (lease IS NULL OR lease_until <= :now));

-- name: page
SELECT * FROM outbox WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: status
SELECT
  count(*) FILTER (WHERE dead = 0) AS pending,
  count(*) FILTER (WHERE dead = 1) AS dead,
  min(enqueued_at) FILTER (WHERE dead = 0) AS oldest
FROM outbox;

-- name: release_all
UPDATE main.outbox SET lease = NULL, lease_until = NULL WHERE lease IS NOT NULL;
