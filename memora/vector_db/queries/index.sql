-- name: read_state
SELECT model_id, dimensions, recipe, shard, engine, changes, flushed, dead, generation FROM state;

-- name: set_stamp
UPDATE state SET model_id = :model_id, dimensions = :dimensions, recipe = :recipe;

-- name: count_changes
-- Takes the next numbers; answers with the last of them.
UPDATE state SET changes = changes + :count RETURNING changes;

-- name: count_dead
UPDATE state SET dead = dead + :dead;

-- name: drop_shard
-- The shard holds what may no longer be readable: a crash from here on ends in a new one.
UPDATE state SET shard = NULL;

-- name: use_shard
-- What changed while the shard was filled may be dead in it.
UPDATE state SET
  shard = :shard,
  engine = :engine,
  flushed = :flushed,
  dead = (SELECT count(*) FROM vector WHERE generation = state.generation AND change > :flushed)
    + (SELECT count(*) FROM removal WHERE generation = state.generation AND change > :flushed);

-- name: switch
-- The moment in which a reindex takes effect.
UPDATE state SET
  generation = :generation,
  model_id = :model_id,
  dimensions = :dimensions,
  recipe = :recipe,
  shard = :shard,
  engine = :engine,
  flushed = :flushed,
  dead = :dead;

-- name: set_flushed
UPDATE state SET flushed = :flushed;

-- name: forget_removals
DELETE FROM removal WHERE generation = :generation AND change <= :flushed;

-- name: note_removal
INSERT INTO removal (change, generation, memory_id) VALUES (:change, :generation, :memory_id);

-- name: remove_all
DELETE FROM vector;

-- name: remove_all_removals
DELETE FROM removal;

-- name: remove_others
-- Both sides of the generation by index: beside a million rows in use there may be none.
DELETE FROM vector WHERE rowid IN (
  SELECT rowid FROM vector WHERE generation < :generation
  UNION ALL
  SELECT rowid FROM vector WHERE generation > :generation AND generation <> :kept
  LIMIT :limit
);

-- name: forget_other_removals
DELETE FROM removal WHERE generation NOT IN (:generation, :kept);

-- name: changed_vectors
SELECT change, memory_id, dense, lexical_indices, lexical_values, payload
FROM vector WHERE generation = :generation AND change > :after ORDER BY change LIMIT :limit;

-- name: removed_vectors
SELECT memory_id FROM removal
WHERE generation = :generation AND change > :after AND change <= :upto;

-- name: scan
SELECT memory_id, org_id, user_id, text_hash, model_id, payload
FROM vector, state
WHERE vector.generation = :generation AND memory_id > :after ORDER BY memory_id LIMIT :limit;

-- name: count_vectors
SELECT count(*) FROM vector WHERE generation = :generation;
