-- name: is_known
SELECT 1 FROM vector
WHERE memory_id = :memory_id AND generation = :generation AND org_id = :org_id
  AND user_id = :user_id;

-- name: put_vector
-- Another owner's row of the same id is left alone.
INSERT INTO vector (
  memory_id, generation, org_id, user_id, dense, lexical_indices, lexical_values, payload,
  text_hash, change
) VALUES (
  :memory_id, :generation, :org_id, :user_id, :dense, :lexical_indices, :lexical_values, :payload,
  :text_hash, :change
)
ON CONFLICT (memory_id, generation) DO UPDATE SET
  dense = excluded.dense,
  lexical_indices = excluded.lexical_indices,
  lexical_values = excluded.lexical_values,
  payload = excluded.payload,
  text_hash = excluded.text_hash,
  change = excluded.change
WHERE org_id = excluded.org_id AND user_id = excluded.user_id;

-- name: remove_vector
-- Of every generation, or of one.
DELETE FROM vector
WHERE memory_id = :memory_id AND org_id = :org_id AND user_id = :user_id
  AND (:generation IS NULL OR generation = :generation)
RETURNING generation;

-- name: remove_user
DELETE FROM vector
WHERE org_id = :org_id AND user_id = :user_id
  AND (:generation IS NULL OR generation = :generation)
RETURNING memory_id, generation;

-- name: remove_organization
DELETE FROM vector
WHERE org_id = :org_id AND (:generation IS NULL OR generation = :generation)
RETURNING memory_id, generation;

-- name: count_user
SELECT count(*) FROM vector WHERE org_id = :org_id AND user_id = :user_id;

-- name: count_organization
SELECT count(*) FROM vector WHERE org_id = :org_id;
