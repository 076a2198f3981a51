// name: begin_import
// Under the user's lock. An import that is there goes on, unless it was taken back or is another
// user's; its row tells.
MERGE (run:Import {org_id: $org_id, import_id: $import_id})
ON CREATE SET run += $run
WITH run, run.user_id = $user_id AND NOT run.status IN ['undoing', 'undone'] AS goes_on
FOREACH (_ IN CASE WHEN goes_on THEN [1] ELSE [] END |
  SET run.status = 'running', run.finished_at = null, run.failed = 0, run.skipped = 0
)
RETURN run {.*} AS run, goes_on

// name: note_import
MATCH (run:Import {org_id: $org_id, import_id: $import_id})
WHERE run.user_id = $user_id
SET run.lock = true
WITH run
WHERE NOT run.status IN ['undoing', 'undone']
SET run.conversations = run.conversations + $conversations,
  run.memories = run.memories + $memories, run.failed = run.failed + $failed,
  run.skipped = run.skipped + $skipped
RETURN run.import_id AS import_id

// name: count_written
MATCH (run:Import {org_id: $org_id, import_id: $import_id})
WHERE run.user_id = $user_id
SET run.lock = true
WITH run
SET run.conversations = run.conversations + $conversations, run.memories = run.memories + $memories

// name: finish_import
MATCH (run:Import {org_id: $org_id, import_id: $import_id})
WHERE run.user_id = $user_id
SET run.lock = true
WITH run
WHERE run.status = 'running'
SET run.status = $status, run.finished_at = $now

// name: mark_import
MATCH (run:Import {org_id: $org_id, import_id: $import_id})
WHERE run.user_id = $user_id
SET run.status = $status, run.finished_at = coalesce(run.finished_at, $now)

// name: find_import
// Not of a user that is being erased.
MATCH (run:Import {org_id: $org_id, import_id: $import_id})
WHERE EXISTS {
  MATCH (u:User {org_id: $org_id, user_id: run.user_id}) WHERE u.erasing IS NULL
}
RETURN run {.*} AS run

// name: list_imports
MATCH (i:Import)
USING INDEX SEEK i:Import(org_id, started_at, import_id)
WHERE i.org_id = $org_id AND i.started_at IS NOT NULL AND i.import_id IS NOT NULL
  AND EXISTS { MATCH (u:User {org_id: $org_id, user_id: i.user_id}) WHERE u.erasing IS NULL }
RETURN i {.*} AS run
ORDER BY i.org_id DESC, i.started_at DESC, i.import_id DESC
SKIP $skip LIMIT $limit

// name: list_imports_of_user
MATCH (u:User {org_id: $org_id, user_id: $user_id})
WHERE u.erasing IS NULL
CALL () {
  MATCH (i:Import)
  USING INDEX SEEK i:Import(org_id, user_id, started_at, import_id)
  WHERE i.org_id = $org_id AND i.user_id = $user_id AND i.started_at IS NOT NULL
    AND i.import_id IS NOT NULL
  WITH i
  ORDER BY i.org_id DESC, i.user_id DESC, i.started_at DESC, i.import_id DESC
  SKIP $skip LIMIT $limit
  RETURN i
}
RETURN i {.*} AS run
ORDER BY i.started_at DESC, i.import_id DESC

// name: cut_off
// The messages from position $keep on, with what they are sources of.
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= $keep
RETURN s {.*, sources: COLLECT {
  MATCH (m:Memory)-[link:SOURCED_FROM]->(s)
  RETURN {memory_id: m.memory_id, said_at: link.said_at} ORDER BY m.memory_id
}} AS message
ORDER BY s.position

// name: put_change
MERGE (part:ImportChange {
  org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id, import_id: $import_id
})
SET part.revision = $revision, part.found = $found

// name: some_conversations
// The next ones that the import wrote to, with their sizes.
MATCH (part:ImportChange)
USING INDEX SEEK part:ImportChange(org_id, user_id, import_id, interaction_id)
WHERE part.org_id = $org_id AND part.user_id = $user_id AND part.import_id = $import_id
  AND part.interaction_id > $after
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: part.interaction_id})
RETURN i.interaction_id AS interaction_id, i.message_count AS message_count
ORDER BY interaction_id
LIMIT $limit

// name: chains_of_import
// Chains with versions of the import obtained in these conversations, or with sources among the
// messages that it wrote there.
UNWIND $interaction_ids AS id
CALL (id) {
  MATCH (m:Memory {org_id: $org_id, user_id: $user_id, interaction_id: id})
  USING INDEX SEEK m:Memory(org_id, user_id, interaction_id, obtained_at, memory_id)
  WHERE m.obtained_at IS NOT NULL AND m.memory_id IS NOT NULL AND m.import_id = $import_id
  RETURN m.chain_id AS chain_id
  UNION
  MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: id})
  USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
  WHERE s.position >= 0 AND s.import_id = $import_id
  MATCH (m:Memory)-[:SOURCED_FROM]->(s)
  RETURN m.chain_id AS chain_id
}
RETURN DISTINCT chain_id
ORDER BY chain_id

