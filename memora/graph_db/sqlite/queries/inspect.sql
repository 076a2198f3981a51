-- Each query returns the violations of one rule as (invariant, kind, organization, user, record id,
-- what is wrong, whether it keeps records from being read). They read whole tables and all
-- organizations: this is maintenance. Times come as parameters: the calendar's :first and :last,
-- :ahead, after which no store time lies, and :wait, after which nobody leases or waits.

-- name: positions
-- Positions are 0 to n - 1, and n is what the interaction says.
SELECT 'I2', 'damaged_transcript', interaction.org_id, interaction.user_id,
  interaction.interaction_id, 'positions are not 0 to message_count - 1', 0
FROM interaction
LEFT JOIN message
  ON message.org_id = interaction.org_id AND message.interaction_id = interaction.interaction_id
GROUP BY interaction.org_id, interaction.interaction_id
HAVING count(message.position) <> interaction.message_count
  OR coalesce(min(message.position), 0) <> 0
  OR coalesce(max(message.position) + 1, 0) <> interaction.message_count;

-- name: tail_hash
SELECT 'I2', 'damaged_transcript', interaction.org_id, interaction.user_id,
  interaction.interaction_id, 'content_hash is not that of the last message', 0
FROM interaction
LEFT JOIN message AS last
  ON last.org_id = interaction.org_id
  AND last.interaction_id = interaction.interaction_id
  AND last.position = interaction.message_count - 1
WHERE coalesce(last.prefix_hash, '') <> interaction.content_hash;

-- name: stray_messages
SELECT DISTINCT 'I2', 'missing_owner', message.org_id, NULL, message.interaction_id,
  'messages without an interaction', 0
FROM message
WHERE NOT EXISTS (
  SELECT 1 FROM interaction
  WHERE interaction.org_id = message.org_id
    AND interaction.interaction_id = message.interaction_id
);

-- name: interaction_without_user
SELECT 'I3', 'missing_owner', org_id, user_id, interaction_id, 'its user does not exist', 0
FROM interaction
WHERE NOT EXISTS (
  SELECT 1 FROM user
  WHERE user.org_id = interaction.org_id AND user.user_id = interaction.user_id
);

-- name: memory_without_user
SELECT 'I3', 'missing_owner', org_id, user_id, memory_id, 'its user does not exist', 0
FROM memory
WHERE NOT EXISTS (
  SELECT 1 FROM user WHERE user.org_id = memory.org_id AND user.user_id = memory.user_id
);

-- name: memory_without_interaction
SELECT 'I3', 'missing_owner', org_id, user_id, memory_id,
  'its interaction does not exist for its user', 0
FROM memory
WHERE memory.interaction_id IS NOT NULL
  AND NOT EXISTS (
    SELECT 1 FROM interaction
    WHERE interaction.org_id = memory.org_id
      AND interaction.interaction_id = memory.interaction_id
      AND interaction.user_id = memory.user_id
  );

-- name: missing_agents
-- Agents that memories, interactions or jobs name, each once.
SELECT 'I3', 'dangling_agent', named.org_id, NULL, named.agent_id,
  'records name an agent that does not exist', 0
FROM (
  SELECT org_id, agent_id FROM memory WHERE agent_id IS NOT NULL
  UNION
  SELECT org_id, agent_id FROM interaction WHERE agent_id IS NOT NULL
  UNION
  SELECT org_id, agent_id FROM job WHERE agent_id IS NOT NULL
) AS named
WHERE NOT EXISTS (
  SELECT 1 FROM agent
  WHERE agent.org_id = named.org_id AND agent.agent_id = named.agent_id
);

-- name: external_ids
-- The older one of two interactions keeps its external id.
SELECT 'I3', 'duplicate_key', org_id, user_id, interaction_id,
  'another interaction of the user has its external_id', 0
FROM (
  SELECT org_id, user_id, interaction_id, row_number() OVER (
    PARTITION BY org_id, user_id, external_id ORDER BY created_at, interaction_id
  ) AS place
  FROM interaction WHERE external_id IS NOT NULL
)
WHERE place > 1;

-- name: forks
SELECT 'I4', 'fork', org_id, min(user_id), successor_id, 'has more than one predecessor', 0
FROM memory
WHERE successor_id IS NOT NULL
GROUP BY org_id, successor_id
HAVING count(*) > 1;

-- name: heads
SELECT 'I4', 'two_heads', org_id, min(user_id), chain_id,
  'the chain has more than one current version', 0
FROM memory
WHERE superseded_at IS NULL
GROUP BY org_id, chain_id
HAVING count(*) > 1;

-- name: current_with_successor
SELECT 'I4', 'damaged_chain', org_id, user_id, memory_id, 'is current and has a successor', 0
FROM memory
WHERE superseded_at IS NULL AND successor_id IS NOT NULL;

