// name: organizations
// An export of the whole store; ids only.
MATCH (o:Organization)
USING INDEX o:Organization(org_id)
WHERE o.org_id IS NOT NULL AND o.erasing IS NULL
RETURN o.org_id AS org_id
ORDER BY o.org_id

// name: organization
MATCH (o:Organization {org_id: $org_id})
WHERE o.erasing IS NULL
RETURN o {.*} AS organization

// name: users
// Ids only: each user is read under its lock.
MATCH (u:User)
USING INDEX SEEK u:User(org_id, user_id)
WHERE u.org_id = $org_id AND u.user_id IS NOT NULL AND u.erasing IS NULL
RETURN u.user_id AS user_id
ORDER BY u.org_id, u.user_id

// name: user
// Asked under the user's lock, like all that follows.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
RETURN u {.*} AS user

// name: agents_of_user
MATCH (a:Agent)
USING INDEX SEEK a:Agent(org_id, user_id, created_at, agent_id)
WHERE a.org_id = $org_id AND a.user_id = $user_id AND a.created_at IS NOT NULL
  AND a.agent_id IS NOT NULL
RETURN a {.*} AS agent
ORDER BY a.agent_id

// name: agents
// Those of all users, deleted ones too.
MATCH (a:Agent)
USING INDEX SEEK a:Agent(org_id, agent_id)
WHERE a.org_id = $org_id AND a.agent_id IS NOT NULL AND a.user_id IS NULL
RETURN a {.*} AS agent
ORDER BY a.org_id, a.agent_id

// name: interactions
// A page after $after.
MATCH (i:Interaction)
USING INDEX SEEK i:Interaction(org_id, user_id, interaction_id)
WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.interaction_id > $after
RETURN i {.*} AS interaction
ORDER BY i.org_id, i.user_id, i.interaction_id
LIMIT $limit

// name: messages
// Those of a page of interactions.
MATCH (s:Message)
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.org_id = $org_id AND s.user_id = $user_id
  AND s.interaction_id >= $first AND s.interaction_id <= $last AND s.position IS NOT NULL
RETURN s {.*} AS message
ORDER BY s.org_id, s.user_id, s.interaction_id, s.position

// name: memories
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, user_id, obtained_at, memory_id)
WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.obtained_at IS NOT NULL
  AND m.memory_id IS NOT NULL
RETURN m {.*,
  supersedes: null,
  sources: [],
  places: COLLECT {
    MATCH (m)-[link:SOURCED_FROM]->(s:Message)
    RETURN {interaction_id: s.interaction_id, position: s.position, said_at: link.said_at}
    ORDER BY s.interaction_id, s.position
  }
} AS memory
ORDER BY m.org_id, m.user_id, m.obtained_at, m.memory_id

// name: tombstones
MATCH (t:Tombstone)
USING INDEX SEEK t:Tombstone(org_id, user_id, mark)
WHERE t.org_id = $org_id AND t.user_id = $user_id AND t.mark IS NOT NULL
RETURN t.mark AS mark, t.purged_at AS purged_at
ORDER BY t.org_id, t.user_id, t.mark

// name: idempotency_keys
MATCH (k:IdempotencyKey)
USING INDEX SEEK k:IdempotencyKey(org_id, user_id, key)
WHERE k.org_id = $org_id AND k.user_id = $user_id AND k.key IS NOT NULL
RETURN k {.*} AS record
ORDER BY k.org_id, k.user_id, k.key

// name: jobs
MATCH (j:Job)
USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
WHERE j.org_id = $org_id AND j.user_id = $user_id AND j.interaction_id IS NOT NULL
RETURN j {.*} AS job
ORDER BY j.job_id

// name: entities
// Names whose entity does not follow from the name.
MATCH (e:Entity)
USING INDEX SEEK e:Entity(org_id, user_id, name_id)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.name_id IS NOT NULL
  AND (e.decided OR e.entity_id <> e.name_id)
RETURN e {.org_id, .user_id, .name_id, .entity_id, .decided} AS entity
ORDER BY e.org_id, e.user_id, e.name_id

// name: imports
MATCH (run:Import)
USING INDEX SEEK run:Import(org_id, user_id, started_at, import_id)
WHERE run.org_id = $org_id AND run.user_id = $user_id AND run.started_at IS NOT NULL
  AND run.import_id IS NOT NULL
RETURN run {.*} AS run
ORDER BY run.import_id

// name: import_changes
MATCH (part:ImportChange)
USING INDEX SEEK part:ImportChange(org_id, user_id, import_id, interaction_id)
WHERE part.org_id = $org_id AND part.user_id = $user_id AND part.import_id = $import_id
  AND part.interaction_id IS NOT NULL
RETURN part {.*} AS part
ORDER BY part.org_id, part.user_id, part.import_id, part.interaction_id

// name: lock_users
// Users that were there before; no row: it is missing, or being erased.
UNWIND $user_ids AS id
MATCH (u:User {org_id: $org_id, user_id: id})
SET u.lock = true
WITH u
WHERE u.erasing IS NULL
RETURN u.user_id AS user_id

