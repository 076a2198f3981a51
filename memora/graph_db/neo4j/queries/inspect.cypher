// name: positions
// Administration, like all queries of this file: they read everything. I2: an interaction has
// exactly the positions that it counts, from 0. Every row says whose record it is, and whether it
// keeps records from being read. Times come as parameters: the calendar's $first and $last, $ahead,
// after which no store time lies, and $wait, after which nobody leases or waits.
MATCH (i:Interaction)
CALL (i) {
  MATCH (s:Message {org_id: i.org_id, user_id: i.user_id, interaction_id: i.interaction_id})
  WHERE s.position IS NOT NULL
  RETURN count(s) AS found, min(s.position) AS first, max(s.position) AS last
}
WITH i, found, first, last
WHERE found <> i.message_count OR (found > 0 AND (first <> 0 OR last <> found - 1))
RETURN 'I2' AS invariant, 'damaged_transcript' AS kind, i.org_id AS org_id, i.user_id AS user_id,
  i.interaction_id AS record_id, 'positions are not 0 to message_count - 1' AS detail,
  false AS blocks

// name: tails
// I2: the interaction's hash is its last message's.
MATCH (i:Interaction)
OPTIONAL MATCH (s:Message {
  org_id: i.org_id, user_id: i.user_id, interaction_id: i.interaction_id,
  position: i.message_count - 1
})
WITH i, s
WHERE i.content_hash <> coalesce(s.prefix_hash, '')
RETURN DISTINCT 'I2' AS invariant, 'damaged_transcript' AS kind, i.org_id AS org_id,
  i.user_id AS user_id, i.interaction_id AS record_id,
  'content_hash is not of the last message' AS detail, false AS blocks

// name: stray_messages
// I2
MATCH (s:Message)
WHERE NOT EXISTS {
  MATCH (:Interaction {org_id: s.org_id, user_id: s.user_id, interaction_id: s.interaction_id})
}
RETURN DISTINCT 'I2' AS invariant, 'missing_owner' AS kind, s.org_id AS org_id,
  s.user_id AS user_id, s.interaction_id AS record_id,
  'messages without their interaction' AS detail, false AS blocks

// name: owners
// I3
MATCH (m:Memory|Interaction)
WITH m,
  EXISTS { MATCH (:User {org_id: m.org_id, user_id: m.user_id}) } AS has_user,
  m.interaction_id IS NULL OR m:Interaction OR EXISTS {
    MATCH (:Interaction {org_id: m.org_id, user_id: m.user_id, interaction_id: m.interaction_id})
  } AS has_interaction
WHERE NOT has_user OR NOT has_interaction
RETURN 'I3' AS invariant, 'missing_owner' AS kind, m.org_id AS org_id, m.user_id AS user_id,
  coalesce(m.memory_id, m.interaction_id) AS record_id, CASE
  WHEN NOT has_user THEN 'its user does not exist'
  ELSE 'its interaction does not exist' END AS detail, false AS blocks

// name: missing_agents
// I3: agents that memories, interactions or jobs name, each once.
MATCH (n:Memory|Interaction|Job)
WHERE n.agent_id IS NOT NULL
WITH DISTINCT n.org_id AS org_id, n.agent_id AS agent_id
WHERE NOT EXISTS { MATCH (:Agent {org_id: org_id, agent_id: agent_id}) }
RETURN 'I3' AS invariant, 'dangling_agent' AS kind, org_id, null AS user_id, agent_id AS record_id,
  'records name an agent that does not exist' AS detail, false AS blocks

// name: missing_keys
// I3: uniqueness does not require presence, so an incomplete key is found here.
MATCH (n:Organization|User|Agent|Interaction|Message|Memory|Entity|Job|IdempotencyKey|Tombstone)
WHERE n.org_id IS NULL
  OR (n.user_id IS NULL AND NOT n:Organization AND NOT n:Agent)
  OR (n:Agent AND n.agent_id IS NULL)
  OR ((n:Interaction OR n:Message OR n:Job) AND n.interaction_id IS NULL)
  OR (n:Message AND (n.position IS NULL OR n.prefix_hash IS NULL))
  OR (n:Memory AND (n.memory_id IS NULL OR n.chain_id IS NULL OR n.text IS NULL))
  OR (n:Job AND n.job_id IS NULL)
  OR (n:IdempotencyKey AND n.key IS NULL)
  OR (n:Tombstone AND n.mark IS NULL)
  OR (n:Entity AND (n.name_id IS NULL OR n.entity_id IS NULL OR n.name IS NULL))
