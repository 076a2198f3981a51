-- The graph of memora in SQLite. Times are microseconds since 1970 in UTC, lists and objects are
-- JSON texts. Every key starts with the organization, so a foreign id finds nothing.

CREATE TABLE organization (
  org_id TEXT NOT NULL PRIMARY KEY,
  org_name TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX organization_by_creation ON organization (created_at, org_id);

-- salt: random, makes the user's tombstones unreadable once it is erased with the user.
CREATE TABLE user (
  org_id TEXT NOT NULL REFERENCES organization,
  user_id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  salt TEXT NOT NULL,
  PRIMARY KEY (org_id, user_id)
) STRICT;

CREATE INDEX user_by_creation ON user (org_id, created_at, user_id);

-- deleted_at: the agent is gone, but its label stays for what it wrote.
CREATE TABLE agent (
  org_id TEXT NOT NULL REFERENCES organization,
  agent_id TEXT NOT NULL,
  agent_label TEXT NOT NULL,
  user_id TEXT,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER,
  PRIMARY KEY (org_id, agent_id),
  FOREIGN KEY (org_id, user_id) REFERENCES user
) STRICT;

CREATE INDEX agent_by_creation ON agent (org_id, created_at, agent_id);
CREATE INDEX agent_by_user ON agent (org_id, user_id, created_at, agent_id);

-- message_count and content_hash (prefix hash of the last message) are the tail pointer: appending
-- reads no message.
CREATE TABLE interaction (
  org_id TEXT NOT NULL,
  interaction_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  agent_id TEXT,
  external_id TEXT,
  title TEXT,
  metadata TEXT NOT NULL,
  active INTEGER NOT NULL DEFAULT 1,
  participants TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  last_activity_at INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  message_count INTEGER NOT NULL,
  content_hash TEXT NOT NULL,
  import_id TEXT,
  process_id TEXT,
  PRIMARY KEY (org_id, interaction_id),
  FOREIGN KEY (org_id, user_id) REFERENCES user
) STRICT;

CREATE UNIQUE INDEX interaction_by_external_id ON interaction (org_id, user_id, external_id)
  WHERE external_id IS NOT NULL;
CREATE INDEX interaction_by_change
  ON interaction (org_id, user_id, updated_at DESC, interaction_id);

-- prefix_hash: over this message and all before it. It stands before the content so that reading
-- it never touches the content's overflow pages.
CREATE TABLE message (
  org_id TEXT NOT NULL,
  interaction_id TEXT NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  prefix_hash TEXT NOT NULL,
  role TEXT NOT NULL,
  name TEXT,
  timestamp INTEGER,
  content TEXT,
  data TEXT,
  PRIMARY KEY (org_id, interaction_id, position),
  FOREIGN KEY (org_id, interaction_id) REFERENCES interaction
) STRICT;

-- One version of one statement. successor_id links the versions of a chain; the head is the one
-- without superseded_at. The agent may be marked deleted, or erased with the user it served.
CREATE TABLE memory (
  org_id TEXT NOT NULL,
  memory_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  agent_id TEXT,
  interaction_id TEXT,
  chain_id TEXT NOT NULL,
  successor_id TEXT,
  superseded_at INTEGER,
  obtained_at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  memory_type TEXT NOT NULL,
  importance REAL NOT NULL,
  pinned INTEGER NOT NULL,
  archived INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER,
  source_role TEXT NOT NULL,
  confidence REAL,
  access_count INTEGER NOT NULL DEFAULT 0,
  last_accessed_at INTEGER,
  content_hash TEXT NOT NULL,
  external_id TEXT,
  import_id TEXT,
  process_id TEXT,
  author TEXT,
  tags TEXT NOT NULL,
  entities TEXT NOT NULL,
  metadata TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (org_id, memory_id),
  FOREIGN KEY (org_id, user_id) REFERENCES user,
  FOREIGN KEY (org_id, interaction_id) REFERENCES interaction
) STRICT;

-- No forks, and at most one current version of a statement.
CREATE UNIQUE INDEX memory_one_predecessor ON memory (org_id, successor_id)
  WHERE successor_id IS NOT NULL;
CREATE UNIQUE INDEX memory_one_head ON memory (org_id, chain_id) WHERE superseded_at IS NULL;
CREATE INDEX memory_by_chain ON memory (org_id, chain_id, obtained_at);
CREATE INDEX memory_by_time ON memory (org_id, user_id, obtained_at DESC, memory_id DESC);
CREATE INDEX memory_by_interaction
  ON memory (org_id, interaction_id, obtained_at DESC, memory_id DESC);
CREATE INDEX memory_by_content ON memory (org_id, user_id, content_hash)
  WHERE superseded_at IS NULL;

-- A memory as it is read: with its predecessor, and with a number that grows with insertion.
CREATE VIEW memory_version AS
SELECT
  m.*,
  m.rowid AS inserted,
  (
    SELECT p.memory_id FROM memory AS p
    WHERE p.org_id = m.org_id AND p.successor_id = m.memory_id
  ) AS predecessor_id
FROM memory AS m;

-- Which messages a memory came from.
CREATE TABLE memory_source (
  org_id TEXT NOT NULL,
  memory_id TEXT NOT NULL,
  interaction_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (org_id, memory_id, interaction_id, position),
  FOREIGN KEY (org_id, memory_id) REFERENCES memory,
  FOREIGN KEY (org_id, interaction_id, position) REFERENCES message
) STRICT, WITHOUT ROWID;

CREATE INDEX memory_source_by_message ON memory_source (org_id, interaction_id, position);

-- Salted marks of purged statements, so that they are not extracted again.
CREATE TABLE tombstone (
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  mark TEXT NOT NULL,
  PRIMARY KEY (org_id, user_id, mark),
  FOREIGN KEY (org_id, user_id) REFERENCES user
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  key TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  result TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (org_id, user_id, key),
  FOREIGN KEY (org_id, user_id) REFERENCES user
) STRICT;

CREATE TABLE job (
  org_id TEXT NOT NULL,
  job_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  interaction_id TEXT NOT NULL,
  agent_id TEXT,
  start_position INTEGER NOT NULL,
  end_position INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'failed', 'done')),
  params TEXT NOT NULL,
  outputs TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  error TEXT,
  lease_until INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (org_id, job_id),
  FOREIGN KEY (org_id, user_id) REFERENCES user,
  FOREIGN KEY (org_id, interaction_id) REFERENCES interaction
) STRICT;

CREATE INDEX job_by_creation ON job (org_id, created_at, job_id);
CREATE INDEX job_by_user ON job (org_id, user_id, created_at, job_id);
CREATE INDEX job_by_interaction ON job (org_id, interaction_id);

-- Vector work in the order of commit. It outlives its user, so nothing refers to other tables;
-- AUTOINCREMENT keeps a number from coming back after its row is gone.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  op TEXT NOT NULL CHECK (op IN ('sync', 'drop_user', 'drop_organization')),
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  memory_ids TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  error TEXT,
  enqueued_at INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  dead INTEGER NOT NULL DEFAULT 0,
  lease TEXT,
  lease_until INTEGER
) STRICT;

CREATE INDEX outbox_by_owner ON outbox (org_id, user_id, seq);
CREATE INDEX outbox_leased ON outbox (org_id, user_id, seq, lease_until) WHERE lease IS NOT NULL;
CREATE INDEX outbox_drops ON outbox (org_id, user_id, op, seq) WHERE op <> 'sync';
CREATE INDEX outbox_alive ON outbox (seq, not_before) WHERE dead = 0;

PRAGMA application_id = 0x6d656d67;
PRAGMA user_version = 1;
