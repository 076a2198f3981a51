// name: put_agent
// Inserts, or returns what is there. A deleted agent comes back under its new label; whom an agent
// serves never changes.
MATCH (o:Organization {org_id: $org_id})
MERGE (a:Agent {org_id: $org_id, agent_id: $agent_id})
ON CREATE SET a.user_id = $user_id, a.deleted_at = $created_at
WITH o, a, a.deleted_at IS NOT NULL
  AND (a.user_id = $user_id OR (a.user_id IS NULL AND $user_id IS NULL)) AS comes
SET a.agent_label = CASE WHEN comes THEN $agent_label ELSE a.agent_label END,
  a.created_at = CASE WHEN comes THEN $created_at ELSE a.created_at END,
  a.deleted_at = CASE WHEN comes THEN null ELSE a.deleted_at END
MERGE (o)-[:HAS_AGENT]->(a)
RETURN a {.*} AS agent

// name: find_agent
MATCH (a:Agent {org_id: $org_id, agent_id: $agent_id})
WHERE a.deleted_at IS NULL
RETURN a {.*} AS agent

// name: rename_agent
MATCH (a:Agent {org_id: $org_id, agent_id: $agent_id})
WHERE a.deleted_at IS NULL
SET a.agent_label = $agent_label
RETURN a {.*} AS agent

// name: list_agents
MATCH (a:Agent)
USING INDEX SEEK a:Agent(org_id, created_at, agent_id)
WHERE a.org_id = $org_id AND a.created_at IS NOT NULL AND a.agent_id IS NOT NULL
  AND a.deleted_at IS NULL
RETURN a {.*} AS agent
ORDER BY a.org_id, a.created_at, a.agent_id
SKIP $skip LIMIT $limit

// name: list_agents_of_user
// Personal agents of one user.
MATCH (a:Agent)
USING INDEX SEEK a:Agent(org_id, user_id, created_at, agent_id)
WHERE a.org_id = $org_id AND a.user_id = $user_id AND a.created_at IS NOT NULL
  AND a.agent_id IS NOT NULL AND a.deleted_at IS NULL
RETURN a {.*} AS agent
ORDER BY a.org_id, a.user_id, a.created_at, a.agent_id
SKIP $skip LIMIT $limit

// name: remove_agent
// B47: the node stays, with its label, for what the agent wrote.
MATCH (a:Agent {org_id: $org_id, agent_id: $agent_id})
WHERE a.deleted_at IS NULL
SET a.deleted_at = $now