RETURN 'I3' AS invariant, 'incomplete_record' AS kind, n.org_id AS org_id, n.user_id AS user_id,
  coalesce(n.memory_id, n.name_id, n.job_id, n.interaction_id, n.agent_id, n.user_id, n.org_id,
  'unknown') AS record_id, labels(n)[0] + ' without a part of its key' AS detail,
  n:Organization OR n:User OR n:Memory AS blocks

// name: successors
// I4: a successor exists, is of the same chain and tenant, and the relationship says the same.
MATCH (m:Memory)
WHERE m.successor_id IS NOT NULL
OPTIONAL MATCH (next:Memory {org_id: m.org_id, user_id: m.user_id, memory_id: m.successor_id})
WITH m, next, COLLECT { MATCH (m)-[:SUPERSEDED_BY]->(n:Memory) RETURN n.memory_id } AS related
WHERE next IS NULL OR next.chain_id <> m.chain_id OR related <> [m.successor_id]
  OR m.superseded_at > next.obtained_at
RETURN DISTINCT 'I4' AS invariant, CASE
  WHEN next IS NULL OR next.chain_id <> m.chain_id THEN 'gap'
  ELSE 'damaged_chain' END AS kind, m.org_id AS org_id, m.user_id AS user_id,
  m.memory_id AS record_id, CASE
  WHEN next IS NULL THEN 'its successor does not exist'
  WHEN next.chain_id <> m.chain_id THEN 'its successor is of another chain'
  WHEN related <> [m.successor_id] THEN 'relationship and successor differ'
  ELSE 'it was still current when its successor began' END AS detail, false AS blocks

// name: stray_successors
// I4
MATCH (m:Memory)-[:SUPERSEDED_BY]->(next:Memory)
WHERE m.successor_id IS NULL OR next.org_id <> m.org_id OR next.user_id <> m.user_id
RETURN 'I4' AS invariant, 'damaged_chain' AS kind, m.org_id AS org_id, m.user_id AS user_id,
  m.memory_id AS record_id, 'a successor that it does not name' AS detail, false AS blocks

// name: forks
// I4: no two versions have one successor, even where the constraint is missing.
MATCH (m:Memory)
WHERE m.successor_id IS NOT NULL
WITH m.org_id AS org_id, m.user_id AS user_id, m.successor_id AS record_id, count(*) AS number
WHERE number > 1
RETURN 'I4' AS invariant, 'fork' AS kind, org_id, user_id, record_id,
  'several predecessors' AS detail, false AS blocks

// name: heads
// I4: the head is the version without `superseded_at`, and carries its chain's id.
MATCH (m:Memory)
WITH m, CASE
  WHEN m.head_of IS NOT NULL AND m.head_of <> m.chain_id THEN 'it is the head of another chain'
  WHEN m.head_of IS NULL AND m.superseded_at IS NULL THEN 'not superseded and not the head'
  WHEN m.head_of IS NOT NULL AND m.superseded_at IS NOT NULL THEN 'superseded and still the head'
  WHEN m.superseded_at IS NULL AND m.successor_id IS NOT NULL THEN 'the head has a successor'
  END AS detail
WHERE detail IS NOT NULL
RETURN 'I4' AS invariant, 'damaged_chain' AS kind, m.org_id AS org_id, m.user_id AS user_id,
  m.memory_id AS record_id, detail, false AS blocks

// name: two_heads
// I4
MATCH (m:Memory)
WHERE m.superseded_at IS NULL
WITH m.org_id AS org_id, m.user_id AS user_id, m.chain_id AS record_id, count(*) AS number
WHERE number > 1
RETURN 'I4' AS invariant, 'two_heads' AS kind, org_id, user_id, record_id,
  'several current versions' AS detail, false AS blocks

