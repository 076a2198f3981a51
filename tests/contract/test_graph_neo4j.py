"""The graph contract on a live Neo4j."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import neo4j
import pytest

from memora.graph_db.neo4j import Neo4jGraphInterface
from memora.testing.bolt import BoltProxy
from memora.testing.graph_clauses.chains import ChainClauses
from memora.testing.graph_clauses.equals import EqualClauses
from memora.testing.graph_clauses.erasure import ErasureClauses
from memora.testing.graph_clauses.memories import MemoryClauses
from memora.testing.graph_clauses.outbox import OutboxClauses
from memora.testing.graph_clauses.plans import PlanClauses
from memora.testing.graph_clauses.repair import RepairClauses
from memora.testing.graph_clauses.tenant import Reopen
from memora.testing.graph_clauses.transcripts import TranscriptClauses
from memora.testing.graph_contract import GraphContract
from tests.neo4j_server.process import Neo4jServer


def open_graph(server: Neo4jServer, driver: object = None) -> Neo4jGraphInterface:
    """A handle on the server, not set up yet."""
    return Neo4jGraphInterface(
        server.uri,
        server.username,
        str(server.password),
        server.database,
        driver=driver,  # pyright: ignore[reportArgumentType]
    )


class Neo4jFixtures:
    """Handles on the session's server."""

    @pytest.fixture
    async def graph(self, neo4j_server: Neo4jServer) -> AsyncIterator[Neo4jGraphInterface]:
        async with open_graph(neo4j_server) as graph:
            yield graph

    @pytest.fixture
    async def reopen(
        self, graph: Neo4jGraphInterface, neo4j_server: Neo4jServer
    ) -> AsyncIterator[Reopen]:
        opened: list[Neo4jGraphInterface] = []

        async def reopen() -> Neo4jGraphInterface:
            await graph.close()
            opened.append(open_graph(neo4j_server))
            await opened[0].setup()
            return opened[0]

        yield reopen
        for handle in opened:
            await handle.close()


# A server that was just started compiles every query when it first sees it.
COLD = 60


@pytest.mark.neo4j
@pytest.mark.timeout(COLD)
class TestNeo4jGraph(Neo4jFixtures, GraphContract):
    """All clauses."""


@pytest.mark.neo4j
@pytest.mark.timeout(COLD)
class TestNeo4jGraphRunTwice(
    Neo4jFixtures,
    TranscriptClauses,
    MemoryClauses,
    ChainClauses,
    PlanClauses,
    EqualClauses,
    OutboxClauses,
    ErasureClauses,
    RepairClauses,
):
    """What writes, while every writing function runs twice and its first run is rolled back."""

    @pytest.fixture
    async def graph(
        self, request: pytest.FixtureRequest, neo4j_server: Neo4jServer
    ) -> AsyncIterator[Neo4jGraphInterface]:
        async with neo4j.AsyncGraphDatabase.driver(
            neo4j_server.uri, auth=(neo4j_server.username, str(neo4j_server.password))
        ) as driver:
            proxy = BoltProxy(driver, repeats=True)
            async with open_graph(neo4j_server, proxy) as graph:
                yield graph
            # Between the two runs of a write that races with others, these may have committed:
            # there the clause itself judges the outcome, and the runs need not be equal.
            if "asyncio.gather" not in inspect.getsource(request.function):
                assert proxy.differences == []
