"""R14 at statement level: every write of the Neo4j adapter, run twice, cut at every statement.

The contract suites (`tests/contract`) are the other half of R14. Without a Neo4j the live half is
skipped and shown so; what a script can show (`tests/unit/test_neo4j_statements.py`) always runs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self

import neo4j
import pytest
from neo4j.exceptions import ServiceUnavailable

from memora.errors import GraphDBConnectionError, MemoraError, NotFoundError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.neo4j import Neo4jGraphInterface
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus
from memora.schema.jobs import JobStatus
from memora.schema.lifetime import Access
from memora.schema.models import Agent, Organization, User
from memora.schema.scope import Scope
from memora.schema.sources import SourceKind, SourceSelector
from memora.schema.transfer import OrganizationRecord, UserRecord
from memora.schema.write_plan import (
    IdempotencyRecord,
    InteractionWrite,
    MemoryEnd,
    MessageEdit,
    SourceLink,
    WritePlan,
    WriteReceipt,
)
from memora.testing.bolt import BoltProxy
from memora.testing.graph_clauses.tenant import LEASE, MakeTenant, Tenant, TenantFixtures, messages
from tests.contract.test_graph_neo4j import Neo4jFixtures
from tests.neo4j_server.process import Neo4jServer
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.neo4j, pytest.mark.timeout(240), pytest.mark.suite("R14")]

Write = Callable[[BaseGraphDB, Tenant], Awaitable[object]]

# Primitives that write; the rest of the abstract methods read, or are not transactions.
READS = ("find_", "list_", "read_", "resolve_", "outbox_status", "inspect", "setup", "close")
READS = (*READS, "open_as_is", "known_", "dump_", "count_memories", "count_records", "scrub")
READS = (*READS, "entities_mentioned", "entity_relations", "memories_mentioning")
# These go in several transactions: cut short they are finished by the next call.
STAGED = {"erase_user", "erase_organization", "withdraw", "enqueue_drop", "undo_import"}


async def append_and_remember(graph: BaseGraphDB, tenant: Tenant) -> WriteReceipt:
    """A cut, an append, a new version, a new statement and a key."""
    stored = await graph.find_interaction(tenant.scope, "talk")
    assert stored is not None
    edit = MessageEdit(1, messages("new end", before=messages("one")[0].prefix_hash))
    version = await tenant.version(tenant.memory_id("first"), "next", obtained_at=tenant.at(5))
    plan = tenant.plan(
        interaction=InteractionWrite("talk", stored.revision, edit, tenant.clock.now()),
        memories=(version, tenant.statement("third", obtained_at=tenant.at(7))),
        idempotency=IdempotencyRecord("key", "body", {"answer": 1}),
    )
    return await graph.apply(plan)


async def finish_a_job(graph: BaseGraphDB, tenant: Tenant) -> WriteReceipt:
    job = await graph.find_job(tenant.org_id, "job")
    assert job is not None
    source = TALK[tenant.org_id].source(0)
    plan = tenant.plan(
        memories=(tenant.statement("found", sources=(source,)),),
        links=(SourceLink(tenant.memory_id("first"), (source,)),),
        ends=(MemoryEnd(tenant.memory_id("second"), tenant.at(9)),),
        job=replace(job, status=JobStatus.DONE),
        job_must_exist=True,
    )
    return await graph.apply(plan)


def _now(tenant: Tenant) -> Any:
    return tenant.clock.now()


async def _claimed(tenant: Tenant) -> Any:
    """Claim on the plain handle, once the lease of a try before is over."""
    tenant.clock.advance(2 * LEASE)
    return await tenant.claim()


async def ack(graph: BaseGraphDB, tenant: Tenant) -> object:
    return await graph.ack_outbox(await _claimed(tenant))


async def fail(graph: BaseGraphDB, tenant: Tenant) -> object:
    entries = await _claimed(tenant)
    later = _now(tenant) + timedelta(minutes=1)
    return await graph.fail_outbox(entries, error="down", not_before=later, dead=True)


async def save_job(graph: BaseGraphDB, tenant: Tenant) -> object:
    job = await graph.find_job(tenant.org_id, "job")
    assert job is not None
    return await graph.save_job(replace(job, outputs={"extracted": []}))


async def repair(graph: BaseGraphDB, tenant: Tenant) -> object:
    for finding in await tenant.graph.inspect():
        if finding.org_id == tenant.org_id:
            await graph.repair(finding, _now(tenant))
    return None


async def load(graph: BaseGraphDB, tenant: Tenant) -> object:
    """An organization with a user."""
    org_id, now = f"{tenant.org_id}-x", _now(tenant)
    user = UserRecord(org_id=org_id, user_id="u", user_name="U", created_at=now, salt="s")
    organization = OrganizationRecord(org_id=org_id, org_name="X", created_at=now)
    return await graph.load_records([organization, user], now)


async def withdraw(graph: BaseGraphDB, tenant: Tenant) -> object:
    selector = SourceSelector(SourceKind.INTERACTION, "talk")
    return await graph.withdraw(tenant.scope, selector, _now(tenant), leave_tombstones=True)


async def drop(graph: BaseGraphDB, tenant: Tenant) -> object:
    """Of a user who is gone, with an entry that failed."""
    await tenant.graph.erase_user(tenant.scope, _now(tenant))
    entries = await _claimed(tenant)
    later = _now(tenant) + timedelta(days=1)
    await tenant.graph.fail_outbox(entries, error="down", not_before=later, dead=True)
    return await graph.enqueue_drop(tenant.scope, _now(tenant))


async def move_names(graph: BaseGraphDB, tenant: Tenant) -> object:
    known = await tenant.graph.find_entity_ids(tenant.scope, ["Bob", "Robert"])
    return await graph.move_entity_names(tenant.scope, {known["Bob"]: known["Robert"]})


def _run(tenant: Tenant, import_id: str) -> ImportRun:
    return ImportRun(
        org_id=tenant.org_id,
        user_id=tenant.user_id,
        import_id=import_id,
        started_at=tenant.clock.now(),
    )


async def damage(tenant: Tenant) -> None:
    """A job that was changed before it was created."""
    graph: Any = tenant.graph
    query = "MATCH (job:Job {org_id: $org_id}) SET job.updated_at = job.created_at - 1"
    await graph._connection.change(query, org_id=tenant.org_id)


# Every primitive that writes, by name; some need the talk, memories and job of `furnish`.
WRITES: Mapping[str, tuple[Write, ...]] = {
    "put_organization": (
        lambda g, t: g.put_organization(
            Organization(org_id=f"{t.org_id}-x", org_name="X", created_at=_now(t))
        ),
    ),
    "put_user": (
        lambda g, t: g.put_user(
            User(org_id=t.org_id, user_id="new", user_name="New", created_at=_now(t)), salt="s"
        ),
    ),
    "put_agent": (
        lambda g, t: g.put_agent(
            Agent(org_id=t.org_id, agent_id="new", agent_label="New", created_at=_now(t))
        ),
    ),
    "rename_organization": (lambda g, t: g.rename_organization(t.org_id, "Renamed"),),
    "rename_user": (lambda g, t: g.rename_user(t.scope, "Renamed"),),
    "rename_agent": (lambda g, t: g.rename_agent(t.org_id, t.agent_id, "Renamed"),),
    "erase_organization": (lambda g, t: g.erase_organization(t.org_id, _now(t)),),
    "erase_user": (lambda g, t: g.erase_user(t.scope, _now(t)),),
    "remove_agent": (lambda g, t: g.remove_agent(t.org_id, t.agent_id, _now(t)),),
    "erase_interactions": (lambda g, t: g.erase_interactions(t.scope, ["talk"], _now(t)),),
    "purge_memories": (
        lambda g, t: g.purge_memories(t.scope, [t.memory_id("first")], _now(t)),
        lambda g, t: g.purge_memories(t.scope, None, _now(t)),
    ),
    "apply": (append_and_remember, finish_a_job),
    "save_job": (save_job,),
    "claim_job": (
        lambda g, t: g.claim_job(t.org_id, "job", now=_now(t), lease_until=_now(t) + LEASE),
    ),
    "claim_outbox": (
        lambda g, t: g.claim_outbox(now=_now(t), lease_until=_now(t) + LEASE, limit=500),
    ),
    "ack_outbox": (ack,),
    "fail_outbox": (fail,),
    "enqueue_sync": (lambda g, t: g.enqueue_sync(t.scope, [t.memory_id("first")], _now(t)),),
    "retry_outbox": (lambda g, t: g.retry_outbox(_now(t)),),
    "repair": (repair,),
    "load_records": (load,),
    "withdraw": (withdraw,),
    "enqueue_drop": (drop,),
    "count_accesses": (
        lambda g, t: g.count_accesses(t.scope, {t.memory_id("first"): Access(1, _now(t))}),
    ),
    "archive_memories": (
        lambda g, t: g.archive_memories(
            t.scope, [t.memory_id("first")], _now(t) + timedelta(days=900), _now(t)
        ),
    ),
    "begin_import": (lambda g, t: g.begin_import(_run(t, "another")),),
    "note_import": (lambda g, t: g.note_import(t.scope, "history", ImportCounts(failed=2)),),
    "finish_import": (
        lambda g, t: g.finish_import(t.scope, "history", ImportStatus.DONE, _now(t)),
    ),
    "undo_import": (lambda g, t: g.undo_import(t.scope, "history", _now(t)),),
    "move_entity_names": (move_names,),
}
CASES = [
    pytest.param(name, write, id=f"{name}{number or ''}")
    for name, writes in WRITES.items()
    for number, write in enumerate(writes)
]
# What they change is not shown: leases, and tries of entries that wait for nothing.
UNSEEN = {"claim_outbox", "retry_outbox", "move_entity_names"}
# What is drawn anew in each tenant: numbers of entries, leases, salts.
_DRAWN = re.compile(r"seq=\d+|lease='[^']*'|datetime\.datetime\([^)]*\)")
# The talks of the tenants that were furnished, by organization.
TALK: dict[str, Any] = {}


async def furnish(tenant: Tenant) -> None:
    """A conversation, two statements from it, and an extraction that is left."""
    talk = TALK[tenant.org_id] = await tenant.begin("talk", "one", "two", "three")
    named = {"interaction_id": "talk", "entities": ("Bob", "Robert")}
    await tenant.store("first", sources=(talk.source(2),), **named)
    await tenant.store("second", sources=(talk.source(0),), obtained_at=tenant.at(1))
    await tenant.apply(job=tenant.job(talk, 0, 2))
    await tenant.graph.begin_import(_run(tenant, "history"))


async def state(tenant: Tenant) -> list[Any]:
    """Everything of the tenant, names and agents too."""
    graph = tenant.graph
    names: list[Any] = []
    for org_id in (tenant.org_id, f"{tenant.org_id}-x"):
        names.append(await graph.find_organization(org_id))
        names.append(await graph.list_users(org_id, skip=0, limit=100))
        names.append(await graph.list_agents(org_id, user_id=None, skip=0, limit=100))
    snapshot: list[Any] = []
    with suppress(NotFoundError):
        snapshot = await tenant.snapshot()
        found = await graph.list_imports(tenant.org_id, user_id=tenant.user_id, skip=0, limit=9)
        snapshot += [run.model_dump() for run in found]
    return [names, snapshot, await tenant.queue()]


@pytest.fixture
async def driver(neo4j_server: Neo4jServer) -> AsyncIterator[neo4j.AsyncDriver]:
    async with neo4j.AsyncGraphDatabase.driver(
        neo4j_server.uri,
        auth=(neo4j_server.username, str(neo4j_server.password)),
        notifications_min_severity="OFF",
    ) as driver:
        yield driver


def behind(proxy: Any, server: Neo4jServer) -> Neo4jGraphInterface:
    """A second handle on the server, behind the proxy."""
    return Neo4jGraphInterface("", "", "", server.database, driver=proxy)


def cut_at(driver: neo4j.AsyncDriver, number: int) -> BoltProxy:
    error = ServiceUnavailable("cut off")
    # Not the driver's retryable error inside the function: it would try for 30 seconds.
    error.is_retryable = lambda: False
    return BoltProxy(driver, abort_at=number, error=error)


def test_every_primitive_that_writes_is_tried() -> None:
    abstract = {
        name
        for name, method in inspect.getmembers(BaseGraphDB)
        if getattr(method, "__isabstractmethod__", False) and not name.startswith(READS)
    }
    assert abstract == WRITES.keys()


class TestStatements(Neo4jFixtures, TenantFixtures):
    """Live transactions."""

    @pytest.mark.parametrize(("name", "write"), CASES)
    async def test_b12_b25_a_write_that_is_cut_at_any_statement_is_not_there_at_all(
        self,
        make_tenant: MakeTenant,
        driver: neo4j.AsyncDriver,
        neo4j_server: Neo4jServer,
        score: Score,
        name: str,
        write: Write,
    ) -> None:
        tenant = await make_tenant()
        await furnish(tenant)
        if name == "repair":
            await damage(tenant)
        before = await state(tenant)
        number = 0
        while True:
            number += 1
            handle = behind(cut_at(driver, number), neo4j_server)
            handle.clock = tenant.clock
            try:
                await write(handle, tenant)
            except GraphDBConnectionError:
                if name not in STAGED:
                    assert await state(tenant) == before
                continue
            break
        after = await state(tenant)
        assert number > 1
        assert after != before or name in UNSEEN
        score("R14", cuts=number - 1, violations=0)
        if name.startswith("erase_") and name in STAGED:
            # What several cut tries left behind is what one whole call leaves.
            assert after[1] in ([], [[], [], [], after[2]])
            assert len(after[2]) == 1

    @pytest.mark.parametrize(("name", "write"), CASES)
    async def test_b13_a_function_that_runs_twice_does_it_once(
        self,
        make_tenant: MakeTenant,
        driver: neo4j.AsyncDriver,
        neo4j_server: Neo4jServer,
        score: Score,
        name: str,
        write: Write,
    ) -> None:
        once, twice = await make_tenant(), await make_tenant()
        proxy = BoltProxy(driver, repeats=True)
        for tenant, used in ((once, None), (twice, proxy)):
            await furnish(tenant)
            if name == "repair":
                await damage(tenant)
            handle = tenant.graph if used is None else behind(used, neo4j_server)
            handle.clock = tenant.clock
            await write(handle, tenant)
        assert proxy.statements, "nothing was rehearsed"
        assert proxy.differences == []
        assert _alike(await state(once), once) == _alike(await state(twice), twice)
        score("R14", run_twice=1, violations=0)

    async def test_b30_what_was_written_is_read_also_from_a_follower_that_lags(
        self, driver: neo4j.AsyncDriver, neo4j_server: Neo4jServer, score: Score
    ) -> None:
        follower = Follower(driver)
        assert await tour(behind(follower, neo4j_server)) == "read"
        assert follower.answered > 5
        assert follower.stale == 0
        score("R14", follower_reads=follower.answered, violations=follower.stale)

    async def test_the_lagging_follower_is_noticed_without_bookmarks(
        self, driver: neo4j.AsyncDriver, neo4j_server: Neo4jServer
    ) -> None:
        follower = Follower(driver, without_bookmarks=True)
        assert await tour(behind(follower, neo4j_server)) == "missing"
        assert follower.stale > 0


def _alike(stored: list[Any], tenant: Tenant) -> list[str]:
    """The state as words, without what differs between two tenants by nature.

    Identifiers are drawn, so rows and lists that a store sorts by them come in another order.
    """
    text = repr(stored)
    for name in ("first", "second", "third", "next", "found"):
        text = text.replace(tenant.memory_id(name), name)
    text = text.replace(f"{tenant.org_id}", "the-org")
    return sorted(re.findall(r"[\w.-]+", _DRAWN.sub("", text)))


class _Nothing:
    """A result without rows, as from a server that has not heard of them yet."""

    records: tuple[Any, ...] = ()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for record in self.records:
            yield record

    async def run(self, *_arguments: Any) -> Self:
        return self


class Follower:
    """In front of a live driver: reads find nothing unless they ask for the newest bookmark.

    A single server has no followers; this one lags as far as one can.
    """

    def __init__(self, driver: Any, *, without_bookmarks: bool = False) -> None:
        self._driver = driver
        self._without = without_bookmarks
        self.execute_query_bookmark_manager = driver.execute_query_bookmark_manager
        self.newest: set[str] = set()
        self.stale = 0
        self.answered = 0

    async def is_behind(self, manager: Any) -> bool:
        asked = set() if manager is None else set(await manager.get_bookmarks())
        behind = bool(self.newest) and not self.newest <= asked
        self.stale += behind
        self.answered += not behind
        return behind

    def session(self, **config: Any) -> _FollowerSession:
        if self._without:
            del config["bookmark_manager"]
        return _FollowerSession(self, self._driver.session(**config), config)

    async def execute_query(self, query: str, parameters: Any, **config: Any) -> Any:
        manager = None if self._without else self.execute_query_bookmark_manager
        if config.get("routing_") == "r" and await self.is_behind(manager):
            return _Nothing()
        result = await self._driver.execute_query(
            query, parameters, bookmark_manager_=manager, **config
        )
        if config.get("routing_") != "r" and manager is not None:
            self.newest = set(await manager.get_bookmarks())
        return result

    async def verify_connectivity(self) -> None:
        await self._driver.verify_connectivity()

    async def close(self) -> None:
        """The driver is the fixture's."""


