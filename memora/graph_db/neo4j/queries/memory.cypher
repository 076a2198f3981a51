// name: read_memories
// Exactly these versions. Here and below: a user that is being erased answers like a missing one
// from the mark on, and sources are optional (B52), in a stated order (B27).
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
WHERE $agent_id IS NULL OR m.agent_id = $agent_id
RETURN id, m {.*,
  supersedes: head([(m)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id]),
  sources: COLLECT {
    MATCH (m)-[:SOURCED_FROM]->(s:Message)
    RETURN s {.position, .role, .content, .name, .timestamp, .data}
    ORDER BY s.interaction_id, s.position
  }
} AS memory

// name: resolve_current
// The head of each id's chain; a chain without one answers nothing.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
MATCH (head:Memory {org_id: $org_id, user_id: $user_id, head_of: m.chain_id})
RETURN id, head {.*,
  supersedes: head([(head)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id]),
  sources: COLLECT {
    MATCH (head)-[:SOURCED_FROM]->(s:Message)
    RETURN s {.position, .role, .content, .name, .timestamp, .data}
    ORDER BY s.interaction_id, s.position
  }
} AS memory

// name: resolve_as_of
// The version of each id's chain that was valid at that time.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
MATCH (valid:Memory {org_id: $org_id, user_id: $user_id, chain_id: m.chain_id})
USING INDEX SEEK valid:Memory(org_id, user_id, chain_id)
WHERE valid.obtained_at <= $as_of
  AND (valid.superseded_at IS NULL OR $as_of < valid.superseded_at)
RETURN id, valid {.*,
  supersedes: head([(valid)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id]),
  sources: COLLECT {
    MATCH (valid)-[:SOURCED_FROM]->(s:Message)
    RETURN s {.position, .role, .content, .name, .timestamp, .data}
    ORDER BY s.interaction_id, s.position
  }
} AS memory

// name: read_chains
// All versions of each id's chain, from any version on, older or newer (B53).
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
WITH m.chain_id AS chain_id, collect(DISTINCT id) AS ids
MATCH (v:Memory {org_id: $org_id, user_id: $user_id, chain_id: chain_id})
USING INDEX SEEK v:Memory(org_id, user_id, chain_id)
RETURN ids, v {.*,
  supersedes: head([(v)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id]),
  sources: COLLECT {
    MATCH (v)-[:SOURCED_FROM]->(s:Message)
    RETURN s {.position, .role, .content, .name, .timestamp, .data}
    ORDER BY s.interaction_id, s.position
  }
} AS memory

// name: read_contexts
// What was said right before the first message that each of these memories came from.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
CALL (m) {
  MATCH (m)-[:SOURCED_FROM]->(s:Message)
  RETURN s ORDER BY s.interaction_id, s.position LIMIT 1
}
CALL (s) {
  MATCH (earlier:Message {
    org_id: $org_id, user_id: $user_id, interaction_id: s.interaction_id
  })
  USING INDEX SEEK earlier:Message(org_id, user_id, interaction_id, position)
  WHERE earlier.position >= s.position - $reach AND earlier.position < s.position
    AND earlier.role IN ['user', 'assistant'] AND earlier.content IS NOT NULL
  RETURN earlier.content AS content ORDER BY earlier.position DESC LIMIT 1
}
RETURN id, content

// name: list_memories
// A page from ($at, $id) downwards; `$live_at` given: without what is expired then, or archived.
// Here and elsewhere SEEK keeps the planner from scanning the index of all tenants, CASE from
// reading a page in two parts, and an order that names all keys from sorting more than the page.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (m:Memory)
  USING INDEX SEEK m:Memory(org_id, user_id, obtained_at, memory_id)
  WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.obtained_at <= $at
    AND m.memory_id IS NOT NULL
    AND CASE WHEN m.obtained_at = $at THEN m.memory_id < $id ELSE true END
    AND (NOT $current_only OR m.head_of IS NOT NULL)
    AND ($standing IS NULL OR m.pinned OR m.memory_type IN $standing)
    AND ($live_at IS NULL
      OR (NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $live_at)))
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

// name: list_memories_of_agent
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (m:Memory)
  USING INDEX SEEK m:Memory(org_id, user_id, agent_id, obtained_at, memory_id)
  WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.agent_id = $agent_id
    AND m.obtained_at <= $at
    AND m.memory_id IS NOT NULL
    AND CASE WHEN m.obtained_at = $at THEN m.memory_id < $id ELSE true END
    AND (NOT $current_only OR m.head_of IS NOT NULL)
    AND ($standing IS NULL OR m.pinned OR m.memory_type IN $standing)
    AND ($live_at IS NULL
      OR (NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $live_at)))
  WITH m
  ORDER BY m.org_id DESC, m.user_id DESC, m.agent_id DESC, m.obtained_at DESC, m.memory_id DESC
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

