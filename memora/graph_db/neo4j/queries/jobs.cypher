// name: lock_job
// Takes the job's lock; its state is read by the next statement, under the lock.
MATCH (j:Job {org_id: $org_id, job_id: $job_id})
SET j.lock = true
RETURN j.job_id AS job_id

// name: lock_job_of_user
MATCH (j:Job {org_id: $org_id, job_id: $job_id})
WHERE j.user_id = $user_id
SET j.lock = true
RETURN j.job_id AS job_id

// name: claim_job
// A lease that lies behind $lease_end is of a clock that has been set back since.
MATCH (j:Job {org_id: $org_id, job_id: $job_id})
WHERE j.status <> 'done'
  AND (
    j.status <> 'running' OR j.lease_until IS NULL
    OR j.lease_until <= $now OR j.lease_until > $lease_end
  )
SET j.status = 'running', j.lease_until = $lease_until, j.attempts = j.attempts + 1,
  j.updated_at = CASE WHEN $now > j.updated_at THEN $now ELSE j.updated_at + 1 END
RETURN j {.*} AS job

// name: save_job
// No row: somebody else started it since. Asked under the job's lock.
MATCH (j:Job {org_id: $org_id, job_id: $job_id})
WHERE j.user_id = $user_id AND j.attempts <= $attempts
SET j = $job
RETURN j.job_id AS job_id

// name: find_job
MATCH (j:Job {org_id: $org_id, job_id: $job_id})
RETURN j {.*} AS job

// name: list_jobs
MATCH (j:Job)
USING INDEX SEEK j:Job(org_id, created_at, job_id)
WHERE j.org_id = $org_id AND j.created_at IS NOT NULL AND j.job_id IS NOT NULL
  AND ($user_id IS NULL OR j.user_id = $user_id)
  AND (size($statuses) = 0 OR j.status IN $statuses)
RETURN j {.*} AS job
ORDER BY j.org_id, j.created_at, j.job_id
SKIP $skip LIMIT $limit

// name: find_idempotency
MATCH (k:IdempotencyKey {org_id: $org_id, user_id: $user_id, key: $key})
RETURN k {.*} AS record
