-- name: read_key
SELECT key FROM mask;

-- name: set_key
UPDATE mask SET key = :key;

-- name: has_rows
SELECT EXISTS (SELECT 1 FROM vector);

-- name: restart
-- The row that a new file has.
INSERT INTO mask (only_row) VALUES (1) ON CONFLICT DO NOTHING;

-- name: page
-- Of all generations.
SELECT memory_id, generation, payload FROM vector
WHERE (memory_id, generation) > (:memory_id, :generation)
ORDER BY memory_id, generation LIMIT :limit;

-- name: put
UPDATE vector SET payload = :payload, text_hash = :text_hash
WHERE memory_id = :memory_id AND generation = :generation;