-- name: successors
-- A successor exists, belongs to the same user and chain, and is not older.
SELECT 'I4',
  CASE
    WHEN later.memory_id IS NULL OR later.chain_id <> memory.chain_id THEN 'gap'
    ELSE 'damaged_chain'
  END,
  memory.org_id, memory.user_id, memory.memory_id,
  CASE
    WHEN later.memory_id IS NULL THEN 'its successor does not exist'
    WHEN later.user_id <> memory.user_id THEN 'its successor belongs to another user'
    WHEN later.chain_id <> memory.chain_id THEN 'its successor is in another chain'
    WHEN later.obtained_at < memory.obtained_at THEN 'its successor is older'
    ELSE 'it was still current when its successor began'
  END, 0
FROM memory
LEFT JOIN memory AS later
  ON later.org_id = memory.org_id AND later.memory_id = memory.successor_id
WHERE memory.successor_id IS NOT NULL
  AND (
    later.memory_id IS NULL
    OR later.user_id <> memory.user_id
    OR later.chain_id <> memory.chain_id
    OR later.obtained_at < memory.obtained_at
    OR memory.superseded_at > later.obtained_at
  );

-- name: gaps
-- Of the versions of a chain, exactly one has no successor.
SELECT 'I4', 'gap', org_id, min(user_id), chain_id,
  'the versions of the chain are not linked to each other', 0
FROM memory
GROUP BY org_id, chain_id
HAVING count(*) FILTER (WHERE successor_id IS NULL) > 1;

-- name: tenants
SELECT 'I4', 'damaged_chain', org_id, min(user_id), chain_id,
  'the chain has versions of more than one user', 0
FROM memory
GROUP BY org_id, chain_id
HAVING min(user_id) <> max(user_id);

-- name: links
-- What cycles are looked for in: the versions of every chain together, chain by chain, so that a
-- missing index on successors costs nothing.
SELECT org_id, chain_id, user_id, memory_id, successor_id FROM memory ORDER BY org_id, chain_id;

-- name: sources
SELECT 'I10', 'stray_source', source.org_id, memory.user_id, source.memory_id,
  'a source is not a message of its user', 0
FROM memory_source AS source
LEFT JOIN memory ON memory.org_id = source.org_id AND memory.memory_id = source.memory_id
LEFT JOIN interaction
  ON interaction.org_id = source.org_id AND interaction.interaction_id = source.interaction_id
LEFT JOIN message
  ON message.org_id = source.org_id
  AND message.interaction_id = source.interaction_id
  AND message.position = source.position
WHERE message.position IS NULL
  OR memory.memory_id IS NULL
  OR interaction.user_id IS NOT memory.user_id
GROUP BY source.org_id, source.memory_id;

-- name: stray_mentions
-- A link has its memory and its name, all of one user.
SELECT 'I3', 'stray_mention', mention.org_id, mention.user_id, mention.memory_id,
  'it is linked to a name that does not exist, or does not exist itself', 0
FROM mention
LEFT JOIN memory ON memory.org_id = mention.org_id AND memory.memory_id = mention.memory_id
LEFT JOIN main.entity AS named
  ON named.org_id = mention.org_id
  AND named.user_id = mention.user_id
  AND named.name_id = mention.name_id
WHERE named.name_id IS NULL OR memory.user_id IS NOT mention.user_id
GROUP BY mention.org_id, mention.user_id, mention.memory_id;

-- name: stray_relations
SELECT 'I3', 'stray_mention', r.org_id, r.user_id, r.memory_id,
  'what it relates is not what it mentions', 0
FROM relation AS r
WHERE (
  SELECT count(*) FROM mention
  WHERE mention.org_id = r.org_id
    AND mention.user_id = r.user_id
    AND mention.memory_id = r.memory_id
    AND mention.name_id IN (r.subject_id, r.object_id)
) < 2
GROUP BY r.org_id, r.user_id, r.memory_id;

-- name: unmentioned
-- I8: a name goes with the last memory that has it.
SELECT 'I8', 'stray_mention', named.org_id, named.user_id, named.name_id,
  'a name that no memory has', 0
FROM main.entity AS named
WHERE NOT EXISTS (
  SELECT 1 FROM mention
  WHERE mention.org_id = named.org_id
    AND mention.user_id = named.user_id
    AND mention.name_id = named.name_id
);

-- name: missing_mentions
SELECT 'I3', 'missing_mention', memory.org_id, memory.user_id, memory.memory_id,
  'it is not linked to what it names', 0
