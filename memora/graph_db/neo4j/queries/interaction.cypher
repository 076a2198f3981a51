// name: find_interaction
// By id, or else by the caller's id.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
OPTIONAL MATCH (own:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $id})
OPTIONAL MATCH (external:Interaction {org_id: $org_id, user_id: $user_id, external_id: $id})
WITH coalesce(own, external) AS i
WHERE i IS NOT NULL
RETURN i {.*} AS interaction

// name: list_interactions
// B66: the page is cut in the order that it is returned in.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (i:Interaction)
  USING INDEX SEEK i:Interaction(org_id, user_id, updated_at, interaction_id)
  WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.updated_at IS NOT NULL
    AND i.interaction_id IS NOT NULL
  WITH i
  ORDER BY i.org_id DESC, i.user_id DESC, i.updated_at DESC, i.interaction_id
  SKIP $skip LIMIT $limit
  RETURN i
}
RETURN i {.*} AS interaction
ORDER BY i.updated_at DESC, i.interaction_id

// name: read_messages
// A range of positions by index: nobody walks a chain (B39), and the order is explicit (B27).
// Columns, not maps: a long transcript would repeat the names of its properties.
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= $start AND s.position < $end
RETURN s.position AS position, s.role AS role, s.content AS content, s.prefix_hash AS prefix_hash,
  s.name AS name, s.timestamp AS timestamp, s.data AS data
ORDER BY s.org_id, s.user_id, s.interaction_id, s.position

// name: read_prefix_hashes
// As one list: a transcript has up to 100,000 messages.
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= 0
WITH s ORDER BY s.org_id, s.user_id, s.interaction_id, s.position
RETURN collect(s.prefix_hash) AS hashes

// name: read_speakers
// Names in the first messages of the interactions that changed last.
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (i:Interaction)
  USING INDEX SEEK i:Interaction(org_id, user_id, updated_at, interaction_id)
  WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.updated_at IS NOT NULL
    AND i.interaction_id IS NOT NULL
  WITH i
  ORDER BY i.org_id DESC, i.user_id DESC, i.updated_at DESC, i.interaction_id
  LIMIT $interactions
  RETURN i.interaction_id AS interaction_id
}
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= 0 AND s.position < $messages AND s.name IS NOT NULL
RETURN DISTINCT s.name AS name

// name: sourced_from
// Memories that came from messages of these interactions.
UNWIND $interaction_ids AS id
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= 0
MATCH (m:Memory)-[:SOURCED_FROM]->(s)
RETURN DISTINCT m.memory_id AS memory_id

// name: pick_interactions
// The next interactions to erase; no ids: any of the user.
MATCH (i:Interaction)
USING INDEX SEEK i:Interaction(org_id, user_id, interaction_id)
WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.interaction_id IS NOT NULL
RETURN i.interaction_id AS interaction_id, i.message_count AS message_count
LIMIT $batch

// name: pick_named_interactions
UNWIND $interaction_ids AS id
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: id})
RETURN i.interaction_id AS interaction_id, i.message_count AS message_count
LIMIT $batch

// name: obtained_in
// Versions obtained in these interactions.
UNWIND $interaction_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, interaction_id: id})
USING INDEX SEEK m:Memory(org_id, user_id, interaction_id, obtained_at, memory_id)
WHERE m.obtained_at IS NOT NULL AND m.memory_id IS NOT NULL
RETURN m.memory_id AS memory_id

// name: erase_interactions
// With their messages and jobs, each found by index.
UNWIND $interaction_ids AS id
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: id})
CALL (id) {
  MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: id})
  USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
  WHERE s.position >= 0
  DETACH DELETE s
  RETURN count(*) AS messages
}
CALL (id) {
  MATCH (j:Job {org_id: $org_id, user_id: $user_id, interaction_id: id})
  USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
  DETACH DELETE j
  RETURN count(*) AS jobs
}
CALL (id) {
  MATCH (part:ImportChange {org_id: $org_id, user_id: $user_id, interaction_id: id})
  USING INDEX SEEK part:ImportChange(org_id, user_id, interaction_id)
  DELETE part
}
DETACH DELETE i
RETURN count(*) AS interactions, sum(messages) AS messages, sum(jobs) AS jobs
