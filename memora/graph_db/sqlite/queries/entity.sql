-- Names, who mentions them, and what is said about two of them. A live memory is current, not
-- expired and not archived.

-- name: known
-- Which of these names are there.
SELECT name_id FROM main.entity
WHERE org_id = :org_id AND user_id = :user_id
  AND name_id IN (SELECT value FROM json_each(:name_ids));

-- name: of_block
-- Names that may be misspellings of each other. What is wanted is asked of the table itself, as it
-- is stored there.
SELECT opened.entity_id, opened.name
FROM json_each(:blocks) AS wanted
CROSS JOIN main.entity AS found
  ON found.org_id = :org_id AND found.user_id = :user_id AND found.block = wanted.value
CROSS JOIN entity AS opened
  ON opened.org_id = found.org_id
  AND opened.user_id = found.user_id
  AND opened.name_id = found.name_id
LIMIT :limit;

-- name: insert
INSERT INTO main.entity (org_id, user_id, name_id, entity_id, block, name)
VALUES (:org_id, :user_id, :name_id, :entity_id, :block, :name);

-- name: mention
INSERT INTO main.mention (org_id, user_id, memory_id, name_id)
VALUES (:org_id, :user_id, :memory_id, :name_id)
ON CONFLICT DO NOTHING;

-- name: relate
INSERT INTO main.relation (org_id, user_id, memory_id, position, subject_id, object_id)
VALUES (:org_id, :user_id, :memory_id, :position, :subject_id, :object_id)
ON CONFLICT DO NOTHING;

-- name: most_mentioned
-- Entities by how many live memories mention them; those that none mentions are left out.
WITH counted AS (
  SELECT e.entity_id, count(DISTINCT m.memory_id) AS total
  FROM main.entity AS e
  CROSS JOIN mention
    ON mention.org_id = e.org_id AND mention.user_id = e.user_id AND mention.name_id = e.name_id
  CROSS JOIN main.memory AS m
    ON m.org_id = e.org_id AND m.memory_id = mention.memory_id
    AND m.superseded_at IS NULL AND m.archived = 0
    AND (m.expires_at IS NULL OR m.expires_at > :now)
  WHERE e.org_id = :org_id AND e.user_id = :user_id
    AND (:entity_ids IS NULL OR e.entity_id IN (SELECT value FROM json_each(:entity_ids)))
  GROUP BY e.entity_id
  ORDER BY total DESC, e.entity_id LIMIT :limit OFFSET :skip
)
SELECT wanted.entity_id, wanted.total, n.name_id, n.name,
  (
    SELECT count(*) FROM mention
    CROSS JOIN main.memory AS m
      ON m.org_id = mention.org_id AND m.memory_id = mention.memory_id
      AND m.superseded_at IS NULL AND m.archived = 0
      AND (m.expires_at IS NULL OR m.expires_at > :now)
    WHERE mention.org_id = n.org_id AND mention.user_id = n.user_id AND mention.name_id = n.name_id
  ) AS memories
FROM counted AS wanted
CROSS JOIN entity AS n
  ON n.org_id = :org_id AND n.user_id = :user_id AND n.entity_id = wanted.entity_id
ORDER BY wanted.total DESC, wanted.entity_id, memories DESC, n.name_id;

-- name: entities_of_names
SELECT name_id, entity_id FROM main.entity
WHERE org_id = :org_id AND user_id = :user_id
  AND name_id IN (SELECT value FROM json_each(:name_ids));

-- name: mentioning
-- Live memories that mention these entities, of each entity the newest; of one time in the order
-- of the texts' hashes, which other stores of the same memories share.
SELECT memory_id, entity_id FROM (
  SELECT memory_id, entity_id, row_number() OVER (
    PARTITION BY entity_id ORDER BY obtained_at DESC, content_hash, memory_id
  ) AS place
  FROM (
    SELECT DISTINCT m.memory_id, e.entity_id, m.obtained_at, m.content_hash
    FROM json_each(:entity_ids) AS wanted
    CROSS JOIN main.entity AS e
      ON e.org_id = :org_id AND e.user_id = :user_id AND e.entity_id = wanted.value
    CROSS JOIN mention
      ON mention.org_id = e.org_id AND mention.user_id = e.user_id AND mention.name_id = e.name_id
    CROSS JOIN memory AS m
      ON m.org_id = e.org_id AND m.memory_id = mention.memory_id
      AND m.superseded_at IS NULL AND m.archived = 0
      AND (m.expires_at IS NULL OR m.expires_at > :now)
      AND (:agent_id IS NULL OR m.agent_id = :agent_id)
  )
)
WHERE place <= :each
ORDER BY entity_id, place;

