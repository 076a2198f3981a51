-- Each query returns the violations of one rule as (invariant, record id, what is wrong). They read
-- whole tables and all organizations: this is maintenance.

-- name: positions
-- Positions are 0 to n - 1, and n is what the interaction says.
SELECT 'I2', interaction.interaction_id, 'positions are not 0 to message_count - 1'
FROM interaction
LEFT JOIN message
  ON message.org_id = interaction.org_id AND message.interaction_id = interaction.interaction_id
GROUP BY interaction.org_id, interaction.interaction_id
HAVING count(message.position) <> interaction.message_count
  OR coalesce(min(message.position), 0) <> 0
  OR coalesce(max(message.position) + 1, 0) <> interaction.message_count;

-- name: tail_hash
SELECT 'I2', interaction.interaction_id, 'content_hash is not that of the last message'
FROM interaction
LEFT JOIN message AS last
  ON last.org_id = interaction.org_id
  AND last.interaction_id = interaction.interaction_id
  AND last.position = interaction.message_count - 1
WHERE coalesce(last.prefix_hash, '') <> interaction.content_hash;

-- name: stray_messages
SELECT DISTINCT 'I2', message.interaction_id, 'messages without an interaction'
FROM message
WHERE NOT EXISTS (
  SELECT 1 FROM interaction
  WHERE interaction.org_id = message.org_id
    AND interaction.interaction_id = message.interaction_id
);

-- name: interaction_without_user
SELECT 'I3', interaction.interaction_id, 'its user does not exist'
FROM interaction
WHERE NOT EXISTS (
  SELECT 1 FROM user
  WHERE user.org_id = interaction.org_id AND user.user_id = interaction.user_id
);

-- name: memory_without_user
SELECT 'I3', memory.memory_id, 'its user does not exist'
FROM memory
WHERE NOT EXISTS (
  SELECT 1 FROM user WHERE user.org_id = memory.org_id AND user.user_id = memory.user_id
);

-- name: memory_without_interaction
SELECT 'I3', memory.memory_id, 'its interaction does not exist for its user'
FROM memory
WHERE memory.interaction_id IS NOT NULL
  AND NOT EXISTS (
    SELECT 1 FROM interaction
    WHERE interaction.org_id = memory.org_id
      AND interaction.interaction_id = memory.interaction_id
      AND interaction.user_id = memory.user_id
  );

-- name: memory_without_agent
SELECT 'I3', memory.memory_id, 'its agent does not exist'
FROM memory
WHERE memory.agent_id IS NOT NULL
  AND NOT EXISTS (
    SELECT 1 FROM agent
    WHERE agent.org_id = memory.org_id AND agent.agent_id = memory.agent_id
  );

-- name: forks
SELECT 'I4', successor_id, 'has more than one predecessor'
FROM memory
WHERE successor_id IS NOT NULL
GROUP BY org_id, successor_id
HAVING count(*) > 1;

-- name: heads
SELECT 'I4', chain_id, 'the chain has more than one current version'
FROM memory
WHERE superseded_at IS NULL
GROUP BY org_id, chain_id
HAVING count(*) > 1;

-- name: current_with_successor
SELECT 'I4', memory_id, 'is current and has a successor'
FROM memory
WHERE superseded_at IS NULL AND successor_id IS NOT NULL;

-- name: successors
-- A successor exists, belongs to the same user and chain, and is not older.
SELECT 'I4', memory.memory_id,
  CASE
    WHEN later.memory_id IS NULL THEN 'its successor does not exist'
    WHEN later.user_id <> memory.user_id THEN 'its successor belongs to another user'
    WHEN later.chain_id <> memory.chain_id THEN 'its successor is in another chain'
    WHEN later.obtained_at < memory.obtained_at THEN 'its successor is older'
    ELSE 'it was still current when its successor began'
  END
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
SELECT 'I4', chain_id, 'the versions of the chain are not linked to each other'
FROM memory
GROUP BY org_id, chain_id
HAVING count(*) FILTER (WHERE successor_id IS NULL) > 1;

-- name: tenants
SELECT 'I4', chain_id, 'the chain has versions of more than one user'
FROM memory
GROUP BY org_id, chain_id
HAVING min(user_id) <> max(user_id);

-- name: cycles
-- Whoever is not reached by going back from a version without (existing) successor is in a cycle.
WITH RECURSIVE reached (org_id, memory_id) AS (
  SELECT org_id, memory_id FROM memory
  WHERE successor_id IS NULL
    OR NOT EXISTS (
      SELECT 1 FROM memory AS later
      WHERE later.org_id = memory.org_id AND later.memory_id = memory.successor_id
    )
  UNION
  SELECT earlier.org_id, earlier.memory_id
  FROM reached
  JOIN memory AS earlier
    ON earlier.org_id = reached.org_id AND earlier.successor_id = reached.memory_id
)
SELECT 'I4', memory_id, 'is in a cycle'
FROM memory
WHERE (org_id, memory_id) NOT IN (SELECT org_id, memory_id FROM reached);

-- name: sources
SELECT 'I10', source.memory_id, 'a source is not a message of its user'
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

-- name: memory_times
SELECT 'I13', memory_id, 'its times are out of order or outside the calendar'
FROM memory
WHERE superseded_at < obtained_at
  OR min(obtained_at, recorded_at, coalesce(superseded_at, 0)) < -62135596800000000
  OR max(obtained_at, recorded_at, coalesce(superseded_at, 0)) > 253402300799999999;

-- name: interaction_times
SELECT 'I13', interaction_id, 'its times are out of order or outside the calendar'
FROM interaction
WHERE last_activity_at < created_at
  OR min(created_at, updated_at) < -62135596800000000
  OR max(last_activity_at, updated_at) > 253402300799999999;

-- name: job_times
SELECT 'I13', job_id, 'it was changed before it was created' FROM job WHERE updated_at < created_at;

-- name: stamp
SELECT 'I20', 'schema', 'the schema is stamped as ' || user_version
FROM pragma_user_version, pragma_application_id
WHERE user_version <> 2 OR application_id <> 0x6d656d67;