// name: read_places
// As in withdraw.cypher; `import_id` of a source is of the import that wrote the message.
UNWIND $chain_ids AS chain_id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, chain_id: chain_id})
USING INDEX SEEK m:Memory(org_id, user_id, chain_id)
RETURN m {.memory_id, .chain_id, .obtained_at, .recorded_at, .superseded_at, .successor_id,
  .source_role, .content_hash, .interaction_id, .agent_id, .import_id, .process_id, .author,
  .pinned, .archived, .stated_at, .stated_role} AS version,
  COLLECT {
    MATCH (m)-[link:SOURCED_FROM]->(s:Message)<-[:HAS_MESSAGE]-(i:Interaction)
    RETURN {interaction_id: i.interaction_id, position: s.position, role: s.role,
      prefix_hash: s.prefix_hash, agent_id: i.agent_id, import_id: s.import_id,
      process_id: i.process_id, said_at: coalesce(link.said_at, s.timestamp)}
    ORDER BY s.interaction_id, s.position
  } AS sources

// name: read_conversations
// Each with the parts that imports have in it, its jobs, and who wrote its messages: of each writer
// the last position.
UNWIND $interaction_ids AS id
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: id})
RETURN i {.*} AS interaction,
  COLLECT {
    MATCH (part:ImportChange {org_id: $org_id, user_id: $user_id, interaction_id: id})
    USING INDEX SEEK part:ImportChange(org_id, user_id, interaction_id)
    RETURN part {.import_id, .interaction_id, .revision, .found}
  } AS parts,
  COLLECT {
    MATCH (j:Job {org_id: $org_id, user_id: $user_id, interaction_id: id})
    USING INDEX SEEK j:Job(org_id, user_id, interaction_id)
    RETURN j {.*}
  } AS jobs,
  COLLECT {
    MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: id})
    USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
    WHERE s.position >= 0
    WITH s.import_id AS import_id, max(s.position) AS last
    RETURN {import_id: import_id, last: last}
  } AS writers

// name: delete_jobs
UNWIND $job_ids AS id
MATCH (j:Job {org_id: $org_id, job_id: id})
WHERE j.user_id = $user_id
DETACH DELETE j

// name: leave_interactions
// What was made by hand of a memory of these conversations stays without them.
UNWIND $interaction_ids AS id
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, interaction_id: id})
USING INDEX SEEK m:Memory(org_id, user_id, interaction_id, obtained_at, memory_id)
WHERE m.obtained_at IS NOT NULL AND m.memory_id IS NOT NULL
SET m.interaction_id = null
RETURN m.memory_id AS memory_id

// name: undone
// Which of these imports were taken back.
UNWIND $import_ids AS id
MATCH (run:Import {org_id: $org_id, import_id: id})
WHERE run.user_id = $user_id AND run.status IN ['undoing', 'undone']
RETURN run.import_id AS import_id

// name: drop_messages
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= $keep
DETACH DELETE s

// name: restore_interaction
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
SET i += $interaction
WITH i
UNWIND $messages AS message
CREATE (i)-[:HAS_MESSAGE]->(s:Message)
SET s = message

// name: restore_sources
UNWIND $sources AS source
MATCH (m:Memory {org_id: $org_id, user_id: $user_id, memory_id: source.memory_id})
MATCH (s:Message {
  org_id: $org_id, user_id: $user_id,
  interaction_id: $interaction_id, position: source.position
})
MERGE (m)-[link:SOURCED_FROM]->(s)
ON CREATE SET link.said_at = source.said_at

// name: hand_over
MATCH (i:Interaction {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
SET i.import_id = CASE WHEN i.import_id = $import_id THEN $heir ELSE i.import_id END
WITH i
MATCH (s:Message {org_id: $org_id, user_id: $user_id, interaction_id: $interaction_id})
USING INDEX SEEK s:Message(org_id, user_id, interaction_id, position)
WHERE s.position >= 0 AND s.import_id = $import_id
SET s.import_id = $heir

// name: delete_change
MATCH (part:ImportChange {
  org_id: $org_id, user_id: $user_id, import_id: $import_id, interaction_id: $interaction_id
})
DELETE part

// name: count_keys
MATCH (k:IdempotencyKey)
USING INDEX SEEK k:IdempotencyKey(org_id, user_id, import_id)
WHERE k.org_id = $org_id AND k.user_id = $user_id AND k.import_id = $import_id
RETURN count(*) AS number

// name: delete_keys
MATCH (k:IdempotencyKey)
USING INDEX SEEK k:IdempotencyKey(org_id, user_id, import_id)
WHERE k.org_id = $org_id AND k.user_id = $user_id AND k.import_id = $import_id
WITH k LIMIT $limit
DELETE k
RETURN count(*) AS number
