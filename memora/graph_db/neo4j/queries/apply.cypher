// name: lock_and_look
// Takes the user's lock, and then reads all that the plan's guards look at: whoever else writes
// for this user has committed before, or waits (B24, B25, B26, B28).
MATCH (u:User {org_id: $org_id, user_id: $user_id})
SET u.lock = true
WITH u
RETURN u.erasing IS NOT NULL AS erasing, u.salt AS salt,
  COLLECT {
    UNWIND $agent_ids AS id
    MATCH (a:Agent {org_id: $org_id, agent_id: id})
    RETURN a {.agent_id, .user_id, .deleted_at}
  } AS agents,
  COLLECT {
    MATCH (k:IdempotencyKey {org_id: $org_id, user_id: $user_id, key: $key})
    RETURN k {.*}
  } AS keys,
  COLLECT {
    UNWIND $interaction_ids AS id
    MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: id})
    RETURN i {.*}
  } AS interactions,
  COLLECT {
    MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, external_id: $external_id})
    RETURN i.interaction_id
  } AS external_ids,
  COLLECT {
    MATCH (run:Import {org_id: $org_id, import_id: $import_id})
    WHERE run.user_id = $user_id
    RETURN run.status
  } AS imports,
  COLLECT {
    MATCH (part:ImportChange {
      org_id: $org_id, user_id: $user_id, import_id: $import_id, interaction_id: $written_id
    })
    RETURN part {.found}
  } AS parts,
  COLLECT {
    UNWIND $memory_ids AS id
    MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
    RETURN m {.memory_id, .chain_id, .successor_id, .superseded_at, .head_of, .obtained_at,
      predecessor_id: head([(m)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id])}
  } AS versions,
  COLLECT {
    UNWIND $chain_ids AS id
    MATCH (m:Memory {org_id: $org_id, user_id: $user_id, head_of: id})
    RETURN m {.memory_id, .chain_id, .successor_id, .superseded_at, .head_of, .obtained_at,
      predecessor_id: head([(m)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id])}
  } AS heads,
  COLLECT {
    UNWIND $chain_ids AS id
    MATCH (m:Memory {org_id: $org_id, user_id: $user_id, chain_id: id})
    USING INDEX SEEK m:Memory(org_id, user_id, chain_id)
    RETURN DISTINCT m.chain_id
  } AS known_chains,
  COLLECT {
    UNWIND $content_hashes AS hash
    MATCH (m:Memory {org_id: $org_id, user_id: $user_id, content_hash: hash})
    USING INDEX SEEK m:Memory(org_id, user_id, content_hash)
    WHERE m.head_of IS NOT NULL
    RETURN m {.memory_id, .content_hash, .agent_id, .obtained_at}
  } AS equals,
  EXISTS {
    MATCH (t:Tombstone)
    USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
    WHERE t.org_id = $org_id AND t.user_id = $user_id AND t.mark IS NOT NULL
  } AS has_tombstones

// name: lock_job
// Whoever claims or saves the job has done so before, or waits.
MATCH (j:Job {org_id: $org_id, job_id: $job_id})
SET j.lock = true
RETURN j.user_id AS user_id, j.attempts AS attempts

// name: find_tombstones
// Asked only of users that have some.
UNWIND $marks AS mark
MATCH (t:Tombstone {org_id: $org_id, user_id: $user_id, mark: mark})
RETURN t.mark AS mark

// name: create_interaction
MATCH (u:User {org_id: $org_id, user_id: $user_id})
CREATE (u)-[:HAS_INTERACTION]->(i:Interaction)
SET i = $interaction
WITH i
UNWIND $messages AS message
CREATE (i)-[:HAS_MESSAGE]->(s:Message)
SET s = message

// name: sourced_from
// Memories that came from messages that are about to be cut.
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= $keep
MATCH (m:Memory)-[:SOURCED_FROM]->(s)
RETURN DISTINCT m.memory_id AS memory_id

// name: cut_messages
// Drops the messages from position $keep on; memories that came from them lose that source.
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
OPTIONAL MATCH (last:Message {
  org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id, position: $keep - 1
})
SET i.message_count = $keep, i.content_hash = coalesce(last.prefix_hash, ''),
  i.revision = i.revision + 1
