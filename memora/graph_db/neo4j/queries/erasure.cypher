// name: user_exists
// Also one whose erasure was interrupted.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
RETURN u.user_id AS user_id

// name: organization_exists
MATCH (o:Organization {org_id: $org_id})
RETURN o.org_id AS org_id

// name: drop_outbox_of_user
// All that nobody has leased; under the lock of all claims.
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.op IS NOT NULL AND e.seq IS NOT NULL
  AND (e.lease_until IS NULL OR e.lease_until <= $now)
DELETE e

// name: drop_outbox_of_organization
MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
WHERE e.org_id = $org_id AND e.user_id IS NOT NULL AND e.op IS NOT NULL AND e.seq IS NOT NULL
  AND (e.lease_until IS NULL OR e.lease_until <= $now)
DELETE e

// name: count_user
// One label after the other, each by index.
RETURN
  COUNT {
    MATCH (i:Interaction)
    USING INDEX SEEK i:Interaction(org_id, user_id, interaction_id)
    WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.interaction_id IS NOT NULL
  } AS interactions,
  COUNT {
    MATCH (s:Message)
    USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
    WHERE s.org_id = $org_id AND s.user_id = $user_id AND s.interaction_id IS NOT NULL
      AND s.position IS NOT NULL
  } AS messages,
  COUNT {
    MATCH (m:Memory)
    USING INDEX SEEK m:Memory(org_id, user_id, memory_id)
    WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.memory_id IS NOT NULL
  } AS memories,
  COUNT {
    MATCH (a:Agent)
    USING INDEX SEEK a:Agent(org_id, user_id, created_at, agent_id)
    WHERE a.org_id = $org_id AND a.user_id = $user_id AND a.created_at IS NOT NULL
      AND a.agent_id IS NOT NULL
  } AS agents,
  COUNT { MATCH (:User {org_id: $org_id, user_id: $user_id}) } AS users,
  COUNT {
    MATCH (j:Job)
    USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
    WHERE j.org_id = $org_id AND j.user_id = $user_id AND j.interaction_id IS NOT NULL
  } AS jobs,
  COUNT {
    MATCH (k:IdempotencyKey)
    USING INDEX SEEK k:IdempotencyKey(org_id, user_id, key)
    WHERE k.org_id = $org_id AND k.user_id = $user_id AND k.key IS NOT NULL
  } AS idempotency_keys,
  COUNT {
    MATCH (t:Tombstone)
    USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
    WHERE t.org_id = $org_id AND t.user_id = $user_id AND t.mark IS NOT NULL
  } AS tombstones,
  COUNT {
    MATCH (run:Import)
    USING INDEX SEEK run:Import(org_id, user_id, started_at, import_id)
    WHERE run.org_id = $org_id AND run.user_id = $user_id AND run.started_at IS NOT NULL
      AND run.import_id IS NOT NULL
  } AS imports,
  COUNT {
    MATCH (e:OutboxEntry)
    USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
    WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.op IS NOT NULL AND e.seq IS NOT NULL
  } AS outbox_entries,
  COUNT {
    MATCH (n:Entity)
    USING INDEX SEEK n:Entity(org_id, user_id, name_id)
    WHERE n.org_id = $org_id AND n.user_id = $user_id AND n.name_id IS NOT NULL
  } AS entities

// name: count_organization
RETURN
  COUNT {
    MATCH (i:Interaction)
    USING INDEX SEEK i:Interaction(org_id, user_id, interaction_id)
    WHERE i.org_id = $org_id AND i.user_id IS NOT NULL AND i.interaction_id IS NOT NULL
  } AS interactions,
  COUNT {
    MATCH (s:Message)
    USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
    WHERE s.org_id = $org_id AND s.user_id IS NOT NULL AND s.interaction_id IS NOT NULL
      AND s.position IS NOT NULL
  } AS messages,
  COUNT {
    MATCH (m:Memory)
    USING INDEX SEEK m:Memory(org_id, user_id, memory_id)
    WHERE m.org_id = $org_id AND m.user_id IS NOT NULL AND m.memory_id IS NOT NULL
  } AS memories,
  COUNT {
    MATCH (a:Agent)
    USING INDEX SEEK a:Agent(org_id, agent_id)
    WHERE a.org_id = $org_id AND a.agent_id IS NOT NULL
  } AS agents,
  COUNT {
    MATCH (u:User)
    USING INDEX SEEK u:User(org_id, user_id)
    WHERE u.org_id = $org_id AND u.user_id IS NOT NULL
  } AS users,
  COUNT {
    MATCH (j:Job)
    USING INDEX SEEK j:Job(org_id, job_id)
    WHERE j.org_id = $org_id AND j.job_id IS NOT NULL
  } AS jobs,
  COUNT {
    MATCH (k:IdempotencyKey)
    USING INDEX SEEK k:IdempotencyKey(org_id, user_id, key)
    WHERE k.org_id = $org_id AND k.user_id IS NOT NULL AND k.key IS NOT NULL
  } AS idempotency_keys,
  COUNT {
    MATCH (t:Tombstone)
    USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
    WHERE t.org_id = $org_id AND t.user_id IS NOT NULL AND t.mark IS NOT NULL
  } AS tombstones,
  COUNT {
    MATCH (e:OutboxEntry)
    USING INDEX SEEK e:OutboxEntry(org_id, user_id, op, seq)
    WHERE e.org_id = $org_id AND e.user_id IS NOT NULL AND e.op IS NOT NULL AND e.seq IS NOT NULL
  } AS outbox_entries,
  COUNT {
    MATCH (run:Import)
    USING INDEX SEEK run:Import(org_id, import_id)
    WHERE run.org_id = $org_id AND run.import_id IS NOT NULL
  } AS imports,
  COUNT { MATCH (:Organization {org_id: $org_id}) } AS organizations,
  COUNT {
    MATCH (n:Entity)
    USING INDEX SEEK n:Entity(org_id, user_id, name_id)
    WHERE n.org_id = $org_id AND n.user_id IS NOT NULL AND n.name_id IS NOT NULL
  } AS entities
