// name: memora_meta
// Every name here is the name of the constraint or index. A uniqueness constraint says nothing
// about nodes that lack one of its properties; all writes set them.
CREATE CONSTRAINT memora_meta IF NOT EXISTS
FOR (meta:Meta) REQUIRE meta.name IS UNIQUE

// name: memora_organization
CREATE CONSTRAINT memora_organization IF NOT EXISTS
FOR (o:Organization) REQUIRE o.org_id IS UNIQUE

// name: memora_organization_page
CREATE INDEX memora_organization_page IF NOT EXISTS
FOR (o:Organization) ON (o.created_at, o.org_id)

// name: memora_user
CREATE CONSTRAINT memora_user IF NOT EXISTS
FOR (u:User) REQUIRE (u.org_id, u.user_id) IS UNIQUE

// name: memora_user_page
CREATE INDEX memora_user_page IF NOT EXISTS
FOR (u:User) ON (u.org_id, u.created_at, u.user_id)

// name: memora_agent
CREATE CONSTRAINT memora_agent IF NOT EXISTS
FOR (a:Agent) REQUIRE (a.org_id, a.agent_id) IS UNIQUE

// name: memora_agent_page
CREATE INDEX memora_agent_page IF NOT EXISTS
FOR (a:Agent) ON (a.org_id, a.created_at, a.agent_id)

// name: memora_agent_of_user
// Holds personal agents only: an index skips nodes without one of its properties.
CREATE INDEX memora_agent_of_user IF NOT EXISTS
FOR (a:Agent) ON (a.org_id, a.user_id, a.created_at, a.agent_id)

// name: memora_interaction
CREATE CONSTRAINT memora_interaction IF NOT EXISTS
FOR (i:Interaction) REQUIRE (i.org_id, i.user_id, i.interaction_id) IS UNIQUE

// name: memora_interaction_external
CREATE CONSTRAINT memora_interaction_external IF NOT EXISTS
FOR (i:Interaction) REQUIRE (i.org_id, i.user_id, i.external_id) IS UNIQUE

// name: memora_interaction_page
CREATE INDEX memora_interaction_page IF NOT EXISTS
FOR (i:Interaction) ON (i.org_id, i.user_id, i.updated_at, i.interaction_id)

// name: memora_message
// B25, B26: two messages cannot have one place.
CREATE CONSTRAINT memora_message IF NOT EXISTS
FOR (s:Message) REQUIRE (s.org_id, s.user_id, s.interaction_id, s.position) IS UNIQUE

// name: memora_memory
CREATE CONSTRAINT memora_memory IF NOT EXISTS
FOR (m:Memory) REQUIRE (m.org_id, m.user_id, m.memory_id) IS UNIQUE

// name: memora_memory_successor
// B28, B29: a version has at most one predecessor.
CREATE CONSTRAINT memora_memory_successor IF NOT EXISTS
FOR (m:Memory) REQUIRE (m.org_id, m.user_id, m.successor_id) IS UNIQUE

// name: memora_memory_head
// B28: a chain has at most one head; only the head carries `head_of`.
CREATE CONSTRAINT memora_memory_head IF NOT EXISTS
FOR (m:Memory) REQUIRE (m.org_id, m.user_id, m.head_of) IS UNIQUE

// name: memora_memory_chain
CREATE INDEX memora_memory_chain IF NOT EXISTS
FOR (m:Memory) ON (m.org_id, m.user_id, m.chain_id)

// name: memora_memory_hash
CREATE INDEX memora_memory_hash IF NOT EXISTS
FOR (m:Memory) ON (m.org_id, m.user_id, m.content_hash)

// name: memora_memory_page
CREATE INDEX memora_memory_page IF NOT EXISTS
FOR (m:Memory) ON (m.org_id, m.user_id, m.obtained_at, m.memory_id)

// name: memora_memory_of_agent
CREATE INDEX memora_memory_of_agent IF NOT EXISTS
FOR (m:Memory) ON (m.org_id, m.user_id, m.agent_id, m.obtained_at, m.memory_id)

// name: memora_memory_of_interaction
CREATE INDEX memora_memory_of_interaction IF NOT EXISTS
FOR (m:Memory) ON (m.org_id, m.user_id, m.interaction_id, m.obtained_at, m.memory_id)

// name: memora_entity
CREATE CONSTRAINT memora_entity IF NOT EXISTS
FOR (e:Entity) REQUIRE (e.org_id, e.user_id, e.name_id) IS UNIQUE

// name: memora_entity_names
// All names of an entity.
CREATE INDEX memora_entity_names IF NOT EXISTS
FOR (e:Entity) ON (e.org_id, e.user_id, e.entity_id)

// name: memora_entity_block
// Holds names of several words only.
CREATE INDEX memora_entity_block IF NOT EXISTS
FOR (e:Entity) ON (e.org_id, e.user_id, e.block)

// name: memora_job
CREATE CONSTRAINT memora_job IF NOT EXISTS
FOR (j:Job) REQUIRE (j.org_id, j.job_id) IS UNIQUE

// name: memora_job_page
CREATE INDEX memora_job_page IF NOT EXISTS
FOR (j:Job) ON (j.org_id, j.created_at, j.job_id)

// name: memora_job_of_interaction
CREATE INDEX memora_job_of_interaction IF NOT EXISTS
FOR (j:Job) ON (j.org_id, j.user_id, j.interaction_id)

// name: memora_key
CREATE CONSTRAINT memora_key IF NOT EXISTS
FOR (k:IdempotencyKey) REQUIRE (k.org_id, k.user_id, k.key) IS UNIQUE

// name: memora_key_of_import
// Holds keys of imports only.
CREATE INDEX memora_key_of_import IF NOT EXISTS
FOR (k:IdempotencyKey) ON (k.org_id, k.user_id, k.import_id)

// name: memora_import
CREATE CONSTRAINT memora_import IF NOT EXISTS
FOR (run:Import) REQUIRE (run.org_id, run.import_id) IS UNIQUE

// name: memora_import_of_organization
CREATE INDEX memora_import_of_organization IF NOT EXISTS
FOR (run:Import) ON (run.org_id, run.started_at, run.import_id)

// name: memora_import_page
CREATE INDEX memora_import_page IF NOT EXISTS
FOR (run:Import) ON (run.org_id, run.user_id, run.started_at, run.import_id)

// name: memora_import_change
CREATE CONSTRAINT memora_import_change IF NOT EXISTS
FOR (part:ImportChange)
REQUIRE (part.org_id, part.user_id, part.import_id, part.interaction_id) IS UNIQUE

// name: memora_import_change_of_interaction
CREATE INDEX memora_import_change_of_interaction IF NOT EXISTS
FOR (part:ImportChange) ON (part.org_id, part.user_id, part.interaction_id)

// name: memora_tombstone
CREATE CONSTRAINT memora_tombstone IF NOT EXISTS
FOR (t:Tombstone) REQUIRE (t.org_id, t.user_id, t.mark) IS UNIQUE

// name: memora_outbox
CREATE CONSTRAINT memora_outbox IF NOT EXISTS
FOR (e:OutboxEntry) REQUIRE e.seq IS UNIQUE

// name: memora_outbox_owner
// Finds what blocks an entry: drops of its user or organization.
CREATE INDEX memora_outbox_owner IF NOT EXISTS
FOR (e:OutboxEntry) ON (e.org_id, e.user_id, e.op, e.seq)

// name: memora_outbox_leased
// Holds leased entries only.
CREATE INDEX memora_outbox_leased IF NOT EXISTS
FOR (e:OutboxEntry) ON (e.org_id, e.lease_until)
