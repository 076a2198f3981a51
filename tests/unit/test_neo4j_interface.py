"""What the adapter does without a server: imports, credentials, handles, schema decisions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from neo4j.exceptions import Neo4jError

from memora import _queries
from memora.embeddings import HashingEmbedder
from memora.errors import GraphDBError, SchemaVersionError
from memora.graph_db.neo4j import Neo4jGraphInterface, schema
from memora.testing.bolt import ScriptedBolt
from memora.vector_db import EmbeddedVectorDB
from memora.vector_db.base import BaseVectorDB

SCHEMA = _queries.load("memora.graph_db.neo4j", "queries/schema.cypher")
INDEXES = _queries.load("memora.graph_db.neo4j", "queries/indexes.cypher")


def server(version: str, **answers: object) -> ScriptedBolt:
    return ScriptedBolt(
        {
            SCHEMA["server"]: [{"version": version, "edition": "community"}],
            SCHEMA["legacy"]: [{"found": answers.get("legacy", False)}],
            SCHEMA["stamp"]: [{"version": answers["stamp"]}] if "stamp" in answers else [],
            SCHEMA["existing"]: [{"name": name} for name in answers.get("indexes", ())],  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue]
        }
    )


def graph_on(bolt: ScriptedBolt) -> Neo4jGraphInterface:
    return Neo4jGraphInterface("", "", "", "neo4j", driver=bolt)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def vectors(tmp_path: Path) -> BaseVectorDB:
    """A vector store that nobody opens."""
    return EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())


def test_importing_the_adapter_does_not_import_the_driver() -> None:
    code = (
        "import sys, memora.graph_db.neo4j as n;"
        "n.Neo4jGraphInterface('bolt://host', 'neo4j', 'secret', 'neo4j');"
        "assert 'neo4j' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_credentials_are_in_no_repr() -> None:
    graph = Neo4jGraphInterface("bolt://host", "someone", "pass-word", "neo4j")
    assert "pass-word" not in repr(graph) + repr(graph._connection) + str(vars(graph))


def test_the_positions_of_0_3_stay(vectors: BaseVectorDB) -> None:
    graph = Neo4jGraphInterface("bolt://host", "neo4j", "secret", "memories", vectors, False)
    assert graph.get_associated_vector_db() is vectors
    assert graph.database == "memories"


async def test_a_given_driver_stays_open() -> None:
    bolt = ScriptedBolt()
    graph = graph_on(bolt)
    await graph.close()
    await graph.close()
    assert bolt.closed == 0
    with pytest.raises(GraphDBError, match="closed"):
        await graph.find_organization("o")


async def test_closing_before_use_opens_nothing() -> None:
    graph = Neo4jGraphInterface("bolt://host", "neo4j", "secret", "neo4j")
    await graph.close()


async def test_b22_a_handle_for_other_vectors_shares_the_connection(
    vectors: BaseVectorDB,
) -> None:
    graph = graph_on(ScriptedBolt())
    handle = graph.with_vector_db(vectors)
    assert handle.get_associated_vector_db() is vectors
    assert graph.get_associated_vector_db() is None
    assert handle._connection is graph._connection


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("5.26.30", (5, 26)),
        ("5.23.0", (5, 23)),
        ("5.27-aura", (5, 27)),
        ("2025.06.2", (2025, 6)),
        ("4.4.41", (4, 4)),
        ("nonsense", (0, 0)),
    ],
)
def test_server_versions(text: str, version: tuple[int, int]) -> None:
    assert schema.server_version(text) == version


@pytest.mark.parametrize("version", ["5.22.0", "4.4.41"])
async def test_b62_an_old_server_is_refused(version: str) -> None:
    with pytest.raises(GraphDBError, match=r"older than 5\.23"):
        await graph_on(server(version)).setup()


async def test_the_server_is_checked_once() -> None:
    bolt = server("5.26.0", stamp=schema.VERSION, indexes=tuple(INDEXES))
    graph = graph_on(bolt)
    await graph.setup()
    await graph.setup()
    queries = [statement.query for statement in bolt.statements]
    assert queries.count(SCHEMA["server"]) == 1


async def test_setup_creates_what_is_missing_and_stamps_last() -> None:
    bolt = server("2025.06.0", indexes=("memora_user", "somebody_elses"))
    await graph_on(bolt).setup()
    queries = [statement.query for statement in bolt.statements]
    created = [name for name, query in INDEXES.items() if query in queries]
    assert sorted(created) == sorted(INDEXES.keys() - {"memora_user"})
    assert queries[-1] == SCHEMA["put_stamp"]
    assert bolt.statements[-1].parameters == {"version": schema.VERSION}


class Racing(ScriptedBolt):
    """Another setup creates an index just before ours does."""

    wins = True

    async def execute(self, mode: str, function: Any, arguments: Any) -> Any:
        result = await super().execute(mode, function, arguments)
        if self.statements[-1].query == INDEXES["memora_user"]:
            if self.wins:
                everything = [{"name": name} for name in INDEXES]
                self.answers = {**self.answers, SCHEMA["existing"]: everything}
            code = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"
            raise Neo4jError._basic_hydrate(neo4j_code=code, message="there")
        return result


@pytest.mark.parametrize("wins", [True, False])
async def test_b31_two_setups_at_once_both_succeed(wins: bool) -> None:
    bolt = Racing(server("5.26.0").answers)
    bolt.wins = wins
    if wins:
        await graph_on(bolt).setup()
        assert bolt.statements[-1].query == SCHEMA["put_stamp"]
        return
    with pytest.raises(GraphDBError, match="AlreadyExists"):
        await graph_on(bolt).setup()


async def test_setup_of_a_complete_store_writes_nothing() -> None:
    bolt = server("5.26.0", stamp=schema.VERSION, indexes=tuple(INDEXES))
    await graph_on(bolt).setup()
    assert {run.mode for run in bolt.runs} == {"r"}


async def test_a_newer_schema_is_refused() -> None:
    bolt = server("5.26.0", stamp=schema.VERSION + 1)
    with pytest.raises(SchemaVersionError, match=f"version {schema.VERSION + 1}"):
        await graph_on(bolt).setup()
    assert {run.mode for run in bolt.runs} == {"r"}


async def test_b69_a_graph_of_0_3_is_recognised_and_left_alone() -> None:
    bolt = server("5.26.0", legacy=True)
    with pytest.raises(SchemaVersionError, match=r"memora 0\.3"):
        await graph_on(bolt).setup()
    assert {run.mode for run in bolt.runs} == {"r"}


def test_migrations_go_forward_one_by_one() -> None:
    assert list(schema.pending_migrations(None, has_legacy=False)) == list(
        range(1, schema.VERSION + 1)
    )
    assert not schema.pending_migrations(schema.VERSION, has_legacy=False)
    assert set(schema.MIGRATIONS) == set(range(1, schema.VERSION + 1))


def test_a_stamped_graph_is_ours_whatever_else_is_in_it() -> None:
    assert not schema.pending_migrations(schema.VERSION, has_legacy=True)


@pytest.mark.parametrize("name", sorted(INDEXES))
def test_the_name_of_an_index_query_is_the_indexs(name: str) -> None:
    assert INDEXES[name].split()[2] == name
    assert "IF NOT EXISTS" in INDEXES[name]
    assert "NODE KEY" not in INDEXES[name]
