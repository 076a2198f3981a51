// name: lock_organization
// Adding to an organization waits for an erasure of it under way; `erasing` is read under the lock.
// Any write takes the node's lock, and a constant is the one to use: to count up, the server would
// lock the node's relationships as well, and before the node, which deadlocks with adding some.
MATCH (o:Organization {org_id: $org_id})
SET o.lock = true
RETURN o.erasing IS NOT NULL AS erasing

// name: lock_user
// Every write of a user's data starts here: it serialises them, and none starts after an erasure.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
SET u.lock = true
RETURN u.erasing IS NOT NULL AS erasing, u.salt AS salt

// name: put_user
// Inserts, or returns what is there.
MATCH (o:Organization {org_id: $org_id})
MERGE (u:User {org_id: $org_id, user_id: $user_id})
ON CREATE SET u.user_name = $user_name, u.created_at = $created_at, u.salt = $salt
MERGE (o)-[:HAS_USER]->(u)
RETURN u {.*} AS user

// name: find_user
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
RETURN u {.*} AS user

// name: rename_user
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
SET u.user_name = $user_name
RETURN u {.*} AS user

// name: list_users
MATCH (u:User)
USING INDEX SEEK u:User(org_id, created_at, user_id)
WHERE u.org_id = $org_id AND u.created_at IS NOT NULL AND u.user_id IS NOT NULL
  AND u.erasing IS NULL
RETURN u {.*} AS user
ORDER BY u.org_id, u.created_at, u.user_id
SKIP $skip LIMIT $limit

// name: read_names
// Names of users and labels of agents; a deleted agent keeps its label for what it wrote (B47).
RETURN
  COLLECT {
    UNWIND $user_ids AS id
    MATCH (u:User {org_id: $org_id, user_id: id})
    RETURN [u.user_id, u.user_name]
  } AS users,
  COLLECT {
    UNWIND $agent_ids AS id
    MATCH (a:Agent {org_id: $org_id, agent_id: id})
    RETURN [a.agent_id, a.agent_label]
  } AS agents

// name: mark_user
// From here on the user answers like a missing one, and no write of it starts.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
SET u.erasing = true
RETURN u.user_id AS user_id

// name: erase_memories
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, user_id, memory_id)
WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.memory_id IS NOT NULL
WITH m LIMIT $batch
DETACH DELETE m
RETURN count(*) AS deleted

// name: erase_entities
MATCH (e:Entity)
USING INDEX SEEK e:Entity(org_id, user_id, name_id)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.name_id IS NOT NULL
WITH e LIMIT $batch
DETACH DELETE e
RETURN count(*) AS deleted

// name: erase_messages
MATCH (s:Message)
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.org_id = $org_id AND s.user_id = $user_id AND s.interaction_id IS NOT NULL
  AND s.position IS NOT NULL
WITH s LIMIT $batch
DETACH DELETE s
RETURN count(*) AS deleted

// name: erase_interactions
// B84: by index, not over messages: an interaction without messages goes too.
MATCH (i:Interaction)
USING INDEX SEEK i:Interaction(org_id, user_id, interaction_id)
WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.interaction_id IS NOT NULL
WITH i LIMIT $batch
CALL (i) {
  MATCH (part:ImportChange {
    org_id: $org_id, user_id: $user_id, interaction_id: i.interaction_id
  })
  USING INDEX SEEK part:ImportChange(org_id, user_id, interaction_id)
  DELETE part
}
DETACH DELETE i
RETURN count(*) AS deleted

// name: erase_jobs
MATCH (j:Job)
USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
WHERE j.org_id = $org_id AND j.user_id = $user_id AND j.interaction_id IS NOT NULL
WITH j LIMIT $batch
DETACH DELETE j
RETURN count(*) AS deleted

// name: erase_keys
MATCH (k:IdempotencyKey)
USING INDEX SEEK k:IdempotencyKey(org_id, user_id, key)
WHERE k.org_id = $org_id AND k.user_id = $user_id AND k.key IS NOT NULL
WITH k LIMIT $batch
DETACH DELETE k
RETURN count(*) AS deleted

// name: erase_tombstones
MATCH (t:Tombstone)
USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
WHERE t.org_id = $org_id AND t.user_id = $user_id AND t.mark IS NOT NULL
WITH t LIMIT $batch
DETACH DELETE t
RETURN count(*) AS deleted

// name: erase_imports
MATCH (run:Import)
USING INDEX SEEK run:Import(org_id, user_id, started_at, import_id)
WHERE run.org_id = $org_id AND run.user_id = $user_id AND run.started_at IS NOT NULL
  AND run.import_id IS NOT NULL
WITH run LIMIT $batch
DETACH DELETE run
RETURN count(*) AS deleted

// name: erase_agents
// B85: personal agents go with their user.
MATCH (a:Agent)
USING INDEX SEEK a:Agent(org_id, user_id, created_at, agent_id)
WHERE a.org_id = $org_id AND a.user_id = $user_id AND a.created_at IS NOT NULL
  AND a.agent_id IS NOT NULL
WITH a LIMIT $batch
DETACH DELETE a
RETURN count(*) AS deleted

// name: erase_outbox
// Under the lock of all claims, so that nobody leases what goes. What a worker has leased stays
// until it is done, and the drop waits for it: nothing is written after the drop.
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.op IS NOT NULL AND e.seq IS NOT NULL
  AND (e.lease_until IS NULL OR e.lease_until <= $now)
WITH e LIMIT $batch
DELETE e
RETURN count(*) AS deleted

// name: erase_user
// The user itself, last; no deletion: somebody else finished it.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
DETACH DELETE u
RETURN count(*) AS deleted
