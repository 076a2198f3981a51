// name: indexes
// Indexes that are here and do not work, or do; a constraint has an index of the same name.
SHOW INDEXES YIELD name, state

// name: has_data
// Whether memora wrote here, also where the stamp is gone.
RETURN EXISTS { MATCH (:Organization) } AS found

// name: doubles
// Administration: records that share a key, read only while a constraint is missing. Bookkeeping
// has its key as the record's id.
MATCH (n:Organization|User|Agent|Interaction|Message|Memory|Entity|Job|IdempotencyKey|Tombstone|OutboxEntry|Meta)
WITH labels(n)[0] AS label, n.org_id AS org_id,
  CASE WHEN n:Agent OR n:Job OR n:OutboxEntry THEN null ELSE n.user_id END AS user_id, CASE
  WHEN n:Organization THEN n.org_id
  WHEN n:User THEN n.user_id
  WHEN n:Agent THEN n.agent_id
  WHEN n:Interaction OR n:Message THEN n.interaction_id
  WHEN n:Memory THEN n.memory_id
  WHEN n:Entity THEN n.name_id
  WHEN n:Job THEN n.job_id
  WHEN n:IdempotencyKey THEN n.key
  WHEN n:Tombstone THEN n.mark
  WHEN n:OutboxEntry THEN toString(n.seq)
  ELSE n.name END AS record_id, n.position AS position, count(*) AS number
WHERE number > 1 AND record_id IS NOT NULL
RETURN DISTINCT label, org_id, user_id, record_id

// name: doubled_external_ids
// Administration: interactions whose external id an older one of the user has.
MATCH (i:Interaction)
WHERE i.external_id IS NOT NULL
WITH i ORDER BY i.created_at, i.interaction_id
WITH i.org_id AS org_id, i.user_id AS user_id, i.external_id AS external_id,
  collect(i.interaction_id) AS ids
UNWIND ids[1..] AS record_id
RETURN org_id, user_id, record_id

// name: burying_users
// Administration: users that purged something.
MATCH (t:Tombstone)
RETURN DISTINCT t.org_id AS org_id, t.user_id AS user_id

// name: marks
MATCH (t:Tombstone)
USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
WHERE t.org_id = $org_id AND t.user_id = $user_id AND t.mark IS NOT NULL
RETURN t.mark AS mark, t.purged_at AS purged_at

// name: heads
// Current memories of one user, with what tombstones are made of.
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, user_id, head_of)
WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.head_of IS NOT NULL
MATCH (m)-[:SOURCED_FROM]->(s:Message)
RETURN m.memory_id AS memory_id, m.recorded_at AS recorded_at, m.content_hash AS content_hash,
  collect(s.prefix_hash) AS prefix_hashes

// name: head
// One of them.
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
WHERE m.superseded_at IS NULL
MATCH (m)-[:SOURCED_FROM]->(s:Message)
RETURN m.obtained_at AS obtained_at, m.recorded_at AS recorded_at, m.content_hash AS content_hash,
  collect(s.prefix_hash) AS prefix_hashes

// name: end_head
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
WHERE m.superseded_at IS NULL
SET m.superseded_at = $ended_at, m.head_of = null

// name: known_memories
UNWIND $keys AS key
MATCH (m:Memory {org_id: key.org_id, user_id: key.user_id, memory_id: key.memory_id})
RETURN m.org_id AS org_id, m.user_id AS user_id, m.memory_id AS memory_id

// name: chains_of
// The chains that a version is in, follows or precedes, or that have this id.
CALL () {
  MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
  RETURN m
  UNION
  MATCH (m:Memory {org_id: $org_id, user_id: $user_id, chain_id: $record_id})
  RETURN m
  UNION
  MATCH (m:Memory {org_id: $org_id, user_id: $user_id, successor_id: $record_id})
  RETURN m
  UNION
  MATCH (:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
    -[:SUPERSEDED_BY]-(m:Memory)
  WHERE m.org_id = $org_id AND m.user_id = $user_id
  RETURN m
}
RETURN DISTINCT m.chain_id AS chain_id

// name: versions
// All versions of a chain, oldest first.
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, chain_id: $chain_id})
RETURN m.memory_id AS memory_id, m.successor_id AS successor_id, m.obtained_at AS obtained_at,
  m.superseded_at AS superseded_at, m.head_of AS head_of,
  COLLECT { MATCH (m)-[:SUPERSEDED_BY]->(n:Memory) RETURN n.memory_id } AS related
