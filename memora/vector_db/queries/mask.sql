-- name: read_key
SELECT key FROM mask;

-- name: set_key
UPDATE mask SET key = :key;

-- name: page
SELECT memory_id, payload FROM vector WHERE memory_id > :after ORDER BY memory_id LIMIT :limit;

-- name: put
UPDATE vector SET payload = :payload, text_hash = :text_hash WHERE memory_id = :memory_id;
