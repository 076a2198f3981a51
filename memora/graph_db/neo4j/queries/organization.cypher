// name: put_organization
// Inserts, or returns what is there; the constraint makes the MERGE safe (B31).
MERGE (o:Organization {org_id: $org_id})
ON CREATE SET o.org_name = $org_name, o.created_at = $created_at
RETURN o {.*} AS organization

// name: find_organization
MATCH (o:Organization {org_id: $org_id})
WHERE o.erasing IS NULL
RETURN o {.*} AS organization

// name: rename_organization
MATCH (o:Organization {org_id: $org_id})
WHERE o.erasing IS NULL
SET o.org_name = $org_name
RETURN o {.*} AS organization

// name: list_organizations
// Administration: all organizations, a page by index.
MATCH (o:Organization)
USING INDEX o:Organization(created_at, org_id)
WHERE o.created_at IS NOT NULL AND o.org_id IS NOT NULL AND o.erasing IS NULL
RETURN o {.*} AS organization
ORDER BY o.created_at, o.org_id
SKIP $skip LIMIT $limit

// name: mark_organization
// From here on no user or agent can be added (put_user and put_agent look under this lock).
MATCH (o:Organization {org_id: $org_id})
SET o.erasing = true
RETURN o.org_id AS org_id

// name: mark_users
// Refuses new writes of all users; waits for those under way, which hold the user's lock.
MATCH (u:User)
USING INDEX SEEK u:User(org_id, user_id)
WHERE u.org_id = $org_id AND u.user_id IS NOT NULL AND u.erasing IS NULL
WITH u LIMIT $batch
SET u.erasing = true
RETURN count(*) AS marked

// name: erase_memories
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, user_id, memory_id)
WHERE m.org_id = $org_id AND m.user_id IS NOT NULL AND m.memory_id IS NOT NULL
WITH m LIMIT $batch
DETACH DELETE m
RETURN count(*) AS deleted

// name: erase_entities
MATCH (e:Entity)
USING INDEX SEEK e:Entity(org_id, user_id, name_id)
WHERE e.org_id = $org_id AND e.user_id IS NOT NULL AND e.name_id IS NOT NULL
WITH e LIMIT $batch
DETACH DELETE e
RETURN count(*) AS deleted

// name: erase_messages
MATCH (s:Message)
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.org_id = $org_id AND s.user_id IS NOT NULL AND s.interaction_id IS NOT NULL
  AND s.position IS NOT NULL
WITH s LIMIT $batch
DETACH DELETE s
RETURN count(*) AS deleted

// name: erase_interactions
MATCH (i:Interaction)
USING INDEX SEEK i:Interaction(org_id, user_id, interaction_id)
WHERE i.org_id = $org_id AND i.user_id IS NOT NULL AND i.interaction_id IS NOT NULL
WITH i LIMIT $batch
CALL (i) {
  MATCH (part:ImportChange {
    org_id: $org_id, user_id: i.user_id, interaction_id: i.interaction_id
  })
  USING INDEX SEEK part:ImportChange(org_id, user_id, interaction_id)
  DELETE part
}
DETACH DELETE i
RETURN count(*) AS deleted

// name: erase_jobs
MATCH (j:Job)
USING INDEX SEEK j:Job(org_id, job_id)
WHERE j.org_id = $org_id AND j.job_id IS NOT NULL
WITH j LIMIT $batch
DETACH DELETE j
RETURN count(*) AS deleted

// name: erase_keys
MATCH (k:IdempotencyKey)
USING INDEX SEEK k:IdempotencyKey(org_id, user_id, key)
WHERE k.org_id = $org_id AND k.user_id IS NOT NULL AND k.key IS NOT NULL
WITH k LIMIT $batch
DETACH DELETE k
RETURN count(*) AS deleted

// name: erase_tombstones
MATCH (t:Tombstone)
USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
WHERE t.org_id = $org_id AND t.user_id IS NOT NULL AND t.mark IS NOT NULL
WITH t LIMIT $batch
DETACH DELETE t
RETURN count(*) AS deleted

// name: erase_imports
MATCH (run:Import)
USING INDEX SEEK run:Import(org_id, import_id)
WHERE run.org_id = $org_id AND run.import_id IS NOT NULL
WITH run LIMIT $batch
DETACH DELETE run
RETURN count(*) AS deleted

// name: erase_agents
MATCH (a:Agent)
USING INDEX SEEK a:Agent(org_id, agent_id)
WHERE a.org_id = $org_id AND a.agent_id IS NOT NULL
WITH a LIMIT $batch
DETACH DELETE a
RETURN count(*) AS deleted

// name: erase_users
MATCH (u:User)
USING INDEX SEEK u:User(org_id, user_id)
WHERE u.org_id = $org_id AND u.user_id IS NOT NULL
WITH u LIMIT $batch
DETACH DELETE u
RETURN count(*) AS deleted

// name: erase_outbox
// Under the lock of all claims, so that nobody leases what goes. What a worker has leased stays
// until it is done, and the drop waits for it: nothing is written after the drop.
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
WHERE e.org_id = $org_id AND e.user_id IS NOT NULL AND e.op IS NOT NULL AND e.seq IS NOT NULL
  AND (e.lease_until IS NULL OR e.lease_until <= $now)
WITH e LIMIT $batch
DELETE e
RETURN count(*) AS deleted

// name: erase_organization
// The organization itself, last; no row: somebody else finished it.
MATCH (o:Organization {org_id: $org_id})
DETACH DELETE o
RETURN count(*) AS deleted