ORDER BY m.obtained_at, m.recorded_at, m.memory_id

// name: unlink
// So that no head or successor is there twice on the way.
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, chain_id: $chain_id})
SET m.successor_id = null, m.head_of = null
WITH m
MATCH (m)-[link:SUPERSEDED_BY]-(:Memory)
DELETE link

// name: place
UNWIND $versions AS version
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: version.memory_id})
SET m.successor_id = version.successor_id, m.superseded_at = version.superseded_at,
  m.head_of = version.head_of
WITH m, version
MATCH (next:Memory {org_id: $org_id, user_id: $user_id, memory_id: version.successor_id})
CREATE (m)-[:SUPERSEDED_BY]->(next)

// name: put_agent_back
// As a deleted one: what it wrote can be read, and nobody writes as it.
MATCH (o:Organization {org_id: $org_id})
MERGE (a:Agent {org_id: $org_id, agent_id: $record_id})
ON CREATE SET a.agent_label = $label, a.created_at = $now, a.deleted_at = $now
MERGE (o)-[:HAS_AGENT]->(a)

// name: drop_stray_sources
// Links to messages of others, and all but one of those to the same message.
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
  -[source:SOURCED_FROM]->(s:Message)
WITH m, s, collect(source) AS links
UNWIND CASE
  WHEN s.org_id <> m.org_id OR s.user_id <> m.user_id THEN links ELSE links[1..] END AS surplus
DELETE surplus

// name: second_external_id
// The interaction, if an older one of the user has its external id.
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
MATCH (older:Interaction {org_id: $org_id, user_id: $user_id, external_id: i.external_id})
WHERE older.created_at < i.created_at
  OR (older.created_at = i.created_at AND older.interaction_id < i.interaction_id)
RETURN i.external_id AS external_id, i.metadata AS metadata LIMIT 1

// name: drop_external_id
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
SET i.external_id = null, i.metadata = $metadata

// name: memory_times
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
SET m.obtained_at = CASE
    WHEN m.obtained_at < $first THEN $first WHEN m.obtained_at > $last THEN $last
    ELSE m.obtained_at END,
  m.recorded_at = CASE
    WHEN m.recorded_at > $ahead THEN $now WHEN m.recorded_at < $first THEN $first
    ELSE m.recorded_at END,
  m.expires_at = CASE
    WHEN m.expires_at > $last THEN $last WHEN m.expires_at < $first THEN $first
    ELSE m.expires_at END,
  m.last_accessed_at = CASE
    WHEN m.last_accessed_at > $last THEN $last WHEN m.last_accessed_at < $first THEN $first
    ELSE m.last_accessed_at END
WITH m
SET m.superseded_at = CASE
  WHEN m.superseded_at < m.obtained_at THEN m.obtained_at WHEN m.superseded_at > $last THEN $last
  ELSE m.superseded_at END

// name: interaction_times
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
SET i.created_at = CASE
    WHEN i.created_at < $first THEN $first WHEN i.created_at > $last THEN $last
    ELSE i.created_at END,
  i.updated_at = CASE
    WHEN i.updated_at > $ahead THEN $now WHEN i.updated_at < $first THEN $first
    ELSE i.updated_at END
WITH i
SET i.last_activity_at = CASE
  WHEN i.last_activity_at < i.created_at THEN i.created_at WHEN i.last_activity_at > $last THEN $last
  ELSE i.last_activity_at END

// name: job_times
MATCH (j:Job {org_id: $org_id, job_id: $record_id})
SET j.created_at = CASE
    WHEN j.created_at > $ahead THEN $now WHEN j.created_at < $first THEN $first
    ELSE j.created_at END,
  j.updated_at = CASE WHEN j.updated_at > $ahead THEN $now ELSE j.updated_at END
WITH j
SET j.updated_at = CASE WHEN j.updated_at < j.created_at THEN j.created_at ELSE j.updated_at END

// name: organization_times
MATCH (o:Organization {org_id: $org_id})
WHERE $org_id = $record_id
SET o.created_at = CASE
  WHEN o.created_at > $ahead THEN $now WHEN o.created_at < $first THEN $first
  ELSE o.created_at END