// name: list_memories_of_interaction
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (m:Memory)
  USING INDEX SEEK m:Memory(org_id, user_id, interaction_id, obtained_at, memory_id)
  WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.interaction_id = $interaction_id
    AND m.obtained_at <= $at
    AND m.memory_id IS NOT NULL
    AND CASE WHEN m.obtained_at = $at THEN m.memory_id < $id ELSE true END
    AND ($agent_id IS NULL OR m.agent_id = $agent_id)
    AND (NOT $current_only OR m.head_of IS NOT NULL)
    AND ($standing IS NULL OR m.pinned OR m.memory_type IN $standing)
    AND ($live_at IS NULL
      OR (NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $live_at)))
  WITH m
  ORDER BY m.org_id DESC, m.user_id DESC, m.interaction_id DESC, m.obtained_at DESC,
    m.memory_id DESC
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

// name: list_memories_of_organization
// All users' memories, for administration.
CALL () {
  MATCH (m:Memory)
  USING INDEX SEEK m:Memory(org_id, obtained_at, memory_id)
  WHERE m.org_id = $org_id AND m.obtained_at <= $at
    AND m.memory_id IS NOT NULL
    AND CASE WHEN m.obtained_at = $at THEN m.memory_id < $id ELSE true END
    AND ($agent_id IS NULL OR m.agent_id = $agent_id)
    AND ($interaction_id IS NULL OR m.interaction_id = $interaction_id)
    AND (NOT $current_only OR m.head_of IS NOT NULL)
    AND ($standing IS NULL OR m.pinned OR m.memory_type IN $standing)
    AND ($live_at IS NULL
      OR (NOT m.archived AND (m.expires_at IS NULL OR m.expires_at > $live_at)))
    AND EXISTS {
      MATCH (u:User {org_id: $org_id, user_id: m.user_id}) WHERE u.erasing IS NULL
    }
  WITH m
  ORDER BY m.org_id DESC, m.obtained_at DESC, m.memory_id DESC
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

// name: find_current_by_hash
// Heads only (B56); oldest first, so that a mapping keeps the newest of equal statements.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
UNWIND $hashes AS hash
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, content_hash: hash})
USING INDEX SEEK m:Memory(org_id, user_id, content_hash)
WHERE m.head_of IS NOT NULL AND ($agent_id IS NULL OR m.agent_id = $agent_id)
RETURN m {.*,
  supersedes: head([(m)<-[:SUPERSEDED_BY]-(before:Memory) | before.memory_id]),
  sources: COLLECT {
    MATCH (m)-[:SOURCED_FROM]->(s:Message)
    RETURN s {.position, .role, .content, .name, .timestamp, .data}
    ORDER BY s.interaction_id, s.position
  }
} AS memory
ORDER BY m.obtained_at, m.memory_id

// name: find_tombstones
UNWIND $marks AS mark
MATCH (t:Tombstone {org_id: $org_id, user_id: $user_id, mark: mark})
RETURN t.mark AS mark

// name: pick_memories
// The next versions to purge when all of the user go.
MATCH (m:Memory)
USING INDEX SEEK m:Memory(org_id, user_id, memory_id)
WHERE m.org_id = $org_id AND m.user_id = $user_id AND m.memory_id IS NOT NULL
RETURN m.memory_id AS memory_id
LIMIT $batch

// name: pick_named_memories
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
RETURN m.memory_id AS memory_id

// name: links_of_chains
// All versions of the chains that these belong to, as far as relinking needs them.
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
WITH DISTINCT m.chain_id AS chain_id
MATCH (v:Memory {org_id: $org_id, user_id: $user_id, chain_id: chain_id})
USING INDEX SEEK v:Memory(org_id, user_id, chain_id)
RETURN chain_id, v.memory_id AS memory_id, v.successor_id AS successor_id

// name: sources_of
// What tombstones are made of (B55).
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})-[:SOURCED_FROM]->(s:Message)
RETURN s.prefix_hash AS prefix_hash, m.content_hash AS content_hash

// name: delete_memories
// With what they say about two entities, and the names that no other memory has.
UNWIND $memory_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: id})
CALL (m) {
  MATCH (m)-[:MENTIONS]->(:Entity)-[r:RELATED {memory_id: m.memory_id}]->(:Entity)
  DELETE r
}
WITH m, COLLECT { MATCH (m)-[:MENTIONS]->(e:Entity) RETURN e } AS named
DETACH DELETE m
WITH named
UNWIND named AS e
WITH DISTINCT e
WHERE NOT EXISTS { MATCH (:Memory)-[:MENTIONS]->(e) }
DETACH DELETE e

// name: relink
// After the purged ones are gone: nobody may have their successors while they are there.
UNWIND $links AS link
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.memory_id})
SET m.successor_id = link.successor_id
WITH m, link
MATCH (next:Memory {org_id: $org_id, user_id: $user_id, memory_id: link.successor_id})
CREATE (m)-[:SUPERSEDED_BY]->(next)

// name: bury
UNWIND $marks AS mark
MERGE (t:Tombstone {org_id: $org_id, user_id: $user_id, mark: mark})
ON CREATE SET t.purged_at = $now
