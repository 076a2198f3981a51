"""What the SQLite graph promises beyond the contract of all graphs."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memora import _queries
from memora.errors import GraphDBConnectionError, GraphDBError, SchemaVersionError, StoreLockedError
from memora.graph_db.sqlite import interaction, memory, organization, records
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.jobs import JobStatus
from memora.schema.write_plan import DeleteCounts, IdempotencyRecord, OutboxOp
from memora.testing.clocks import FrozenClock
from memora.testing.graph_clauses.tenant import Tenant

HOUR = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "graph.sqlite3"


@pytest.fixture
async def graph(path: Path, clock: FrozenClock) -> AsyncIterator[SQLiteGraph]:
    async with SQLiteGraph(path, clock=clock) as graph:
        yield graph


@pytest.fixture
async def tenant(graph: SQLiteGraph, clock: FrozenClock) -> Tenant:
    tenant = Tenant(graph, "org", clock)
    await tenant.create()
    return tenant


async def test_a_graph_in_memory_needs_no_file() -> None:
    async with SQLiteGraph(None) as graph:
        created = await graph.create_organization("Org")
        assert await graph.get_organization(created.org_id) == created


async def test_the_file_is_one_process_s_and_only_memora_s(graph: SQLiteGraph, path: Path) -> None:
    other = SQLiteGraph(path)
    with pytest.raises(StoreLockedError):
        await other.setup()
    await graph.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 7")
    with pytest.raises(SchemaVersionError):
        await other.setup()
    with pytest.raises(GraphDBError, match="not open"):
        await other.list_organizations(skip=0, limit=1)


async def test_opening_frees_what_a_dead_owner_had_claimed(tenant: Tenant, path: Path) -> None:
    talk = await tenant.begin("talk", "a")
    await tenant.apply(job=tenant.job(talk, 0, 1))
    await tenant.apply(job=tenant.job(talk, 0, 1, "done", status=JobStatus.DONE))
    await tenant.store("m")
    graph, now = tenant.graph, tenant.clock.now()
    job = await graph.claim_job("org", "job", now=now, lease_until=now + HOUR)
    assert job is not None
    (claimed,) = await graph.claim_outbox(now=now, lease_until=now + HOUR, limit=9)
    await graph.setup()  # open already: nothing is freed
    assert await graph.claim_outbox(now=now, lease_until=now + HOUR, limit=9) == []
    await graph.close()
    async with SQLiteGraph(path, clock=tenant.clock) as reopened:
        (again,) = await reopened.claim_outbox(now=now, lease_until=now + HOUR, limit=9)
        assert (again.seq, again.memory_ids) == (claimed.seq, claimed.memory_ids)
        freed = await reopened.get_job("org", "job")
        assert (freed.status, freed.lease_until, freed.attempts) == (JobStatus.PENDING, None, 1)
        assert (await reopened.get_job("org", "done")).status is JobStatus.DONE


async def test_b83_erased_bytes_are_gone_from_the_files(tenant: Tenant, path: Path) -> None:
    canary = "canary-5b1f6e2a"
    graph = tenant.graph
    await graph.create_user("org", f"name {canary}", user_id="gone")
    scope = await tenant.other_user("other")
    gone = Tenant(graph, "org", tenant.clock)
    gone.user_id = "gone"
    gone.scope = type(scope)("org", "gone")
    for number in range(30):
        talk = await gone.begin(
            f"talk{number}", *(f"{canary} {i} " + "x" * 500 for i in range(20)), title=canary
        )
        await gone.store(
            f"m{number}",
            f"{canary} likes {number}",
            sources=(talk.source(0),),
            metadata={"k": canary},
            tags=(canary,),
        )
        await gone.apply(
            job=gone.job(talk, 0, 1, f"job{number}", outputs={"x": canary}),
            idempotency=IdempotencyRecord(f"key{number}", "b", {"x": canary}),
        )
    await graph.purge_memories(gone.scope, [gone.memory_id("m0")], gone.clock.now())
    files = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    assert any(canary.encode() in file.read_bytes() for file in files)
    await graph.erase_user(gone.scope, gone.clock.now())
    assert not any(canary.encode() in file.read_bytes() for file in files)


async def test_b37_big_deletes_go_page_by_page(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interaction, "_AT_ONCE", 2)
    monkeypatch.setattr(interaction, "_MEMORIES_AT_ONCE", 2)
    monkeypatch.setattr(memory, "_AT_ONCE", 2)
    for number in range(5):
        await tenant.begin(f"talk{number}", "a", "b")
        await tenant.apply(
            memories=tuple(
                tenant.statement(f"m{number}.{i}", interaction_id=f"talk{number}") for i in range(3)
            )
        )
    first = await tenant.store("first")
    for number in range(6):
        await tenant.grow(first, f"v{number}", obtained_at=tenant.at(number + 1))
    await tenant.empty_queue()
    graph, scope, now = tenant.graph, tenant.scope, tenant.clock.now()
    counts = await graph.erase_interactions(scope, None, now)
    assert counts == DeleteCounts(interactions=5, messages=10, memories=15)
    assert len(await tenant.queued_ids()) == 15
    chosen = [tenant.memory_id(f"v{number}") for number in range(5)]
    assert (await graph.purge_memories(scope, chosen, now)).memories == 5
    assert await tenant.history(first) == [tenant.memory_id("v5"), first]
    assert (await graph.purge_memories(scope, None, now)).memories == 2
    assert len(await tenant.queued_ids()) == 22
    assert await graph.inspect() == []


async def test_an_organization_is_erased_in_steps_that_can_be_repeated(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organization, "_USERS_AT_ONCE", 2)
    graph, now = tenant.graph, tenant.clock.now()
    for number in range(4):
        scope = await tenant.other_user(f"user{number}")
        await tenant.begin(f"talk{number}", "a", scope=scope)
    erasing = asyncio.create_task(graph.erase_organization("org", now))
    while len(users := await graph.list_users("org", skip=0, limit=9)) > 3:
        await asyncio.sleep(0)
    erasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await erasing
    assert users
    assert await graph.find_organization("org") is not None
    left = len(await graph.list_users("org", skip=0, limit=9))
    assert (await graph.erase_organization("org", now)).users == left
    assert await graph.find_organization("org") is None
    assert [entry.op for entry in await tenant.queue()] == [OutboxOp.DROP_ORGANIZATION]


async def steps(graph: SQLiteGraph, write: Callable[[], Awaitable[object]]) -> int:
    """Return how much work SQLite does for a write, in its own instructions."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    store = graph._store
    await store.write(lambda connection: connection.set_progress_handler(count, 10))
    await write()
    await store.write(lambda connection: connection.set_progress_handler(None, 0))
    return counted