// name: user_times
MATCH (u:User {org_id: $org_id, user_id: $record_id})
SET u.created_at = CASE
  WHEN u.created_at > $ahead THEN $now WHEN u.created_at < $first THEN $first
  ELSE u.created_at END

// name: agent_times
MATCH (a:Agent {org_id: $org_id, agent_id: $record_id})
SET a.created_at = CASE
  WHEN a.created_at > $ahead THEN $now WHEN a.created_at < $first THEN $first
  ELSE a.created_at END

// name: free_entry
// Given up, waiting or leased for implausibly long: due now, with all its tries.
MATCH (e:OutboxEntry {seq: $seq})
WHERE e.org_id = $org_id AND (e.dead OR e.not_before > $wait OR e.lease_until > $wait)
SET e.dead = false, e.attempts = 0, e.not_before = $now, e.lease = null, e.lease_until = null

// name: free_job
MATCH (j:Job {org_id: $org_id, job_id: $record_id})
WHERE j.lease_until > $wait
SET j.lease_until = null, j.status = CASE j.status WHEN 'running' THEN 'pending' ELSE j.status END

// name: transcript
// What an interaction says of its messages, and what is there.
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
WITH i, COLLECT {
  MATCH (s:Message)
  USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
  WHERE s.org_id = $org_id AND s.user_id = $user_id AND s.interaction_id = $record_id
    AND s.position IS NOT NULL
  RETURN s {.position, .prefix_hash} ORDER BY s.position
} AS messages
RETURN i.message_count AS message_count, i.content_hash AS content_hash, size(messages) AS found,
  all(number IN range(0, size(messages) - 1) WHERE messages[number].position = number) AS whole,
  coalesce(messages[-1].prefix_hash, '') AS last_hash

// name: recount
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
SET i.message_count = $message_count, i.content_hash = $content_hash

// name: restore_counter
// Numbers go on after the highest that is there.
OPTIONAL MATCH (e:OutboxEntry)
USING INDEX SEEK e:OutboxEntry(seq)
WHERE e.seq > 0
WITH coalesce(max(e.seq), 0) AS highest
MERGE (outbox:Meta {name: 'outbox'})
ON CREATE SET outbox.seq = highest

// name: rename_organizations
// Here and below: all records of a key but the oldest get the ids of $ids, in their order. What
// names the key stays with the oldest.
MATCH (n:Organization {org_id: $org_id})
WITH n ORDER BY n.created_at, elementId(n)
WITH collect(n) AS found
UNWIND range(1, size(found) - 1) AS number
WITH found[number] AS n, number
SET n.org_id = $ids[number - 1]

// name: rename_users
MATCH (n:User {org_id: $org_id, user_id: $record_id})
WITH n ORDER BY n.created_at, elementId(n)
WITH collect(n) AS found
UNWIND range(1, size(found) - 1) AS number
WITH found[number] AS n, number
SET n.user_id = $ids[number - 1]

// name: rename_agents
MATCH (n:Agent {org_id: $org_id, agent_id: $record_id})
WITH n ORDER BY n.created_at, elementId(n)
WITH collect(n) AS found
UNWIND range(1, size(found) - 1) AS number
WITH found[number] AS n, number
SET n.agent_id = $ids[number - 1]

// name: rename_jobs
MATCH (n:Job {org_id: $org_id, job_id: $record_id})
WITH n ORDER BY n.created_at, elementId(n)
WITH collect(n) AS found
UNWIND range(1, size(found) - 1) AS number
WITH found[number] AS n, number
SET n.job_id = $ids[number - 1]

