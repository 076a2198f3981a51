"""EXPLAIN of every Cypher query on a live server: it compiles, and starts where an index leads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, LiteralString

import neo4j
import pytest

from memora import _queries
from memora.graph_db.neo4j import Neo4jGraphInterface
from tests.neo4j_server.process import Neo4jServer

pytestmark = pytest.mark.neo4j

PACKAGE = "memora.graph_db.neo4j"
FOLDER = files(PACKAGE).joinpath("queries")
QUERIES: dict[str, LiteralString] = {
    f"{file.name.removesuffix('.cypher')}.{name}": query
    for file in FOLDER.iterdir()
    for name, query in _queries.load(PACKAGE, f"queries/{file.name}").items()
}
SCHEMA_COMMANDS = {name for name in QUERIES if name.startswith("indexes.")}
# What the server does not explain.
SHOWS = {"schema.existing", "repair.indexes"}
SCANS = {
    "AllNodesScan",
    "NodeByLabelScan",
    "UnionNodeByLabelsScan",
    "IntersectionNodeByLabelsScan",
    "SubtractionNodeByLabelsScan",
    "NodeIndexScan",
    "NodeIndexContainsScan",
    "NodeIndexEndsWithScan",
    "DirectedRelationshipTypeScan",
    "UndirectedRelationshipTypeScan",
    "DirectedAllRelationshipsScan",
    "UndirectedAllRelationshipsScan",
}
# Administration that reads everything, and why it may.
WHOLE_STORE = {
    "schema.legacy": "asked once, of a graph without our stamp",
    "transfer.organizations": "an export of everything",
    "organization.list_organizations": "a page of all organizations, in the order of an index",
    "repair.has_data": "asked of a graph without our stamp",
    "repair.doubles": "doctor, where a constraint is missing",
    "repair.doubled_external_ids": "doctor, where a constraint is missing",
    "repair.burying_users": "doctor",
    **{name: "doctor" for name in QUERIES if name.startswith("inspect.")},
}
# Nodes that belong to no tenant, or are read for all of them.
OF_NO_TENANT = ("Meta(name)", "OutboxEntry(seq)")
PAGES = {name for name in QUERIES if name.split(".")[1].startswith(("list", "read_messages"))}


@dataclass(frozen=True)
class Operator:
    """One operator of a plan."""

    name: str
    details: str
    is_below_a_cut: bool


@pytest.fixture(scope="module")
def driver(neo4j_server: Neo4jServer) -> Iterator[neo4j.Driver]:
    """A driver on a server that has our schema."""
    server = neo4j_server

    async def set_up() -> None:
        async with Neo4jGraphInterface(
            server.uri, server.username, str(server.password), server.database
        ):
            pass

    asyncio.run(set_up())
    with neo4j.GraphDatabase.driver(
        server.uri,
        auth=(server.username, str(server.password)),
        notifications_min_severity="OFF",
    ) as driver:
        yield driver


def explain(driver: neo4j.Driver, server: Neo4jServer, query: str) -> list[Operator]:
    parameters = dict.fromkeys(re.findall(r"\$(\w+)", query))
    with driver.session(database=server.database) as session:
        plan = session.run(f"EXPLAIN {query}", parameters).consume().plan  # pyright: ignore[reportArgumentType]
    assert plan is not None
    operators: list[Operator] = []
    waiting: list[tuple[dict[str, Any], bool]] = [(plan, False)]
    while waiting:
        part, is_below_a_cut = waiting.pop()
        name = part["operatorType"].split("@")[0]
        operators.append(Operator(name, part["args"].get("Details", ""), is_below_a_cut))
        is_below_a_cut |= name in {"Limit", "Skip"}
        waiting += [(child, is_below_a_cut) for child in part.get("children", [])]
    return operators


@pytest.mark.parametrize("name", sorted(SCHEMA_COMMANDS))
def test_a_schema_command_compiles(
    driver: neo4j.Driver, neo4j_server: Neo4jServer, name: str
) -> None:
    assert explain(driver, neo4j_server, QUERIES[name])


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - SCHEMA_COMMANDS - SHOWS))
def test_b11_a_query_starts_at_an_index(
    driver: neo4j.Driver, neo4j_server: Neo4jServer, name: str
) -> None:
    operators = explain(driver, neo4j_server, QUERIES[name])
    scans = [operator for operator in operators if operator.name in SCANS]
    if name in WHOLE_STORE:
        assert scans or name in {"inspect.stamp", "inspect.counters"}
        return
    assert scans == []
    seeks = [operator for operator in operators if "IndexSeek" in operator.name]
    # The last one only creates, and the constraint looks whether it may.
    without = {"schema.server", "schema.await_indexes", "transfer.load_organization"}
    assert seeks or name in without
    for seek in seeks:
        if not any(own in seek.details for own in OF_NO_TENANT):
            # From $org_id itself, or from a row that was found by it.
            assert re.search(
                r"WHERE org_id = (\$org_id|job\.org_id|key\.org_id|cache\[e\.org_id\])",
                seek.details,
            )


@pytest.mark.parametrize("name", sorted(PAGES))
def test_b44_a_page_is_cut_in_the_order_of_its_index(
    driver: neo4j.Driver, neo4j_server: Neo4jServer, name: str
) -> None:
    operators = explain(driver, neo4j_server, QUERIES[name])
    cuts = [operator for operator in operators if operator.name == "Limit"]
    whole = [
        operator.name
        for operator in operators
        # A sort above the cut sees the page only; a memory's own sources are few.
        if operator.name in {"Top", "PartialTop"}
        or (operator.name in {"Sort", "PartialSort"} and operator.is_below_a_cut)
    ]
    if name == "interaction.list_interactions":
        # Times descend and ids ascend: interactions of one microsecond are put in order.
        assert whole == ["PartialTop"]
    else:
        assert whole == []
        assert cuts or name == "interaction.read_messages"


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_b62_no_query_needs_apoc_or_the_enterprise_edition(name: str) -> None:
    query = QUERIES[name]
    assert "apoc." not in query.lower()
    # Only uniqueness exists on Community: no keys, no constraints on presence or type.
    assert "CREATE CONSTRAINT" not in query or query.endswith("IS UNIQUE")


def test_every_constraint_is_there(driver: neo4j.Driver, neo4j_server: Neo4jServer) -> None:
    with driver.session(database=neo4j_server.database) as session:
        constraints = {row["name"]: row["type"] for row in session.run("SHOW CONSTRAINTS")}
        indexes = {row["name"]: row["state"] for row in session.run("SHOW INDEXES")}
    for name in SCHEMA_COMMANDS:
        plain = name.removeprefix("indexes.")
        assert indexes[plain] == "ONLINE"
        if "CREATE CONSTRAINT" in QUERIES[name]:
            assert constraints[plain] in {"UNIQUENESS", "NODE_PROPERTY_UNIQUENESS"}


@pytest.mark.parametrize(
    "remains",
    [
        "CREATE (:Memory)-[:DATE_OBTAINED]->(:Date)",
        "CREATE (:Memory)-[:MESSAGE_SOURCE]->(:MessageBlock)",
        "CREATE (:Org {org_id: 'o'})-[:INCLUDES]->(:User {org_id: 'o', user_id: 'u'})",
    ],
)
def test_b69_what_0_3_left_is_recognised(
    driver: neo4j.Driver, neo4j_server: Neo4jServer, remains: str
) -> None:
    with (
        driver.session(database=neo4j_server.database) as session,
        session.begin_transaction() as transaction,
    ):
        before = transaction.run(QUERIES["schema.legacy"]).single(strict=True)["found"]
        transaction.run(remains)  # pyright: ignore[reportArgumentType]
        after = transaction.run(QUERIES["schema.legacy"]).single(strict=True)["found"]
        transaction.rollback()
    assert (before, after) == (False, True)
