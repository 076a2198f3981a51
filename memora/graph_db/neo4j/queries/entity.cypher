// name: look_alike
// Which of these names are there, and the names that a new one of several words may be a
// misspelling of. Asked under the user's lock.
UNWIND $names AS wanted
OPTIONAL MATCH (known:Entity {org_id: $org_id, user_id: $user_id, name_id: wanted.name_id})
RETURN wanted.name_id AS name_id, known IS NOT NULL AS is_known,
  COLLECT {
    MATCH (e:Entity {org_id: $org_id, user_id: $user_id, block: wanted.block})
    USING INDEX SEEK e:Entity(org_id, user_id, block)
    WHERE known IS NULL
    RETURN [e.entity_id, e.name] LIMIT $limit
  } AS alike

// name: link
// A name that is there stays as it is; a link that is there stays one.
CALL () {
  UNWIND $names AS name
  MERGE (e:Entity {org_id: $org_id, user_id: $user_id, name_id: name.name_id})
  ON CREATE SET e.entity_id = name.entity_id, e.name = name.name, e.block = name.block,
    e.decided = false
}
CALL () {
  UNWIND $mentions AS mention
  MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: mention.memory_id})
  MATCH (e:Entity {org_id: $org_id, user_id: $user_id, name_id: mention.name_id})
  MERGE (m)-[:MENTIONS]->(e)
}
CALL () {
  UNWIND $edges AS edge
  MATCH (s:Entity {org_id: $org_id, user_id: $user_id, name_id: edge.subject_id})
  MATCH (o:Entity {org_id: $org_id, user_id: $user_id, name_id: edge.object_id})
  MERGE (s)-[r:RELATED {memory_id: edge.memory_id, position: edge.position}]->(o)
  SET r.type = edge.type
}

// name: most_mentioned
// Entities by how many live memories mention them; those that none mentions are left out.
MATCH (e:Entity)
USING INDEX SEEK e:Entity(org_id, user_id, entity_id)
WHERE e.org_id = $org_id AND e.user_id = $user_id AND e.entity_id IS NOT NULL
  AND ($entity_ids IS NULL OR e.entity_id IN $entity_ids)
MATCH (m:Memory)-[:MENTIONS]->(e)
WHERE m.head_of IS NOT NULL AND NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $now)
WITH e.entity_id AS entity_id, count(DISTINCT m) AS total
ORDER BY total DESC, entity_id SKIP $skip LIMIT $limit
MATCH (n:Entity {org_id: $org_id, user_id: $user_id, entity_id: entity_id})
USING INDEX SEEK n:Entity(org_id, user_id, entity_id)
WITH entity_id, total, n, COUNT {
  MATCH (m:Memory)-[:MENTIONS]->(n)
  WHERE m.head_of IS NOT NULL AND NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $now)
} AS memories
RETURN entity_id, total, n.name_id AS name_id, n.name AS name, memories
ORDER BY total DESC, entity_id, memories DESC, name_id

// name: entities_of_names
UNWIND $name_ids AS id
MATCH (e:Entity {org_id: $org_id, user_id: $user_id, name_id: id})
RETURN e.name_id AS name_id, e.entity_id AS entity_id

// name: names_of
UNWIND $entity_ids AS id
MATCH (e:Entity {org_id: $org_id, user_id: $user_id, entity_id: id})
USING INDEX SEEK e:Entity(org_id, user_id, entity_id)
RETURN e.name_id AS name_id, e.entity_id AS entity_id
ORDER BY entity_id, name_id

// name: mentioning
// Live memories that mention these entities, of each entity the newest; of one time in the order
// of the texts' hashes, which other stores of the same memories share.
UNWIND $entity_ids AS id
CALL (id) {
  MATCH (e:Entity {org_id: $org_id, user_id: $user_id, entity_id: id})
  USING INDEX SEEK e:Entity(org_id, user_id, entity_id)
  MATCH (m:Memory)-[:MENTIONS]->(e)
  WHERE m.head_of IS NOT NULL AND NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $now)
    AND ($agent_id IS NULL OR m.agent_id = $agent_id)
  WITH DISTINCT m
  ORDER BY m.obtained_at DESC, m.content_hash, m.memory_id LIMIT $each
  RETURN m.memory_id AS memory_id, m.obtained_at AS obtained_at, m.content_hash AS content_hash
}
RETURN memory_id, id AS entity_id
ORDER BY entity_id, obtained_at DESC, content_hash, memory_id

// name: mentioned
// Entities that these memories mention, with the number of live memories that do.
UNWIND $memory_ids AS id
MATCH (:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})-[:MENTIONS]->(n:Entity)
WITH id AS memory_id, n.entity_id AS entity_id, min(n.name) AS name
WITH entity_id, collect([memory_id, name]) AS mentions
CALL (entity_id) {
  MATCH (e:Entity {org_id: $org_id, user_id: $user_id, entity_id: entity_id})
  USING INDEX SEEK e:Entity(org_id, user_id, entity_id)
  MATCH (m:Memory)-[:MENTIONS]->(e)
  WHERE m.head_of IS NOT NULL AND NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $now)
  RETURN count(DISTINCT m) AS memories
}
UNWIND mentions AS mention
WITH mention[0] AS memory_id, mention[1] AS name, entity_id, memories
RETURN memory_id, entity_id, memories, name
ORDER BY memory_id, entity_id

// name: relations
// What live memories say about an entity and another, newest first.
MATCH (e:Entity {org_id: $org_id, user_id: $user_id, entity_id: $entity_id})
USING INDEX SEEK e:Entity(org_id, user_id, entity_id)
MATCH (e)-[r:RELATED]-(:Entity)
WITH DISTINCT r
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: r.memory_id})
WHERE m.head_of IS NOT NULL AND NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $now)
RETURN m.memory_id AS memory_id, r.position AS position, startNode(r).entity_id AS subject_id,
  endNode(r).entity_id AS object_id, m.relations AS relations
ORDER BY m.obtained_at DESC, memory_id DESC, position
LIMIT $limit

// name: move
// Names change their entity because somebody said so.
UNWIND $moves AS move
MATCH (e:Entity {org_id: $org_id, user_id: $user_id, name_id: move.name_id})
SET e.entity_id = move.entity_id, e.decided = true
RETURN count(*) AS moved