WITH i
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= $keep
DETACH DELETE s
RETURN count(*) AS deleted

// name: lower_jobs
// Unfinished extraction ends where the transcript was cut; a job with nothing left is done.
MATCH (j:Job {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
WHERE j.end > $keep AND j.status <> 'done'
SET j.end = CASE WHEN j.start > $keep THEN j.start ELSE $keep END,
  j.updated_at = CASE WHEN $now > j.updated_at THEN $now ELSE j.updated_at + 1 END
WITH j WHERE j.start >= j.end
SET j.status = 'done', j.lease_until = null

// name: change_interaction
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
SET i += $interaction
WITH i
UNWIND $messages AS message
CREATE (i)-[:HAS_MESSAGE]->(s:Message)
SET s = message

// name: append_messages
// Further blocks of a long transcript.
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
UNWIND $messages AS message
CREATE (i)-[:HAS_MESSAGE]->(s:Message)
SET s = message

// name: change_versions
// Stored neighbours first, so that no head or successor is there twice when the new ones come.
UNWIND $versions AS version
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: version.memory_id})
SET m.successor_id = version.successor_id, m.superseded_at = version.superseded_at,
  m.head_of = version.head_of
WITH m
MATCH (m)-[old:SUPERSEDED_BY]->(:Memory)
DELETE old

// name: begin
// Versions that begin at another time. What was stated first is kept for as long as it is not what
// they begin with.
UNWIND $versions AS version
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: version.memory_id})
WITH m, version, coalesce(m.stated_at, m.obtained_at) AS at,
  coalesce(m.stated_role, m.source_role) AS role
SET m.obtained_at = version.obtained_at, m.source_role = version.source_role,
  m.stated_at = CASE WHEN at = version.obtained_at THEN null ELSE at END,
  m.stated_role = CASE WHEN at = version.obtained_at THEN null ELSE role END

// name: insert_memories
// A source is linked if the message at that place is still the one that was read.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
UNWIND $memories AS row
CREATE (u)-[:HAS_MEMORY]->(m:Memory)
SET m = row.memory
WITH m, row
CALL (m) {
  MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: m.interaction_id})
  CREATE (m)-[:OBTAINED_IN]->(i)
}
CALL (m, row) {
  UNWIND row.sources AS source
  MATCH (s:Message {
    org_id: $org_id, user_id: $user_id,
    interaction_id: source.interaction_id, position: source.position
  })
  WHERE s.prefix_hash = source.prefix_hash
  MERGE (m)-[link:SOURCED_FROM]->(s)
  ON CREATE SET link.said_at = source.said_at
}

// name: link_versions
// The relationships beside `successor_id`, for whoever explores the graph and for the way back.
UNWIND $links AS link
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.memory_id})
MATCH (next:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.successor_id})
CREATE (m)-[:SUPERSEDED_BY]->(next)

// name: link_sources
// A message that is gone in the meantime is skipped; a link that is there stays one.
UNWIND $links AS link
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.memory_id})
MATCH (s:Message {
  org_id: $org_id, user_id: $user_id,
  interaction_id: link.interaction_id, position: link.position
})
WHERE s.prefix_hash = link.prefix_hash
MERGE (m)-[new:SOURCED_FROM]->(s)
ON CREATE SET new.said_at = link.said_at

// name: move_sources
UNWIND $links AS link
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.memory_id})
MATCH (:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.moved_from})
  -[old:SOURCED_FROM]->(s:Message {
    interaction_id: link.interaction_id, position: link.position
  })
MERGE (m)-[new:SOURCED_FROM]->(s)
ON CREATE SET new.said_at = old.said_at
DELETE old

// name: settle
// Job and idempotency key of the call, where it has them.
FOREACH (job IN $jobs |
  MERGE (j:Job {org_id: $org_id, job_id: job.job_id})
  SET j = job
)
FOREACH (key IN $keys |
  CREATE (k:IdempotencyKey {org_id: $org_id, user_id: $user_id, created_at: $now})
  SET k += key
)
