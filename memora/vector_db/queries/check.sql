-- What doctor and reconcile look at, over all owners, of the vectors in use.

-- name: lookup
SELECT vector.memory_id, org_id, user_id, text_hash, model_id, payload, change
FROM json_each(:memory_ids) AS wanted
CROSS JOIN state
CROSS JOIN vector
  ON vector.memory_id = wanted.value AND vector.generation = state.generation;

-- name: owner_of
SELECT org_id, user_id FROM vector, state
WHERE memory_id = :memory_id AND vector.generation = state.generation;

-- name: discard
DELETE FROM vector WHERE memory_id = :memory_id AND org_id = :org_id AND user_id = :user_id;

-- name: unusable
-- Vectors that the engine would not take, and whether it is for the length that the store's model
-- gives them. A blob's length is read without it.
SELECT memory_id, org_id, user_id, length(dense) <> :length FROM vector, state
WHERE vector.generation = state.generation
  AND (
    length(dense) <> :length
    OR length(lexical_indices) <> length(lexical_values)
    OR NOT json_valid(payload)
  )
ORDER BY memory_id;

-- name: restart
-- The row that a new file has.
INSERT INTO state (only_row) VALUES (1) ON CONFLICT DO NOTHING;
