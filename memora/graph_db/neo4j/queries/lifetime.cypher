// name: count_accesses
// Usage is no version: nothing but these two properties changes.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $accesses AS access
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: access.memory_id})
SET m.access_count = m.access_count + access.count,
  m.last_accessed_at = CASE
    WHEN m.last_accessed_at IS NULL OR m.last_accessed_at < access.at THEN access.at
    ELSE m.last_accessed_at
  END

// name: find_expired
// In the order of their end, after ($at, $id); history included. The index holds only those that
// have an end. Here and below $user_id null means the whole organization.
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, expires_at, memory_id)
WHERE m.org_id = $org_id AND m.expires_at >= $at AND m.expires_at <= $now
  AND m.memory_id IS NOT NULL
  AND CASE WHEN m.expires_at = $at THEN m.memory_id > $id ELSE true END
  AND ($user_id IS NULL OR m.user_id = $user_id)
RETURN m.user_id AS user_id, m.memory_id AS memory_id, m.expires_at AS at
ORDER BY m.org_id, m.expires_at, m.memory_id
LIMIT $limit

// name: find_disused
// Current memories that were neither obtained nor used since, oldest first.
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, obtained_at, memory_id)
WHERE m.org_id = $org_id AND m.obtained_at >= $at AND m.obtained_at <= $unused_since
  AND m.memory_id IS NOT NULL
  AND CASE WHEN m.obtained_at = $at THEN m.memory_id > $id ELSE true END
  AND m.head_of IS NOT NULL AND NOT m.archived AND NOT m.pinned
  AND (m.expires_at IS NULL OR m.expires_at > $now)
  AND (m.last_accessed_at IS NULL OR m.last_accessed_at <= $unused_since)
  AND ($user_id IS NULL OR m.user_id = $user_id)
RETURN m.user_id AS user_id, m.memory_id AS memory_id, m.obtained_at AS at
ORDER BY m.org_id, m.obtained_at, m.memory_id
LIMIT $limit

// name: archive_memories
// Under the user's lock: what was used or superseded since it was found stays.
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
WHERE m.head_of IS NOT NULL AND NOT m.archived AND NOT m.pinned
  AND m.obtained_at <= $unused_since
  AND (m.last_accessed_at IS NULL OR m.last_accessed_at <= $unused_since)
SET m.archived = true
RETURN m.memory_id AS memory_id

// name: count_memories
// Of a user: how many versions of each type, by what they are at $now, and its vector work.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
RETURN
  COLLECT {
    MATCH (m:Memory)
    USING INDEX SEEK m:Memory(org_id, user_id, memory_id)
    WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.memory_id IS NOT NULL
    WITH m, m.expires_at IS NULL OR m.expires_at > $now AS alive
    WITH m, alive, alive AND m.head_of IS NOT NULL AND NOT m.archived AS current
    WITH m.memory_type AS memory_type,
      count(CASE WHEN current THEN 1 END) AS current_count,
      count(CASE WHEN alive AND m.head_of IS NOT NULL AND m.archived THEN 1 END) AS archived,
      count(CASE WHEN NOT alive THEN 1 END) AS expired,
      count(CASE WHEN alive AND m.head_of IS NULL THEN 1 END) AS past,
      count(CASE WHEN current AND m.pinned THEN 1 END) AS pinned,
      count(CASE WHEN current AND m.access_count = 0 THEN 1 END) AS unused,
      min(CASE WHEN current THEN m.obtained_at END) AS oldest,
      max(CASE WHEN current THEN m.obtained_at END) AS newest,
      [
        count(CASE WHEN current AND m.obtained_at > $bounds[0] THEN 1 END),
        count(CASE WHEN current AND m.obtained_at > $bounds[1] THEN 1 END),
        count(CASE WHEN current AND m.obtained_at > $bounds[2] THEN 1 END),
        count(CASE WHEN current AND m.obtained_at > $bounds[3] THEN 1 END)
      ] AS younger
    ORDER BY memory_type
    RETURN {memory_type: memory_type, current: current_count, archived: archived,
      expired: expired, past: past, pinned: pinned, unused: unused, oldest: oldest,
      newest: newest, younger: younger}
  } AS types,
  COLLECT {
    MATCH (e:OutboxEntry)
    USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
    WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.op IS NOT NULL AND e.seq IS NOT NULL
    RETURN {pending: count(CASE WHEN e.dead THEN null ELSE 1 END),
      dead: count(CASE WHEN e.dead THEN 1 END),
      oldest: min(CASE WHEN e.dead THEN null ELSE e.enqueued_at END)}
  } AS lags

// name: count_organization
// The same of all users of an organization.
RETURN
  COLLECT {
    MATCH (m:Memory)
    USING INDEX SEEK m:Memory(org_id, obtained_at, memory_id)
    WHERE m.org_id = $org_id AND m.obtained_at IS NOT NULL AND m.memory_id IS NOT NULL
      AND EXISTS {
        MATCH (u:User {org_id: $org_id, user_id: m.user_id}) WHERE u.erasing IS NULL
      }
    WITH m, m.expires_at IS NULL OR m.expires_at > $now AS alive
    WITH m, alive, alive AND m.head_of IS NOT NULL AND NOT m.archived AS current
    WITH m.memory_type AS memory_type,
      count(CASE WHEN current THEN 1 END) AS current_count,
      count(CASE WHEN alive AND m.head_of IS NOT NULL AND m.archived THEN 1 END) AS archived,
      count(CASE WHEN NOT alive THEN 1 END) AS expired,
      count(CASE WHEN alive AND m.head_of IS NULL THEN 1 END) AS past,
      count(CASE WHEN current AND m.pinned THEN 1 END) AS pinned,
      count(CASE WHEN current AND m.access_count = 0 THEN 1 END) AS unused,
      min(CASE WHEN current THEN m.obtained_at END) AS oldest,
      max(CASE WHEN current THEN m.obtained_at END) AS newest,
      [
        count(CASE WHEN current AND m.obtained_at > $bounds[0] THEN 1 END),
        count(CASE WHEN current AND m.obtained_at > $bounds[1] THEN 1 END),
        count(CASE WHEN current AND m.obtained_at > $bounds[2] THEN 1 END),
        count(CASE WHEN current AND m.obtained_at > $bounds[3] THEN 1 END)
      ] AS younger
    ORDER BY memory_type
    RETURN {memory_type: memory_type, current: current_count, archived: archived,
      expired: expired, past: past, pinned: pinned, unused: unused, oldest: oldest,
      newest: newest, younger: younger}
  } AS types,
  COLLECT {
    MATCH (e:OutboxEntry)
    USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
    WHERE e.org_id = $org_id AND e.user_id IS NOT NULL AND e.op IS NOT NULL AND e.seq IS NOT NULL
    RETURN {pending: count(CASE WHEN e.dead THEN null ELSE 1 END),
      dead: count(CASE WHEN e.dead THEN 1 END),
      oldest: min(CASE WHEN e.dead THEN null ELSE e.enqueued_at END)}
  } AS lags
