-- Names of people, places and things that memories mention. All rows follow from memories, but for
-- what people decided about which names are one entity.

-- JSON list of what a memory says about two entities; NULL: nothing.
ALTER TABLE memory ADD COLUMN relations TEXT;

-- One row per name of a user, all its spellings together. Names of one entity share entity_id.
-- block: what a name shares with its misspellings; NULL: it is never joined by likeness.
-- decided: somebody said which entity it belongs to.
CREATE TABLE entity (
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name_id TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  block TEXT,
  decided INTEGER NOT NULL DEFAULT 0,
  name TEXT NOT NULL,
  PRIMARY KEY (org_id, user_id, name_id),
  FOREIGN KEY (org_id, user_id) REFERENCES user
) STRICT;

CREATE INDEX entity_names ON entity (org_id, user_id, entity_id);
CREATE INDEX entity_by_block ON entity (org_id, user_id, block) WHERE block IS NOT NULL;

-- Which memories mention which names.
CREATE TABLE mention (
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  memory_id TEXT NOT NULL,
  name_id TEXT NOT NULL,
  PRIMARY KEY (org_id, user_id, memory_id, name_id),
  FOREIGN KEY (org_id, memory_id) REFERENCES memory,
  FOREIGN KEY (org_id, user_id, name_id) REFERENCES entity
) STRICT, WITHOUT ROWID;

CREATE INDEX mention_by_name ON mention (org_id, user_id, name_id, memory_id);

-- What memories say about two of their names; its words are at that position of memory.relations.
CREATE TABLE relation (
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  memory_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  subject_id TEXT NOT NULL,
  object_id TEXT NOT NULL,
  PRIMARY KEY (org_id, user_id, memory_id, position),
  FOREIGN KEY (org_id, memory_id) REFERENCES memory,
  FOREIGN KEY (org_id, user_id, subject_id) REFERENCES entity,
  FOREIGN KEY (org_id, user_id, object_id) REFERENCES entity
) STRICT, WITHOUT ROWID;

CREATE INDEX relation_by_subject ON relation (org_id, user_id, subject_id);
CREATE INDEX relation_by_object ON relation (org_id, user_id, object_id);

PRAGMA user_version = 4;