FROM memory
WHERE (memory.entities <> '[]' OR memory.relations IS NOT NULL)
  AND NOT EXISTS (
    SELECT 1 FROM mention
    WHERE mention.org_id = memory.org_id
      AND mention.user_id = memory.user_id
      AND mention.memory_id = memory.memory_id
  );

-- name: memory_times
SELECT 'I13', 'clock_regression', org_id, user_id, memory_id,
  CASE
    WHEN is_outside THEN 'its times are out of order or outside the calendar'
    WHEN recorded_at > :ahead THEN 'it was recorded in the future'
    ELSE 'its times are out of order or outside the calendar'
  END, is_outside
FROM (
  SELECT org_id, user_id, memory_id, obtained_at, recorded_at, superseded_at,
    min(
      obtained_at, recorded_at, coalesce(superseded_at, 0), coalesce(expires_at, 0),
      coalesce(last_accessed_at, 0)
    ) < :first
    OR max(
      obtained_at, recorded_at, coalesce(superseded_at, 0), coalesce(expires_at, 0),
      coalesce(last_accessed_at, 0)
    ) > :last AS is_outside
  FROM memory
)
WHERE is_outside OR superseded_at < obtained_at OR recorded_at > :ahead;

-- name: interaction_times
-- `updated_at` is the store's time; the others are the conversation's.
SELECT 'I13', 'clock_regression', org_id, user_id, interaction_id,
  CASE
    WHEN updated_at > :ahead THEN 'it was changed in the future'
    ELSE 'its times are out of order or outside the calendar'
  END,
  min(created_at, updated_at, last_activity_at) < :first
  OR max(created_at, updated_at, last_activity_at) > :last
FROM interaction
WHERE last_activity_at < created_at
  OR min(created_at, updated_at) < :first
  OR max(last_activity_at, created_at) > :last
  OR updated_at > :ahead;

-- name: job_times
SELECT 'I13', 'clock_regression', org_id, user_id, job_id,
  CASE
    WHEN updated_at < created_at THEN 'it was changed before it was created'
    ELSE 'it was created or changed in the future'
  END,
  created_at < :first OR max(created_at, updated_at) > :last
FROM job
WHERE updated_at < created_at OR created_at < :first OR max(created_at, updated_at) > :ahead;

-- name: owner_times
SELECT 'I13', 'clock_regression', org_id, user_id, record_id,
  'it was created in the future or outside the calendar', created_at < :first OR created_at > :last
FROM (
  SELECT org_id, NULL AS user_id, org_id AS record_id, created_at FROM organization
  UNION ALL
  SELECT org_id, user_id, user_id, created_at FROM user
  UNION ALL
  SELECT org_id, user_id, agent_id, created_at FROM agent
)
WHERE created_at < :first OR created_at > :ahead;

-- name: stuck_outbox
SELECT 'I5', 'stuck_outbox', org_id, nullif(user_id, ''), CAST(seq AS TEXT),
  CASE
    WHEN dead THEN 'vector work was given up'
    ELSE 'vector work waits or is leased for implausibly long'
  END,
  max(enqueued_at, not_before, coalesce(lease_until, 0)) > :last
FROM outbox
WHERE dead = 1 OR not_before > :wait OR lease_until > :wait;

-- name: stuck_jobs
SELECT 'I5', 'stuck_outbox', org_id, user_id, job_id,
  'a job is leased for implausibly long', lease_until > :last
FROM job
WHERE lease_until > :wait;

-- name: buried
-- What I12 is decided on: current memories of users that purged something, with the messages that
-- they come from, in the order of users and memories.
SELECT memory.org_id, memory.user_id, memory.memory_id, memory.content_hash, user.salt,
  message.prefix_hash, memory.recorded_at
FROM user
JOIN memory USING (org_id, user_id)
JOIN memory_source AS source USING (org_id, memory_id)
JOIN message
  ON message.org_id = source.org_id
  AND message.interaction_id = source.interaction_id
  AND message.position = source.position
WHERE memory.superseded_at IS NULL
  AND EXISTS (
    SELECT 1 FROM tombstone
    WHERE tombstone.org_id = user.org_id AND tombstone.user_id = user.user_id
  )
ORDER BY memory.org_id, memory.user_id, memory.memory_id;

-- name: marks
-- The tombstones of one user.
SELECT mark, purged_at FROM tombstone WHERE org_id = :org_id AND user_id = :user_id;

-- name: known_memories
-- Which of these memories exist for these owners.
SELECT memory.org_id, memory.user_id, memory.memory_id
FROM json_each(:keys) AS wanted
CROSS JOIN memory
  ON memory.org_id = json_extract(wanted.value, '$[0]')
  AND memory.memory_id = json_extract(wanted.value, '$[2]')
  AND memory.user_id = json_extract(wanted.value, '$[1]');