// name: load_organization
// Here and below: the number of rows tells whether all that they belong to was there, and the
// constraints refuse what was there before.
UNWIND $rows AS row
CREATE (o:Organization {org_id: $org_id})
SET o += row.properties
RETURN count(*) AS loaded

// name: load_user
MATCH (o:Organization {org_id: $org_id})
UNWIND $rows AS row
CREATE (o)-[:HAS_USER]->(u:User)
SET u = row.properties
RETURN count(*) AS loaded

// name: load_agent
MATCH (o:Organization {org_id: $org_id})
UNWIND $rows AS row
CREATE (o)-[:HAS_AGENT]->(a:Agent)
SET a = row.properties
RETURN count(*) AS loaded

// name: load_interaction
UNWIND $rows AS row
MATCH (u:User {org_id: $org_id, user_id: row.properties.user_id})
CREATE (u)-[:HAS_INTERACTION]->(i:Interaction)
SET i = row.properties
RETURN count(*) AS loaded

// name: load_message
UNWIND $rows AS row
MATCH (i:Interaction {
  org_id: $org_id, user_id: row.properties.user_id, interaction_id: row.properties.interaction_id
})
CREATE (i)-[:HAS_MESSAGE]->(s:Message)
SET s = row.properties
RETURN count(*) AS loaded

// name: load_memory
UNWIND $rows AS row
MATCH (u:User {org_id: $org_id, user_id: row.properties.user_id})
WHERE row.properties.interaction_id IS NULL OR EXISTS {
  MATCH (:Interaction {
    org_id: $org_id, user_id: u.user_id, interaction_id: row.properties.interaction_id
  })
}
CREATE (u)-[:HAS_MEMORY]->(m:Memory)
SET m = row.properties
WITH m, row
CALL (m) {
  MATCH (i:Interaction {org_id: $org_id, user_id: m.user_id, interaction_id: m.interaction_id})
  CREATE (m)-[:OBTAINED_IN]->(i)
}
WITH count(*) AS loaded
RETURN loaded

// name: load_source
UNWIND $rows AS row
MATCH (m:Memory {org_id: $org_id, user_id: row.user_id, memory_id: row.memory_id})
MATCH (s:Message {
  org_id: $org_id, user_id: row.user_id, interaction_id: row.interaction_id,
  position: row.position
})
CREATE (m)-[:SOURCED_FROM {said_at: row.said_at}]->(s)
RETURN count(*) AS loaded

// name: load_import
UNWIND $rows AS row
MATCH (u:User {org_id: $org_id, user_id: row.properties.user_id})
CREATE (run:Import)
SET run = row.properties
RETURN count(*) AS loaded

// name: load_import_change
UNWIND $rows AS row
MATCH (i:Interaction {
  org_id: $org_id, user_id: row.properties.user_id, interaction_id: row.properties.interaction_id
})
MATCH (run:Import {org_id: $org_id, import_id: row.properties.import_id})
WHERE run.user_id = i.user_id
CREATE (part:ImportChange)
SET part = row.properties
RETURN count(*) AS loaded

// name: link_successors
// A version may be loaded before or after the one that supersedes it; the second one links both.
UNWIND $rows AS row
MATCH (m:Memory {org_id: $org_id, user_id: row.user_id, memory_id: row.memory_id})
MATCH (next:Memory {org_id: $org_id, user_id: m.user_id, memory_id: m.successor_id})
MERGE (m)-[:SUPERSEDED_BY]->(next)

// name: link_predecessors
UNWIND $rows AS row
MATCH (before:Memory {org_id: $org_id, user_id: row.user_id, successor_id: row.memory_id})
MATCH (m:Memory {org_id: $org_id, user_id: row.user_id, memory_id: row.memory_id})
MERGE (before)-[:SUPERSEDED_BY]->(m)

// name: load_tombstone
UNWIND $rows AS row
MATCH (u:User {org_id: $org_id, user_id: row.properties.user_id})
CREATE (t:Tombstone)
SET t = row.properties
RETURN count(*) AS loaded

// name: load_idempotency_key
UNWIND $rows AS row
MATCH (u:User {org_id: $org_id, user_id: row.properties.user_id})
CREATE (k:IdempotencyKey)
SET k = row.properties
RETURN count(*) AS loaded

// name: load_job
UNWIND $rows AS row
MATCH (i:Interaction {
  org_id: $org_id, user_id: row.properties.user_id, interaction_id: row.properties.interaction_id
})
CREATE (j:Job)
SET j = row.properties
RETURN count(*) AS loaded

// name: load_entity
// Names are there once the memories that have them are.
UNWIND $rows AS row
MATCH (e:Entity {
  org_id: $org_id, user_id: row.properties.user_id, name_id: row.properties.name_id
})
SET e.entity_id = row.properties.entity_id, e.decided = row.properties.decided
RETURN count(*) AS loaded