// name: gaps
// I4: a chain is one list, so exactly one of its versions has no successor.
MATCH (m:Memory)
WITH m.org_id AS org_id, m.user_id AS user_id, m.chain_id AS record_id,
  count(CASE WHEN m.successor_id IS NULL THEN 1 END) AS ends
WHERE ends <> 1
RETURN 'I4' AS invariant, CASE ends WHEN 0 THEN 'cycle' ELSE 'gap' END AS kind, org_id, user_id,
  record_id, CASE ends WHEN 0 THEN 'a cycle' ELSE 'a gap' END AS detail, false AS blocks

// name: cycles
// I4: also beside an intact list.
MATCH (m:Memory)
WHERE m.successor_id IS NOT NULL AND EXISTS { MATCH (m)-[:SUPERSEDED_BY]->+(m) }
RETURN DISTINCT 'I4' AS invariant, 'cycle' AS kind, m.org_id AS org_id, m.user_id AS user_id,
  m.chain_id AS record_id, 'a cycle' AS detail, false AS blocks

// name: order_of_versions
// I4: a version is not older than the one before it.
MATCH (m:Memory)-[:SUPERSEDED_BY]->(next:Memory)
WHERE next.obtained_at < m.obtained_at
RETURN 'I4' AS invariant, 'damaged_chain' AS kind, next.org_id AS org_id, next.user_id AS user_id,
  next.memory_id AS record_id, 'older than the version before it' AS detail, false AS blocks

// name: sources
// I10: a source is a message of the same user, linked once; its place is I2's.
MATCH (m:Memory)-[source:SOURCED_FROM]->(s:Message)
WITH m, s, count(source) AS number
WHERE number > 1 OR s.org_id <> m.org_id OR s.user_id <> m.user_id
RETURN DISTINCT 'I10' AS invariant,
  CASE WHEN number > 1 THEN 'duplicate_key' ELSE 'stray_source' END AS kind, m.org_id AS org_id,
  m.user_id AS user_id, m.memory_id AS record_id, CASE
  WHEN number > 1 THEN 'a source is linked twice'
  ELSE 'a source of another user' END AS detail, false AS blocks

// name: stray_mentions
// I3: a memory mentions names of its user, and relates only what it mentions.
MATCH (m:Memory)-[:MENTIONS]->(e:Entity)
WHERE e.org_id <> m.org_id OR e.user_id <> m.user_id
RETURN DISTINCT 'I3' AS invariant, 'stray_mention' AS kind, m.org_id AS org_id,
  m.user_id AS user_id, m.memory_id AS record_id, 'a name of another user' AS detail,
  false AS blocks

// name: stray_relations
// I3
MATCH (s:Entity)-[r:RELATED]->(o:Entity)
WHERE NOT EXISTS {
  MATCH (s)<-[:MENTIONS]-(m:Memory {
    org_id: s.org_id, user_id: s.user_id, memory_id: r.memory_id
  })-[:MENTIONS]->(o)
}
RETURN DISTINCT 'I3' AS invariant, 'stray_mention' AS kind, s.org_id AS org_id,
  s.user_id AS user_id, r.memory_id AS record_id,
  'what it relates is not what it mentions' AS detail, false AS blocks

// name: unmentioned
// I8: a name goes with the last memory that has it.
MATCH (e:Entity)
WHERE NOT EXISTS { MATCH (:Memory)-[:MENTIONS]->(e) }
RETURN 'I8' AS invariant, 'stray_mention' AS kind, e.org_id AS org_id, e.user_id AS user_id,
  e.name_id AS record_id, 'a name that no memory has' AS detail, false AS blocks

// name: missing_mentions
// I3
MATCH (m:Memory)
WHERE (size(m.entities) > 0 OR m.relations IS NOT NULL)
  AND NOT EXISTS { MATCH (m)-[:MENTIONS]->(:Entity) }