async def test_b39_appending_costs_the_same_however_long_the_interaction(
    tenant: Tenant, graph: SQLiteGraph
) -> None:
    costs = []
    for count in (10, 10_000):
        talk = await tenant.begin(f"talk{count}", *(f"m{i}" for i in range(count)))
        write = tenant.change(talk, 1, count, "one", "two")
        costs.append(await steps(graph, lambda write=write: tenant.apply(interaction=write)))
    assert costs[1] <= 1.5 * costs[0]


async def fails_everywhere(tenant: Tenant, write: Callable[[], Awaitable[object]]) -> int:
    """Interrupt a write after ever more of SQLite's instructions, until it gets through.

    Returns how often it was interrupted; each time everything was as before.
    """
    store = tenant.graph._store  # type: ignore[attr-defined] - this backend's own
    before = await tenant.snapshot()
    calls_left = 0  # none: not armed

    def interrupt() -> bool:
        nonlocal calls_left
        calls_left -= 1
        return calls_left == 0

    await store.write(lambda connection: connection.set_progress_handler(interrupt, 17))
    interrupted = -1
    done = False
    while not done:
        interrupted += 1
        calls_left = interrupted + 1
        try:
            await write()
            done = True
        except GraphDBConnectionError:
            assert await tenant.snapshot() == before
    calls_left = 0
    await store.write(lambda connection: connection.set_progress_handler(None, 0))
    return interrupted


async def test_b12_an_interruption_anywhere_leaves_nothing(tenant: Tenant) -> None:
    graph, scope, now = tenant.graph, tenant.scope, tenant.clock.now()
    talk = await tenant.begin("talk", *"abcdef")
    first = await tenant.store("first", sources=(talk.source(0), talk.source(5)))
    plan = tenant.plan(
        interaction=tenant.change(talk, 1, 3, "x", "y", title="New"),
        memories=(
            tenant.statement("m", interaction_id="talk", sources=(talk.source(1),)),
            await tenant.version(first, "second", obtained_at=tenant.at(1)),
        ),
        job=tenant.job(talk, 3, 5),
        idempotency=IdempotencyRecord("key", "body", {}),
    )
    assert await fails_everywhere(tenant, lambda: graph.apply(plan)) > 40
    assert await tenant.current(first) == tenant.memory_id("second")
    purge = lambda: graph.purge_memories(scope, [first], now)  # noqa: E731 - done again
    assert await fails_everywhere(tenant, purge) > 20
    erase = lambda: graph.erase_interactions(scope, ["talk"], now)  # noqa: E731 - done again
    assert await fails_everywhere(tenant, erase) > 20
    assert await tenant.history(tenant.memory_id("second")) == [tenant.memory_id("second")]
    assert await graph.inspect() == []


