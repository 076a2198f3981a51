// name: list_source_memories
// Newest first: versions obtained from the source, and those with a message of it (of the
// interaction that a version was obtained in, the version says whose it is). $field is the name of
// a property that memories and interactions share.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (m:Memory)
  USING INDEX SEEK m:Memory(org_id, user_id, obtained_at, memory_id)
  WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.obtained_at IS NOT NULL
    AND m.memory_id IS NOT NULL
    AND (NOT $current_only OR m.head_of IS NOT NULL)
    AND CASE WHEN m.expires_at <= $now THEN false ELSE true END
    AND (
      (m.author IS NULL AND m[$field] = $source_id)
      OR EXISTS {
        MATCH (m)-[:SOURCED_FROM]->(:Message)<-[:HAS_MESSAGE]-(i:Interaction)
        WHERE $source_id
          = CASE WHEN i.interaction_id = m.interaction_id THEN m[$field] ELSE i[$field] END
      }
    )
  WITH m
  ORDER BY m.org_id DESC, m.user_id DESC, m.obtained_at DESC, m.memory_id DESC
  SKIP $skip LIMIT $limit
  RETURN m
}
RETURN m {.*,
  supersedes: head([(m)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id]),
  sources: COLLECT {
    MATCH (m)-[:SOURCED_FROM]->(s:Message)
    RETURN s {.position, .role, .content, .name, .timestamp, .data}
    ORDER BY s.interaction_id, s.position
  }
} AS memory
ORDER BY m.obtained_at DESC, m.memory_id DESC

// name: chains_of_source
// The next chains with such a version, by id.
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, user_id, chain_id)
WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.chain_id > $after
  AND (
    (m.author IS NULL AND m[$field] = $source_id)
    OR EXISTS {
      MATCH (m)-[:SOURCED_FROM]->(:Message)<-[:HAS_MESSAGE]-(i:Interaction)
      WHERE $source_id
        = CASE WHEN i.interaction_id = m.interaction_id THEN m[$field] ELSE i[$field] END
    }
  )
RETURN DISTINCT m.chain_id AS chain_id
ORDER BY chain_id
LIMIT $limit

// name: read_places
// All versions of these chains, with the messages they came from and what their interactions say.
UNWIND $chain_ids AS chain_id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, chain_id: chain_id})
USING INDEX SEEK m:Memory(org_id, user_id, chain_id)
RETURN m {.memory_id, .chain_id, .obtained_at, .recorded_at, .superseded_at, .successor_id,
  .source_role, .content_hash, .interaction_id, .agent_id, .import_id, .process_id, .author,
  .pinned, .archived, .stated_at, .stated_role} AS version,
  COLLECT {
    MATCH (m)-[link:SOURCED_FROM]->(s:Message)<-[:HAS_MESSAGE]-(i:Interaction)
    RETURN {interaction_id: i.interaction_id, position: s.position, role: s.role,
      prefix_hash: s.prefix_hash, agent_id: i.agent_id, import_id: i.import_id,
      process_id: i.process_id, said_at: coalesce(link.said_at, s.timestamp)}
    ORDER BY s.interaction_id, s.position
  } AS sources

// name: lock_unfinished_jobs
// Whoever claims or saves one of them has done so before, or waits.
MATCH (j:Job)
USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
WHERE j.org_id = $org_id AND j.user_id = $user_id AND j.interaction_id IS NOT NULL
  AND j.status <> 'done'
SET j.lock = true
RETURN count(*) AS locked

// name: read_unfinished_jobs
MATCH (j:Job)
USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
WHERE j.org_id = $org_id AND j.user_id = $user_id AND j.interaction_id IS NOT NULL
  AND j.status <> 'done'
RETURN j {.*} AS job
ORDER BY j.created_at, j.job_id

// name: change_places
// The removed ones are gone by then: nobody else has their successors. What was stated first is kept
// for as long as it is not what they begin with.
UNWIND $versions AS version
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: version.memory_id})
WITH m, version, coalesce(m.stated_at, m.obtained_at) AS at,
  coalesce(m.stated_role, m.source_role) AS role
SET m.successor_id = version.successor_id, m.superseded_at = version.superseded_at,
  m.head_of = version.head_of, m.obtained_at = version.obtained_at,
  m.stated_at = CASE WHEN at = version.obtained_at THEN null ELSE at END,
  m.stated_role = CASE WHEN at = version.obtained_at THEN null ELSE role END
WITH m, version
OPTIONAL MATCH (m)-[old:SUPERSEDED_BY]->(:Memory)
DELETE old
WITH m, version
MATCH (next:Memory {org_id: $org_id, user_id: $user_id, memory_id: version.successor_id})
CREATE (m)-[:SUPERSEDED_BY]->(next)

// name: unlink
UNWIND $unlinked AS row
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: row.memory_id})
SET m.source_role = row.source_role
WITH m, row
UNWIND row.lost AS source
MATCH (m)-[link:SOURCED_FROM]->(s:Message {
  interaction_id: source.interaction_id, position: source.position
})
DELETE link

// name: change_origins
// What the memories count as obtained from, and so as stated first.
UNWIND $origins AS origin
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: origin.memory_id})
SET m.interaction_id = origin.interaction_id, m.agent_id = origin.agent_id,
  m.import_id = origin.import_id, m.process_id = origin.process_id,
  m.stated_at = null, m.stated_role = null
WITH m
OPTIONAL MATCH (m)-[old:OBTAINED_IN]->(:Interaction)
DELETE old
WITH DISTINCT m
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: m.interaction_id})
CREATE (m)-[:OBTAINED_IN]->(i)
