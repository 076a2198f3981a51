// name: server
// Version of the server, checked once per driver.
CALL dbms.components() YIELD name, versions, edition
WHERE name = 'Neo4j Kernel'
RETURN versions[0] AS version, edition

// name: stamp
// Version of memora's schema in this database; no row: nothing of it is here.
MATCH (meta:Meta {name: 'schema'})
RETURN meta.version AS version

// name: legacy
// Whether memora 0.3 wrote here: its organizations, its dates, or its message links.
RETURN EXISTS { MATCH (:Memory)-[:DATE_OBTAINED]->(:Date) }
  OR EXISTS { MATCH (:Memory)-[:MESSAGE_SOURCE]->(:MessageBlock) }
  OR EXISTS { MATCH (:Org)-[:INCLUDES]->(:User) } AS found

// name: existing
// Indexes that are here; a constraint has an index of the same name.
SHOW INDEXES YIELD name

// name: await_indexes
// Waits until new indexes are filled.
CALL db.awaitIndexes(300)

// name: counters
// The nodes that order the outbox: `seq` counts entries, `claims` is the lock of all claims.
MERGE (outbox:Meta {name: 'outbox'}) ON CREATE SET outbox.seq = 0
MERGE (claims:Meta {name: 'outbox_claims'}) ON CREATE SET claims.lock = true

// name: put_stamp
// Notes the schema version; never lowers it.
MERGE (meta:Meta {name: 'schema'})
SET meta.version = CASE
  WHEN coalesce(meta.version, 0) < $version THEN $version ELSE meta.version END
