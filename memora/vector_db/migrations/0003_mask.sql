-- Filter values and hashes of an encrypted store are masked: the same value reads the same and can
-- be compared, and says nothing without the key.
-- key: fingerprint of the key; NULL: they are plain.
CREATE TABLE mask (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  key TEXT
) STRICT;

INSERT INTO mask (only_row) VALUES (1);

PRAGMA user_version = 3;