RETURN 'I3' AS invariant, 'missing_mention' AS kind, m.org_id AS org_id, m.user_id AS user_id,
  m.memory_id AS record_id, 'it is not linked to what it names' AS detail, false AS blocks

// name: times
// I13: times are whole microseconds since 1970 in UTC, in order, and the store's own are past.
MATCH (n:Organization|User|Agent|Interaction|Memory|Job)
WITH n, CASE
  WHEN n:Memory THEN [n.obtained_at, n.recorded_at, coalesce(n.superseded_at, n.obtained_at),
    coalesce(n.expires_at, n.obtained_at), coalesce(n.last_accessed_at, n.obtained_at)]
  WHEN n:Interaction THEN [n.updated_at, n.created_at, n.last_activity_at]
  WHEN n:Job THEN [n.created_at, n.updated_at]
  ELSE [n.created_at] END AS times, CASE
  WHEN n:Memory THEN n.recorded_at
  WHEN n:Interaction THEN n.updated_at
  WHEN n:Job AND n.updated_at > n.created_at THEN n.updated_at
  ELSE n.created_at END AS stored
WITH n, stored, any(time IN times WHERE NOT time IS :: INTEGER NOT NULL) AS is_none,
  any(time IN times WHERE time < $first OR time > $last) AS is_outside
WITH n, is_none, is_outside, CASE
  WHEN is_none THEN 'a time that is none'
  WHEN is_outside THEN 'a time outside the calendar'
  WHEN stored > $ahead THEN 'stored in the future'
  WHEN n:Memory AND n.superseded_at < n.obtained_at THEN 'superseded before it was obtained'
  WHEN n:Interaction AND n.last_activity_at < n.created_at THEN 'active before it was created'
  WHEN n:Job AND n.updated_at < n.created_at THEN 'changed before it was created'
  END AS detail
WHERE detail IS NOT NULL
RETURN 'I13' AS invariant,
  CASE WHEN is_none THEN 'incomplete_record' ELSE 'clock_regression' END AS kind,
  n.org_id AS org_id, n.user_id AS user_id,
  coalesce(n.memory_id, n.job_id, n.interaction_id, n.agent_id, n.user_id, n.org_id,
  'unknown') AS record_id, detail, coalesce(is_none OR is_outside, true) AS blocks

// name: stuck_outbox
// Work that was given up, or that nobody will do for implausibly long.
MATCH (e:OutboxEntry)
WHERE e.dead OR e.not_before > $wait OR e.lease_until > $wait
RETURN 'I5' AS invariant, 'stuck_outbox' AS kind, e.org_id AS org_id,
  CASE e.user_id WHEN '' THEN null ELSE e.user_id END AS user_id, toString(e.seq) AS record_id, CASE
  WHEN e.dead THEN 'vector work was given up'
  ELSE 'vector work waits or is leased for implausibly long' END AS detail,
  e.not_before > $last OR coalesce(e.lease_until, 0) > $last AS blocks

// name: stuck_jobs
MATCH (j:Job)
WHERE j.lease_until > $wait
RETURN 'I5' AS invariant, 'stuck_outbox' AS kind, j.org_id AS org_id, j.user_id AS user_id,
  j.job_id AS record_id, 'a job is leased for implausibly long' AS detail,
  j.lease_until > $last AS blocks

// name: stamp
// I20
OPTIONAL MATCH (meta:Meta {name: 'schema'})
WITH meta.version AS version
WHERE version IS NULL OR version <> $version
RETURN 'I20' AS invariant, 'half_migration' AS kind, null AS org_id, null AS user_id,
  'schema' AS record_id, 'version ' + coalesce(toString(version), 'missing') AS detail,
  false AS blocks

// name: counters
// I20: without them nothing can be enqueued or claimed.
UNWIND ['outbox', 'outbox_claims'] AS counter
OPTIONAL MATCH (meta:Meta {name: counter})
WITH counter, meta
WHERE meta IS NULL
RETURN 'I20' AS invariant, 'half_migration' AS kind, null AS org_id, null AS user_id,
  counter AS record_id, 'the counter is missing' AS detail, true AS blocks