// name: rename_interactions
// With the messages that are theirs, and the memories obtained in them.
MATCH (n:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
WITH n ORDER BY n.created_at, elementId(n)
WITH collect(n) AS found
UNWIND range(1, size(found) - 1) AS number
WITH found[number] AS n, $ids[number - 1] AS id
SET n.interaction_id = id
WITH n, id
OPTIONAL MATCH (n)-[:HAS_MESSAGE]->(s:Message)
SET s.interaction_id = id
WITH DISTINCT n, id
OPTIONAL MATCH (m:Memory)-[:OBTAINED_IN]->(n)
SET m.interaction_id = id

// name: rename_memories
MATCH (n:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
WITH n ORDER BY n.recorded_at, elementId(n)
WITH collect(n) AS found
UNWIND range(1, size(found) - 1) AS number
WITH found[number] AS n, number
SET n.memory_id = $ids[number - 1], n.successor_id = null, n.head_of = null

// name: drop_second_keys
// Bookkeeping: one of several is enough.
MATCH (n:IdempotencyKey {org_id: $org_id, user_id: $user_id, key: $record_id})
WITH n ORDER BY n.created_at, elementId(n)
WITH collect(n)[1..] AS further
UNWIND further AS n
DETACH DELETE n

// name: drop_second_tombstones
MATCH (n:Tombstone {org_id: $org_id, user_id: $user_id, mark: $record_id})
WITH collect(n)[1..] AS further
UNWIND further AS n
DETACH DELETE n

// name: renumber_entries
// Work that shares a number gets one of its own, under the counter's lock.
MATCH (counter:Meta {name: 'outbox'})
SET counter.lock = true
WITH counter
MATCH (e:OutboxEntry {seq: $seq})
WITH counter, collect(e)[1..] AS further
UNWIND range(0, size(further) - 1) AS number
WITH counter, further[number] AS e
SET counter.seq = counter.seq + 1
SET e.seq = counter.seq

// name: drop_second_meta
MATCH (n:Meta {name: $record_id})
WITH n ORDER BY n.seq DESC, n.version DESC
WITH collect(n)[1..] AS further
UNWIND further AS n
DETACH DELETE n

// name: messages
// All messages of an interaction, with what says which of two at one place belongs to it.
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
MATCH (s:Message)
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.org_id = $org_id AND s.user_id = $user_id AND s.interaction_id = $record_id
  AND s.position IS NOT NULL
RETURN elementId(s) AS element, i.content_hash AS content_hash, s {.*} AS message
ORDER BY s.position, elementId(s)

// name: recover
// An interaction for messages that share their places with others.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
CREATE (u)-[:HAS_INTERACTION]->(other:Interaction)
SET other = i {.*, interaction_id: $id, external_id: null, metadata: $metadata,
  message_count: size($messages), content_hash: $messages[-1].prefix_hash}
WITH other
UNWIND $messages AS moved
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $record_id})
WHERE elementId(s) = moved.element
SET s.interaction_id = $id, s.position = moved.position, s.prefix_hash = moved.prefix_hash
WITH other, s
OPTIONAL MATCH (:Interaction)-[old:HAS_MESSAGE]->(s)
DELETE old
WITH DISTINCT other, s
CREATE (other)-[:HAS_MESSAGE]->(s)

// name: drop_mentions_of
// Of a memory, or with a name.
OPTIONAL MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
  -[mention:MENTIONS]->(:Entity)
DELETE mention
WITH count(*) AS dropped
OPTIONAL MATCH (e:Entity)
USING INDEX SEEK e:Entity(org_id, user_id, name_id)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.name_id IS NOT NULL
OPTIONAL MATCH (e)-[r:RELATED]-(:Entity)
WHERE r.memory_id = $record_id OR e.name_id = $record_id
DELETE r

// name: memory_to_name
// A memory with what its links are made of.
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: $record_id})
RETURN m.entities AS entities, m.relations AS relations

// name: drop_unmentioned
MATCH (e:Entity)
USING INDEX SEEK e:Entity(org_id, user_id, name_id)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.name_id IS NOT NULL
  AND NOT EXISTS { MATCH (:Memory)-[:MENTIONS]->(e) }
DETACH DELETE e

// name: join_second_names
// What links the others of several nodes of one name links the first one.
MATCH (e:Entity {org_id: $org_id, user_id: $user_id, name_id: $record_id})
WITH collect(e) AS nodes
WITH nodes[0] AS first, nodes[1..] AS others
UNWIND others AS other
CALL (first, other) {
  MATCH (m:Memory)-[:MENTIONS]->(other)
  MERGE (m)-[:MENTIONS]->(first)
}
CALL (first, other) {
  MATCH (other)-[r:RELATED]->(o:Entity)
  MERGE (first)-[own:RELATED {memory_id: r.memory_id, position: r.position}]->(o)
  SET own.type = r.type
}
CALL (first, other) {
  MATCH (s:Entity)-[r:RELATED]->(other)
  MERGE (s)-[own:RELATED {memory_id: r.memory_id, position: r.position}]->(first)
  SET own.type = r.type
}
DETACH DELETE other