class _FollowerSession:
    def __init__(self, follower: Follower, session: Any, config: Mapping[str, Any]) -> None:
        self._follower = follower
        self._session = session
        self._manager = config.get("bookmark_manager")

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.__aexit__(*exc)

    async def execute_read(self, function: Any, *arguments: Any) -> Any:
        if await self._follower.is_behind(self._manager):
            return await function(_Nothing(), *arguments)
        return await self._session.execute_read(function, *arguments)

    async def execute_write(self, function: Any, *arguments: Any) -> Any:
        result = await self._session.execute_write(function, *arguments)
        self._follower.newest = set((await self._session.last_bookmarks()).raw_values)
        return result


async def tour(graph: Neo4jGraphInterface) -> str:
    """Write and read what was written, over every way of reading."""
    try:
        org = await graph.create_organization("Follower")
        user = await graph.create_user(org.org_id, "Jake")
        scope = Scope(org.org_id, user.user_id)
        await graph.get_user(org.org_id, user.user_id)
        talk = await graph.create_interaction(org.org_id, user.user_id)
        edit = MessageEdit(0, messages("one", "two"))
        write = InteractionWrite(talk.interaction_id, talk.revision, edit, graph.clock.now())
        await graph.apply(WritePlan(scope, graph.clock.now(), interaction=write))
        found = await graph.get_interaction(org.org_id, user.user_id, talk.interaction_id)
        assert [message.content for message in found.messages or []] == ["one", "two"]
        assert len(await graph.get_all_user_interactions(org.org_id, user.user_id)) == 1
        assert len(await graph.read_prefix_hashes(scope, talk.interaction_id)) == 2
        await graph.delete_organization(org.org_id)
        assert await graph.find_organization(org.org_id) is None
    except (MemoraError, AssertionError):
        return "missing"
    return "read"
