// name: enqueue
// The last statement of its transaction: the counter is locked from here to the commit, which
// makes `seq` the order of commit, over all users.
MATCH (counter:Meta {name: 'outbox'})
SET counter.seq = counter.seq + 1
CREATE (e:OutboxEntry {
  seq: counter.seq, op: $op, org_id: $org_id, user_id: $user_id, memory_ids: $memory_ids,
  attempts: 0, enqueued_at: $now, not_before: $now, dead: false
})
RETURN e.seq AS seq

// name: lock_claims
// Whoever leases, releases or deletes entries does it under this lock, in turn.
MATCH (claims:Meta {name: 'outbox_claims'})
SET claims.lock = true
RETURN claims.name AS name

// name: claim
// Administration: entries of all tenants, in order, by index. What blocks an entry is looked up
// by its owner: a lease of an earlier one, or an earlier drop in any state. What lies behind
// $pause_end or $lease_end is of a clock that has been set back since.
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(seq)
WHERE e.seq > 0 AND NOT e.dead AND (e.not_before <= $now OR e.not_before > $pause_end)
  AND (e.lease_until IS NULL OR e.lease_until <= $now OR e.lease_until > $lease_end)
WITH e ORDER BY e.seq
WHERE NOT EXISTS {
    MATCH (leased:OutboxEntry)
    USING INDEX SEEK leased:OutboxEntry(org_id, lease_until)
    WHERE leased.org_id = e.org_id AND $now < leased.lease_until <= $lease_end
      AND leased.seq < e.seq
      AND (leased.user_id = e.user_id OR e.op = 'drop_organization')
  }
  AND NOT EXISTS {
    MATCH (drop:OutboxEntry)
    USING INDEX SEEK drop:OutboxEntry(org_id, user_id, op, seq)
    WHERE drop.org_id = e.org_id AND drop.user_id = e.user_id AND drop.op = 'drop_user'
      AND drop.seq < e.seq
  }
  AND NOT EXISTS {
    MATCH (drop:OutboxEntry)
    USING INDEX SEEK drop:OutboxEntry(org_id, user_id, op, seq)
    WHERE drop.org_id = e.org_id AND drop.user_id = '' AND drop.op = 'drop_organization'
      AND drop.seq < e.seq
  }
WITH e LIMIT $limit
SET e.lease = $lease, e.lease_until = $lease_until
WITH e ORDER BY e.seq
RETURN e {.*} AS entry

// name: ack
// Deletes entries whose lease is still the given one.
UNWIND $entries AS done
MATCH (e:OutboxEntry {seq: done.seq})
WHERE e.lease = done.lease
WITH e, done.seq AS seq
DELETE e
RETURN seq

// name: fail
UNWIND $entries AS failed
MATCH (e:OutboxEntry {seq: failed.seq})
WHERE e.lease = failed.lease
SET e.attempts = e.attempts + 1, e.error = $error, e.not_before = $not_before, e.dead = $dead,
  e.lease = null, e.lease_until = null

// name: retry
// What waits for a later time, and what was given up, becomes due; the latter with all its tries.
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(seq)
WHERE e.seq > 0
  AND (e.dead OR (e.not_before > $now AND (e.lease_until IS NULL OR e.lease_until <= $now)))
SET e.not_before = $now, e.attempts = CASE WHEN e.dead THEN 0 ELSE e.attempts END, e.dead = false
RETURN count(*) AS entries

// name: list
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(seq)
WHERE e.seq > $after
RETURN e {.*} AS entry
ORDER BY e.seq
LIMIT $limit

// name: status
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(seq)
WHERE e.seq > 0
RETURN count(CASE WHEN e.dead THEN null ELSE 1 END) AS pending,
  count(CASE WHEN e.dead THEN 1 END) AS dead,
  min(CASE WHEN e.dead THEN null ELSE e.enqueued_at END) AS oldest