# Corruption that inspect finds: statements, then the findings that they cause.
CORRUPTION = {
    "a message is missing": (
        ["DELETE FROM message WHERE position = 1"],
        {
            ("I2", "talk", "positions are not 0 to message_count - 1"),
            ("I10", "b", "a source is not a message of its user"),
        },
    ),
    "the count is wrong": (
        ["UPDATE interaction SET message_count = 4"],
        {
            ("I2", "talk", "positions are not 0 to message_count - 1"),
            ("I2", "talk", "content_hash is not that of the last message"),
        },
    ),
    "the tail hash is wrong": (
        ["UPDATE interaction SET content_hash = 'x'"],
        {("I2", "talk", "content_hash is not that of the last message")},
    ),
    "messages without an interaction": (
        ["UPDATE memory SET interaction_id = NULL", "DELETE FROM interaction"],
        {
            ("I2", "talk", "messages without an interaction"),
            ("I10", "b", "a source is not a message of its user"),
        },
    ),
    "no user": (
        ["DELETE FROM user"],
        {
            ("I3", "talk", "its user does not exist"),
            *(("I3", name, "its user does not exist") for name in "abc"),
        },
    ),
    "no agent": (
        ["DELETE FROM agent"],
        {("I3", "the-agent", "records name an agent that does not exist")},
    ),
    "a foreign interaction": (
        ["INSERT INTO user VALUES ('org', 'other', 'O', 1, 's')",
         "UPDATE interaction SET user_id = 'other'"],
        {
            ("I3", "b", "its interaction does not exist for its user"),
            ("I10", "b", "a source is not a message of its user"),
        },
    ),
    "a fork": (
        ["DROP INDEX memory_one_predecessor",
         "UPDATE memory SET successor_id = 'c' WHERE memory_id = 'a'"],
        {
            ("I4", "c", "has more than one predecessor"),
            ("I20", "memory_one_predecessor", "the index is missing"),
        },
    ),
    "two heads": (
        ["DROP INDEX memory_one_head",
         "UPDATE memory SET superseded_at = NULL, successor_id = NULL WHERE memory_id = 'b'"],
        {
            ("I20", "memory_one_head", "the index is missing"),
            ("I4", "a", "the chain has more than one current version"),
            ("I4", "a", "the versions of the chain are not linked to each other"),
        },
    ),
    "current with a successor": (
        ["DROP INDEX memory_one_head",
         "UPDATE memory SET superseded_at = NULL WHERE memory_id = 'b'"],
        {
            ("I20", "memory_one_head", "the index is missing"),
            ("I4", "a", "the chain has more than one current version"),
            ("I4", "b", "is current and has a successor"),
        },
    ),
    "a gap": (
        ["UPDATE memory SET successor_id = NULL WHERE memory_id = 'a'"],
        {("I4", "a", "the versions of the chain are not linked to each other")},
    ),
    "a dangling successor": (
        ["UPDATE memory SET successor_id = 'nowhere' WHERE memory_id = 'b'"],
        {("I4", "b", "its successor does not exist")},
    ),
    "a cycle": (
        ["UPDATE memory SET successor_id = 'a', superseded_at = obtained_at"
         " WHERE memory_id = 'c'"],
        {
            ("I4", "c", "its successor is older"),
            *(("I4", name, "is in a cycle") for name in "abc"),
        },
    ),
    "another chain": (
        ["UPDATE memory SET chain_id = 'x' WHERE memory_id = 'c'"],
        {
            ("I4", "b", "its successor is in another chain"),
            },
    ),
    "another user in the chain": (
        ["INSERT INTO user VALUES ('org', 'other', 'O', 1, 's')",
         "UPDATE memory SET user_id = 'other' WHERE memory_id = 'c'"],
        {
            ("I4", "b", "its successor belongs to another user"),
            ("I4", "a", "the chain has versions of more than one user"),
        },
    ),
    "an older successor": (
        ["UPDATE memory SET obtained_at = 5 WHERE memory_id = 'c'"],
        {("I4", "b", "its successor is older")},
    ),
    "overlapping validity": (
        ["UPDATE memory SET superseded_at = superseded_at + 1 WHERE memory_id = 'b'"],
        {("I4", "b", "it was still current when its successor began")},
    ),
    "a source beyond the end": (
        ["UPDATE memory_source SET position = 9"],
        {("I10", "b", "a source is not a message of its user")},
    ),
    "a memory that ended before it began": (
        ["UPDATE memory SET superseded_at = obtained_at - 1 WHERE memory_id = 'b'"],
        {("I13", "b", "its times are out of order or outside the calendar")},
    ),
    "a time after the calendar": (
        ["UPDATE memory SET recorded_at = 253402300800000000 WHERE memory_id = 'a'"],
        {("I13", "a", "its times are out of order or outside the calendar")},
    ),
    "activity before creation": (
        ["UPDATE interaction SET last_activity_at = created_at - 1"],
        {("I13", "talk", "its times are out of order or outside the calendar")},
    ),
    "a job changed before it was made": (
        ["UPDATE job SET updated_at = created_at - 1"],
        {("I13", "job", "it was changed before it was created")},
    ),
    "another stamp": (
        ["PRAGMA user_version = 9"],
        {("I20", "schema", "the stamp is not as memora makes it")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CORRUPTION)
async def test_inspect_finds(kind: str, tenant: Tenant, graph: SQLiteGraph, path: Path) -> None:
    talk = await tenant.begin("talk", "x", "y", "z")
    names = {}
    for name, minute in (("a", 0), ("b", 1), ("c", 2)):
        fields = {} if name != "b" else {
            "interaction_id": "talk", "agent_id": tenant.agent_id, "sources": (talk.source(1),)
        }  # fmt: skip
        fields["obtained_at"] = tenant.at(minute)
        if names:
            memory_id = await tenant.grow(tenant.memory_id("a"), name, **fields)
        else:
            memory_id = await tenant.store(name, **fields)
        names[name] = memory_id
    await tenant.apply(job=tenant.job(talk, 0, 1))
    assert await graph.inspect() == []
    statements, expected = CORRUPTION[kind]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(
                re.sub(r"'([abc])'", lambda match: f"'{names[match[1]]}'", statement)
            )
    ids = {memory_id: name for name, memory_id in names.items()}
    found = await graph.inspect()
    assert {(f.invariant, ids.get(f.record_id, f.record_id), f.detail) for f in found} == expected


# What a query brings along or bounds itself is no table: `recent` has a limit.
BIG_TABLES = re.compile(r"^SCAN (?!wanted|memory_ids|json_each|ids|recent|CONSTANT ROW)(\w+)")
# Files whose queries go through all of a user.
WHOLE_USER = {"user.sql", "erasure.sql", "transfer.sql"}
# Queries that go through a whole table on purpose.
WALKS = {
    "organization.sql: page",
    "transfer.sql: organizations",
    "outbox.sql: page",
    "outbox.sql: status",
    "outbox.sql: retry",
    "outbox.sql: claim",
    "outbox.sql: release_all",
    "jobs.sql: release_all",
    "keys.sql: exists",
    "keys.sql: is_empty",
    "keys.sql: list",
}


async def test_every_query_uses_an_index(graph: SQLiteGraph) -> None:
    folder = Path(organization.__file__).parent / "queries"
    wrong = []
    for file in sorted(folder.glob("*.sql")):
        # The doctor, and the views that are tested with what reads them.
        if file.name in {"inspect.sql", "sealed.sql", "unsealed.sql"}:
            continue
        queries = _queries.load("memora.graph_db.sqlite", f"queries/{file.name}")
        for name, query in queries.items():
            params = dict.fromkeys(re.findall(r":(\w+)", query), "[]")
            plan = await graph._store.read(
                lambda connection, query=query, params=params: connection.execute(
                    f"EXPLAIN QUERY PLAN {query}", params
                ).fetchall()
            )
            for *_, detail in plan:
                walks = BIG_TABLES.match(detail) and f"{file.name}: {name}" not in WALKS
                # All memories of a user are walked only where a listing asks for them.
                listing = name in {"page", "some"} or file.name in WHOLE_USER
                whole_user = "memory_by_time (org_id=? AND user_id=?)" in detail and not listing
                sorted_page = name.startswith("page") and "TEMP B-TREE" in detail
                if walks or whole_user or sorted_page:
                    wrong.append(f"{file.name}: {name}: {detail}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 59, 59, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_b64_times_are_exact_microseconds(time: datetime) -> None:
    stored = records.micros(time)
    assert isinstance(stored, int)
    assert records.moment(stored) == time
    assert records.moment(stored).tzinfo is UTC
    later = records.optional_micros(time)
    assert later == stored
    assert records.optional_moment(records.optional_micros(None)) is None
