"""The loader of named queries."""

import pytest

from memora import _queries

SQL = """-- Heading of the file.

-- name: one
-- What it is for.
--   More about it.

SELECT 1 -- inside
FROM t;

-- name: two
SELECT 2
"""


def test_queries_are_split_by_name_and_lose_their_leading_comments():
    queries = _queries.parse(SQL, "queries/a.sql")
    assert dict(queries) == {"one": "SELECT 1 -- inside\nFROM t", "two": "SELECT 2"}
    assert list(queries) == ["one", "two"]
    assert len(queries) == 2


def test_cypher_files_use_slashes():
    queries = _queries.parse("// name: one\n// why\nMATCH (n)\n// keep\nRETURN n;\n", "x.cypher")
    assert dict(queries) == {"one": "MATCH (n)\n// keep\nRETURN n"}


def test_an_unknown_name_says_file_and_name():
    with pytest.raises(KeyError, match=r"a\.sql has no query named 'three'"):
        _queries.parse(SQL, "queries/a.sql")["three"]
    assert _queries.parse(SQL, "queries/a.sql").get("three") is None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1\n-- name: one\nSELECT 1\n",
        "-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n",
        "-- name: one\n-- only a comment\n",
        "-- name: not-a-name\nSELECT 1\n",
    ],
)
def test_a_malformed_file_is_refused(text: str):
    with pytest.raises(ValueError, match=r"a\.sql"):
        _queries.parse(text, "a.sql")


def test_a_file_is_read_once(tmp_path, monkeypatch):
    package = tmp_path / "some_package"
    (package / "queries").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "queries" / "a.sql").write_text(SQL)
    monkeypatch.syspath_prepend(tmp_path)
    first = _queries.load("some_package", "queries/a.sql")
    (package / "queries" / "a.sql").write_text("changed")
    assert _queries.load("some_package", "queries/a.sql") is first
    assert first["two"] == "SELECT 2"