-- name: mentioned
-- Entities that these memories mention, with the number of live memories that do.
WITH named AS (
  SELECT wanted.value AS memory_id, e.entity_id, min(opened.name) AS name
  FROM json_each(:memory_ids) AS wanted
  CROSS JOIN mention
    ON mention.org_id = :org_id AND mention.user_id = :user_id
    AND mention.memory_id = wanted.value
  CROSS JOIN main.entity AS e
    ON e.org_id = :org_id AND e.user_id = :user_id AND e.name_id = mention.name_id
  CROSS JOIN entity AS opened
    ON opened.org_id = e.org_id AND opened.user_id = e.user_id AND opened.name_id = e.name_id
  GROUP BY wanted.value, e.entity_id
),
counted AS (
  SELECT wanted.entity_id, count(DISTINCT m.memory_id) AS total
  FROM (SELECT DISTINCT ids.entity_id FROM named AS ids) AS wanted
  CROSS JOIN main.entity AS e
    ON e.org_id = :org_id AND e.user_id = :user_id AND e.entity_id = wanted.entity_id
  CROSS JOIN mention
    ON mention.org_id = e.org_id AND mention.user_id = e.user_id AND mention.name_id = e.name_id
  CROSS JOIN main.memory AS m
    ON m.org_id = e.org_id AND m.memory_id = mention.memory_id
    AND m.superseded_at IS NULL AND m.archived = 0
    AND (m.expires_at IS NULL OR m.expires_at > :now)
  GROUP BY wanted.entity_id
)
SELECT wanted.memory_id, wanted.entity_id, coalesce(counted.total, 0) AS memories, wanted.name
FROM named AS wanted LEFT JOIN counted USING (entity_id)
ORDER BY wanted.memory_id, wanted.entity_id;

-- name: relations
-- What live memories say about an entity and another, newest first.
SELECT m.memory_id, r.position, subject.entity_id AS subject_id, object.entity_id AS object_id,
  m.relations
FROM (
  SELECT memory_id, position FROM main.entity AS e
  JOIN relation ON relation.org_id = e.org_id AND relation.user_id = e.user_id
    AND relation.subject_id = e.name_id
  WHERE e.org_id = :org_id AND e.user_id = :user_id AND e.entity_id = :entity_id
  UNION
  SELECT memory_id, position FROM main.entity AS e
  JOIN relation ON relation.org_id = e.org_id AND relation.user_id = e.user_id
    AND relation.object_id = e.name_id
  WHERE e.org_id = :org_id AND e.user_id = :user_id AND e.entity_id = :entity_id
) AS wanted
CROSS JOIN relation AS r
  ON r.org_id = :org_id AND r.user_id = :user_id
  AND r.memory_id = wanted.memory_id AND r.position = wanted.position
CROSS JOIN main.entity AS subject
  ON subject.org_id = :org_id AND subject.user_id = :user_id AND subject.name_id = r.subject_id
CROSS JOIN main.entity AS object
  ON object.org_id = :org_id AND object.user_id = :user_id AND object.name_id = r.object_id
CROSS JOIN memory AS m
  ON m.org_id = :org_id AND m.memory_id = r.memory_id AND +m.user_id = :user_id
  AND m.superseded_at IS NULL AND m.archived = 0
  AND (m.expires_at IS NULL OR m.expires_at > :now)
ORDER BY m.obtained_at DESC, m.memory_id DESC, r.position
LIMIT :limit;

-- name: move
-- Names change their entity because somebody said so.
UPDATE main.entity SET entity_id = :entity_id, decided = 1
WHERE org_id = :org_id AND user_id = :user_id AND name_id = :name_id;

-- name: names_of
-- All names of these entities.
SELECT name_id, entity_id FROM main.entity
WHERE org_id = :org_id AND user_id = :user_id
  AND entity_id IN (SELECT value FROM json_each(:entity_ids))
ORDER BY entity_id, name_id;

-- name: names_of_memories
-- Which names may be left without a memory when these go.
SELECT DISTINCT name_id FROM mention
WHERE org_id = :org_id AND user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids));

-- name: delete_relations
DELETE FROM main.relation
WHERE org_id = :org_id AND user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids));

-- name: delete_mentions
DELETE FROM main.mention
WHERE org_id = :org_id AND user_id = :user_id
  AND memory_id IN (SELECT value FROM json_each(:memory_ids));

-- name: delete_unmentioned
-- A name goes with the last memory that has it.
DELETE FROM main.entity
WHERE org_id = :org_id AND user_id = :user_id
  AND name_id IN (SELECT value FROM json_each(:name_ids))
  AND NOT EXISTS (
    SELECT 1 FROM mention
    WHERE mention.org_id = entity.org_id
      AND mention.user_id = entity.user_id
      AND mention.name_id = entity.name_id
  );

-- name: erase_relations
DELETE FROM main.relation WHERE org_id = :org_id AND user_id = :user_id;

-- name: erase_mentions
DELETE FROM main.mention WHERE org_id = :org_id AND user_id = :user_id;

-- name: erase
DELETE FROM main.entity WHERE org_id = :org_id AND user_id = :user_id;
