"""A live Neo4j when things go wrong, get big, or happen at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import neo4j
import pytest
from neo4j.exceptions import IncompleteCommit, ServiceUnavailable

from memora.errors import (
    ConflictError,
    GraphDBConnectionError,
    OrganizationNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.neo4j import Neo4jGraphInterface, _erase, interaction, memory
from memora.schema.write_plan import IdempotencyRecord, InteractionWrite, MessageEdit, OutboxOp
from memora.testing.bolt import BoltProxy
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures, messages
from tests.contract.test_graph_neo4j import Neo4jFixtures
from tests.neo4j_server.process import Neo4jServer

pytestmark = [pytest.mark.neo4j, pytest.mark.timeout(60)]


@pytest.fixture
async def driver(neo4j_server: Neo4jServer) -> AsyncIterator[neo4j.AsyncDriver]:
    async with neo4j.AsyncGraphDatabase.driver(
        neo4j_server.uri,
        auth=(neo4j_server.username, str(neo4j_server.password)),
        notifications_min_severity="OFF",
    ) as driver:
        yield driver


@pytest.fixture
def behind(
    driver: neo4j.AsyncDriver, neo4j_server: Neo4jServer
) -> Callable[[BoltProxy], Neo4jGraphInterface]:
    """Makes a second handle on the same store, behind a proxy."""

    def make(proxy: BoltProxy) -> Neo4jGraphInterface:
        return Neo4jGraphInterface(
            "",
            "",
            "",
            neo4j_server.database,
            driver=proxy,  # pyright: ignore[reportArgumentType]
        )

    return make


Behind = Callable[[BoltProxy], Neo4jGraphInterface]
Write = Callable[[Neo4jGraphInterface, Tenant], Awaitable[object]]


async def apply_everything(graph: Neo4jGraphInterface, tenant: Tenant) -> object:
    """A cut, an append, a new version, a new statement, a job and a key."""
    stored = await graph.get_interaction(tenant.org_id, tenant.user_id, "talk", False, False)
    known = tenant.memory_id("first")
    edit = MessageEdit(1, messages("new end", before=messages("one")[0].prefix_hash))
    version = await tenant.version(known, "second", obtained_at=tenant.at(5))
    write = InteractionWrite("talk", stored.revision, edit, tenant.clock.now())
    return await graph.apply(
        tenant.plan(
            interaction=write,
            memories=(version, tenant.statement("third")),
            job=None,
            idempotency=IdempotencyRecord("key", "body", {"answer": 1}),
        )
    )


async def purge_head(graph: Neo4jGraphInterface, tenant: Tenant) -> object:
    return await graph.purge_memories(tenant.scope, [tenant.memory_id("first")], tenant.clock.now())


async def erase_talk(graph: Neo4jGraphInterface, tenant: Tenant) -> object:
    return await graph.erase_interactions(tenant.scope, ["talk"], tenant.clock.now())


class TestNeo4jFailures(Neo4jFixtures, TenantFixtures):
    """Statements that fail, commits whose answer is lost, erasures that stop half-way."""

    @pytest.mark.parametrize("write", [apply_everything, purge_head, erase_talk])
    async def test_b12_a_failing_statement_leaves_nothing(
        self,
        tenant: Tenant,
        behind: Behind,
        driver: neo4j.AsyncDriver,
        write: Write,
    ) -> None:
        talk = await tenant.begin("talk", "one", "two", "three")
        await tenant.store("first", interaction_id="talk", sources=(talk.source(2),))
        before = await tenant.snapshot()
        number = 0
        while True:
            number += 1
            error = ServiceUnavailable("cut off")
            # Not the driver's retryable error inside the function: it would try for 30 seconds.
            error.is_retryable = lambda: False
            proxy = BoltProxy(driver, abort_at=number, error=error)
            try:
                await write(behind(proxy), tenant)
            except GraphDBConnectionError:
                assert await tenant.snapshot() == before
                continue
            break
        assert number > 4
        assert await tenant.snapshot() != before

    async def test_b13_a_lost_answer_is_decided_by_the_key(
        self, tenant: Tenant, behind: Behind, driver: neo4j.AsyncDriver
    ) -> None:
        proxy = BoltProxy(driver, loses_commits=True, error=IncompleteCommit("lost"))
        lossy = behind(proxy)
        plan = tenant.plan(
            interaction=tenant.creation("talk", "hello"),
            memories=(tenant.statement("said"),),
            idempotency=IdempotencyRecord("key", "body", {"answer": 1}),
        )
        with pytest.raises(GraphDBConnectionError):
            await lossy.apply(plan)
        once = await tenant.snapshot()
        receipt = await tenant.graph.apply(plan)
        assert receipt.replayed
        assert receipt.result == {"answer": 1}
        assert await tenant.snapshot() == once
        assert len(await tenant.queue()) == 1

    async def test_b13_without_a_key_a_repetition_is_a_conflict(
        self, tenant: Tenant, behind: Behind, driver: neo4j.AsyncDriver
    ) -> None:
        lossy = behind(BoltProxy(driver, loses_commits=True, error=IncompleteCommit("lost")))
        plan = tenant.plan(interaction=tenant.creation("talk", "hello"))
        with pytest.raises(GraphDBConnectionError):
            await lossy.apply(plan)
        with pytest.raises(ConflictError):
            await tenant.graph.apply(plan)

    async def test_b83_an_interrupted_erasure_is_finished_by_the_next(
        self,
        tenant: Tenant,
        behind: Behind,
        driver: neo4j.AsyncDriver,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(_erase, "BATCH", 3)
        talk = await tenant.begin("talk", "a", "b", "c", "d")
        for name in ("one", "two", "three", "four"):
            await tenant.store(name, sources=(talk.source(0),))
        # In the second transaction after the mark.
        broken = behind(BoltProxy(driver, abort_at=4))
        with pytest.raises(ConnectionError):
            await broken.erase_user(tenant.scope, tenant.clock.now())
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        assert await graph.find_user(tenant.scope) is None
        assert await graph.list_users(org_id, skip=0, limit=5) == []
        # What is left of it is not shown, and the relay takes its vectors away.
        assert await tenant.all_memories() == []
        assert await graph.list_interactions(tenant.scope, skip=0, limit=5) == []
        assert await graph.find_interaction(tenant.scope, "talk") is None
        ids = [tenant.memory_id(name) for name in ("one", "two", "three", "four")]
        assert await graph.read_memories(tenant.scope, ids) == []
        assert await graph.resolve_memories(tenant.scope, ids, None) == {}
        assert await graph.resolve_memories(tenant.scope, ids, tenant.at(9)) == {}
        assert await graph.read_chains(tenant.scope, ids) == {}
        assert await graph.read_index_documents(tenant.scope, ids) == []
        with pytest.raises(UserNotFoundError):
            await tenant.store("late")
        with pytest.raises(GraphDBConnectionError):
            await graph.create_user(org_id, "Jake", user_id=user_id)
        assert OutboxOp.DROP_USER not in [entry.op for entry in await tenant.queue()]
        counts = await graph.erase_user(tenant.scope, tenant.clock.now())
        assert counts.users == 1
        assert [entry.op for entry in await tenant.queue()] == [OutboxOp.DROP_USER]
        again = await graph.erase_user(tenant.scope, tenant.clock.now())
        assert (again.users, again.memories) == (0, 0)
        await graph.create_user(org_id, "Jake", user_id=user_id)
        assert await tenant.all_memories() == []

    async def test_b83_an_organization_under_erasure_takes_nobody_in(
        self, tenant: Tenant, behind: Behind, driver: neo4j.AsyncDriver
    ) -> None:
        await tenant.store("one")
        graph, org_id = tenant.graph, tenant.org_id
        broken = behind(BoltProxy(driver, abort_at=3))
        with pytest.raises(ConnectionError):
            await broken.erase_organization(org_id, tenant.clock.now())
        assert await graph.find_organization(org_id) is None
        with pytest.raises(OrganizationNotFoundError):
            await graph.create_user(org_id, "Late")
        with pytest.raises(OrganizationNotFoundError):
            await graph.create_agent(org_id, "Late")
        with pytest.raises(UserNotFoundError):
            await tenant.store("two")
        with pytest.raises(GraphDBConnectionError):
            await graph.create_organization("Again", org_id=org_id)
        counts = await graph.erase_organization(org_id, tenant.clock.now())
        assert (counts.users, counts.memories) == (1, 1)
        assert [entry.op for entry in await tenant.queue()] == [OutboxOp.DROP_ORGANIZATION]

    async def test_b37_big_things_go_in_steps(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(interaction, "_BATCH", 4)
        monkeypatch.setattr(memory, "_BATCH", 2)
        graph, now = tenant.graph, tenant.clock.now()
        long = await tenant.begin("long", *"abcdefghij")
        for name in ("short", "shorter", "shortest"):
            await tenant.begin(name, "x", "y")
        await tenant.store("told", interaction_id="long", sources=(long.source(9),))
        counts = await graph.erase_interactions(tenant.scope, None, now)
        assert (counts.interactions, counts.messages, counts.memories) == (4, 16, 1)
        assert await graph.list_interactions(tenant.scope, skip=0, limit=9) == []
        for number in range(5):
            await tenant.store(f"memory {number}")
        counts = await graph.purge_memories(tenant.scope, None, now)
        assert counts.memories == 5
        assert await tenant.all_memories() == []

    async def test_b84_a_cut_step_of_an_erasure_leaves_a_valid_interaction(
        self,
        tenant: Tenant,
        behind: Behind,
        driver: neo4j.AsyncDriver,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(interaction, "_BATCH", 4)
        await tenant.begin("long", *"abcdefghij")
        # The first step has five statements; the second one fails after its first.
        broken = behind(BoltProxy(driver, abort_at=6))
        with pytest.raises(ConnectionError):
            await broken.erase_interactions(tenant.scope, ["long"], tenant.clock.now())
        left = await tenant.graph.get_interaction(tenant.org_id, tenant.user_id, "long")
        assert 0 < left.message_count < 10
        assert len(left.messages or []) == left.message_count
        hashes = await tenant.graph.read_prefix_hashes(tenant.scope, "long")
        assert left.content_hash == hashes[-1]
        counts = await tenant.graph.erase_interactions(tenant.scope, ["long"], tenant.clock.now())
        assert counts.interactions == 1

    async def test_b25_entries_are_numbered_in_the_order_of_commit(self, tenant: Tenant) -> None:
        scopes = [await tenant.other_user(f"user {number}") for number in range(4)]
        committed: list[str] = []

        async def write(scope: Any, number: int) -> None:
            statement = tenant.statement(f"{scope.user_id}: {number}")
            await tenant.apply(scope, memories=(statement,))
            committed.append(statement.memory_id)

        await asyncio.gather(*(write(scope, number) for number in range(5) for scope in scopes))
        queue = await tenant.queue()
        assert len({entry.seq for entry in queue}) == len(queue) == 20
        assert sorted(committed) == sorted(entry.memory_ids[0] for entry in queue)

    async def test_no_two_workers_get_one_entry(self, tenant: Tenant) -> None:
        scopes = [await tenant.other_user(f"user {number}") for number in range(12)]
        for scope in scopes:
            await tenant.graph.enqueue_sync(scope, [f"m of {scope.user_id}"], tenant.clock.now())
        now = tenant.clock.now()

        async def work() -> list[int]:
            entries = await tenant.graph.claim_outbox(
                now=now, lease_until=now + timedelta(minutes=1), limit=500
            )
            return [entry.seq for entry in entries if entry.org_id == tenant.org_id]

        claims = await asyncio.gather(*(work() for _ in range(6)))
        claimed = [seq for claim in claims for seq in claim]
        assert len(claimed) == len(set(claimed)) == 12

    async def test_a_job_is_claimed_once(self, tenant: Tenant) -> None:
        talk = await tenant.begin("talk", "one")
        await tenant.apply(job=tenant.job(talk, 0, 1))
        now = tenant.clock.now()
        claims = await asyncio.gather(
            *(
                tenant.graph.claim_job(
                    tenant.org_id, "job", now=now, lease_until=now + timedelta(minutes=1)
                )
                for _ in range(6)
            )
        )
        assert len([claim for claim in claims if claim is not None]) == 1

    async def test_users_and_agents_made_at_once_are_all_there(self, tenant: Tenant) -> None:
        graph, org_id = tenant.graph, tenant.org_id
        await asyncio.gather(
            *(graph.create_user(org_id, "Kim", user_id=f"u{n % 5}") for n in range(15)),
            *(graph.create_agent(org_id, "Bot", agent_id=f"a{n % 5}") for n in range(15)),
        )
        users = await graph.list_users(org_id, skip=0, limit=100)
        agents = await graph.list_agents(org_id, user_id=None, skip=0, limit=100)
        assert (len(users), len(agents)) == (6, 6)


async def hits(driver: neo4j.AsyncDriver, proxy: BoltProxy, database: str) -> int:
    """Return how often the store is read for what the proxy saw, sent once more and rolled back."""
    total = 0
    async with driver.session(database=database) as session:
        transaction = await session.begin_transaction()
        for statement in proxy.statements:
            result = await transaction.run(
                f"PROFILE {statement.query}",  # pyright: ignore[reportArgumentType]
                dict(statement.parameters),
            )
            summary = await result.consume()
            assert summary.profile is not None
            parts = [summary.profile]
            while parts:
                part = parts.pop()
                total += part["dbHits"]
                parts += part.get("children", [])
        await transaction.rollback()
    return total


class TestNeo4jGrowth(Neo4jFixtures, TenantFixtures):
    """What a write costs does not depend on what is there."""

    async def test_b39_an_append_costs_the_same_at_any_length(
        self, tenant: Tenant, behind: Behind, driver: neo4j.AsyncDriver, graph: Neo4jGraphInterface
    ) -> None:
        costs: list[int] = []
        for length in (60, 3000):
            talk = await tenant.begin(f"talk {length}", *(f"m{n}" for n in range(length)))
            proxy = BoltProxy(driver, abort_at=3)
            write = tenant.change(talk, 1, length, "next", "and next")
            plan = tenant.plan(interaction=write, memories=(tenant.statement(f"m {length}"),))
            with pytest.raises(ConnectionError):
                await behind(proxy).apply(plan)
            costs.append(await hits(driver, proxy, graph.database))
        assert costs[0] == costs[1]

    async def test_b19_a_memory_costs_the_same_for_any_user(
        self, tenant: Tenant, behind: Behind, driver: neo4j.AsyncDriver, graph: Neo4jGraphInterface
    ) -> None:
        costs: list[int] = []
        for number in (60, 3000):
            scope = await tenant.other_user(f"user of {number}")
            await tenant.apply(
                scope,
                memories=tuple(tenant.statement(f"{number}: {n}") for n in range(number)),
            )
            proxy = BoltProxy(driver, abort_at=2)
            with pytest.raises(ConnectionError):
                await behind(proxy).apply(
                    tenant.plan(scope, memories=(tenant.statement(f"one more of {number}"),))
                )
            costs.append(await hits(driver, proxy, graph.database))
        assert costs[0] == costs[1]
