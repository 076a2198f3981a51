-- name: read_state
SELECT model_id, dimensions, recipe, shard, engine, changes, flushed, dead FROM state;

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
  dead = (SELECT count(*) FROM vector WHERE change > :flushed)
    + (SELECT count(*) FROM removal WHERE change > :flushed);

-- name: set_flushed
UPDATE state SET flushed = :flushed;

-- name: forget_removals
DELETE FROM removal WHERE change <= :flushed;

-- name: note_removal
INSERT INTO removal (change, memory_id) VALUES (:change, :memory_id);

-- name: remove_all
DELETE FROM vector;

-- name: remove_all_removals
DELETE FROM removal;

-- name: changed_vectors
SELECT change, memory_id, dense, lexical_indices, lexical_values, payload
FROM vector WHERE change > :after ORDER BY change LIMIT :limit;

-- name: removed_vectors
SELECT memory_id FROM removal WHERE change > :after AND change <= :upto;

-- name: count_vectors
SELECT count(*) FROM vector;
