-- name: save
-- Not what somebody else started since.
UPDATE main.job
SET start_position = :start, end_position = :end, status = :status, params = :params,
  outputs = :outputs, attempts = :attempts, error = :error, lease_until = :lease_until,
  updated_at = :updated_at
WHERE org_id = :org_id
  AND user_id = :user_id
  AND job_id = :job_id
  AND attempts <= :attempts;

-- name: claim
-- A lease that lies behind :lease_end is of a clock that has been set back since.
UPDATE main.job
SET status = 'running', attempts = attempts + 1, lease_until = :lease_until,
  updated_at = max(:now, updated_at + 1)
WHERE org_id = :org_id
  AND job_id = :job_id
  AND status <> 'done'
  AND (
    status <> 'running'
    OR lease_until IS NULL
    OR lease_until <= :now
    OR lease_until > :lease_end
  );

-- name: find
SELECT * FROM job WHERE org_id = :org_id AND job_id = :job_id;

-- name: page
SELECT * FROM job
WHERE org_id = :org_id
  AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
ORDER BY created_at, job_id LIMIT :limit OFFSET :skip;

-- name: page_of_user
SELECT * FROM job
WHERE org_id = :org_id
  AND user_id = :user_id
  AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
ORDER BY created_at, job_id LIMIT :limit OFFSET :skip;

-- name: release_all
UPDATE main.job SET status = 'pending', lease_until = NULL WHERE status = 'running';
