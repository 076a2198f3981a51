-- The keys that stored text is encrypted with, oldest first; new values get the last one. No row: a
-- plain store. More than one: the text is being encrypted anew, and each value says by which key.
-- wrapped: the key, encrypted with the caller's; NULL stands for plain text.
-- wrapped_by: fingerprint of the caller's key, so that another one is told from a damaged file.
CREATE TABLE data_key (
  id INTEGER PRIMARY KEY,
  wrapped TEXT,
  wrapped_by TEXT,
  CHECK ((wrapped IS NULL) = (wrapped_by IS NULL))
) STRICT;

PRAGMA user_version = 2;
