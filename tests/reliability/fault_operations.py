"""What is broken off half-way: operations, the store they start from, and what is there after them.

Every operation may be repeated with the same keys and ids, and then has one effect. To add one:
write an `Operation` and put it into `OPERATIONS`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memora import Memora, SeedData
from memora.core.ids import derived_memory_id
from memora.errors import ExtractionError
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.schema.scope import Scope
from memora.testing.clocks import FrozenClock
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM

# The store is older than the operation, and what an operation stamps counts as one moment.
NOW = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)
ORG, USER, OTHER, AGENT = "acme", "jake", "kim", "jenny"
GRAPH = "graph.sqlite3"


@dataclass
class World:
    """An engine and the parts that a test moves.

    Attributes:
        folder: Where its stores lie.
    """

    memora: Memora
    clock: FrozenClock
    folder: Path

    @property
    def graph(self) -> BaseGraphDB:
        return self.memora.graph


Step = Callable[[World], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """Something that may be broken off.

    Attributes:
        run: The operation; the same call again is the repetition.
        prepare: What the store needs beyond the common one.
        with_model: It asks the extraction model.
        opens: Opening the store is a part of it.
        from_nothing: It starts without any store.
    """

    name: str
    run: Step
    prepare: Step | None = None
    with_model: bool = False
    opens: bool = False
    from_nothing: bool = False

    def __str__(self) -> str:
        return self.name


def script(call: Call) -> Answer:
    """A model that keeps what users say; what begins with "now" contradicts the first it sees."""
    if call.schema == "MemoryExtractionResponse":
        spoken = [m for m in call.data["new_messages"] if m["role"] == "user"]
        return {
            "memories": [
                {
                    "memory": f"[[user]] said {message['content']}",
                    "msg_source_ids": [message["id"]],
                    "memory_type": "fact",
                    "importance": 0.5,
                }
                for message in spoken
            ]
        }
    verdicts: list[dict[str, Any]] = []
    for candidate in call.data["candidates"]:
        contradicts = "said now" in candidate["memory"] and call.data["existing"]
        verdicts.append(
            {
                "candidate": candidate["number"],
                "verdict": "contradiction" if contradicts else "new",
                "existing": call.data["existing"][0]["number"] if contradicts else None,
            }
        )
    return {"verdicts": verdicts}


def out_of_order(_call: Call) -> Answer:
    """A model that is down."""
    return OutageError()


def talk(*texts: str) -> list[dict[str, str]]:
    """Return a conversation of user messages, each answered."""
    return [
        message
        for text in texts
        for message in (
            {"role": "user", "content": text},
            {"role": "assistant", "content": f"I see: {text}"},
        )
    ]


async def save(world: World, *texts: str, key: str, user: str = USER, **options: Any) -> str:
    interaction_id, _at = await world.memora.save_or_update_interaction_and_memories(
        ORG,
        user,
        interaction=talk(*texts),
        idempotency_key=key,
        **{"current_datetime": world.clock.now(), **options},
    )
    return interaction_id


# The common store: two users, two agents, three interactions, a statement with three versions

LONG = ("I like green tea", "I have a dog", "I live in Oslo")


async def build(world: World) -> None:
    """Fill an empty store."""
    graph = world.graph
    await graph.create_organization("Acme", org_id=ORG)
    await graph.create_user(ORG, "Jake", user_id=USER)
    await graph.create_user(ORG, "Kim", user_id=OTHER)
    await graph.create_agent(ORG, "Jenny", agent_id=AGENT)
    await graph.create_agent(ORG, "Own", USER, agent_id="own")
    await graph.create_interaction(ORG, USER, AGENT, external_id="empty")
    await save(world, *LONG, key="long", external_id="long", agent_id=AGENT)
    await world.memora.save_or_update_interaction_and_memories(
        ORG, USER, interaction=talk("I am one")[:1], external_id="one", current_datetime=BEFORE
    )
    await save(world, "I like rain", key="kim", user=OTHER, external_id="long")
    tea = await memory_id(world, "I like green tea")
    for text in ("I like black tea", "I like white tea"):
        world.clock.advance(timedelta(days=1))
        await world.memora.update_memory(ORG, USER, tea, text)


async def memory_id(world: World, text: str) -> str:
    """Return the oldest version with this text; where it is gone, an id that nothing has."""
    page = await world.graph.list_memories(Scope(ORG, USER), MemoryListing(current_only=False))
    found = [memory for memory in page if memory.memory == text]
    if not found:
        return derived_memory_id("gone", text)
    return min(found, key=lambda memory: memory.obtained_at).memory_id


# Operations


async def save_new(world: World) -> None:
    await save(world, "I play chess", "I sing", key="op", external_id="new", agent_id=AGENT)


async def append(world: World) -> None:
    await save(world, *LONG, "I play chess", key="op", interaction_id="long", agent_id=AGENT)


async def truncate(world: World) -> None:
    await save(world, LONG[0], "I have a cat", key="op", interaction_id="long")


async def empty_transcript(world: World) -> None:
    await world.memora.save_or_update_interaction_and_memories(
        ORG,
        USER,
        interaction=[],
        interaction_id="long",
        idempotency_key="op",
        current_datetime=NOW,
    )


async def supersede(world: World) -> None:
    await save(world, "now I like green tea and coffee", key="op", external_id="new")


async def leave_a_job(world: World) -> None:
    """Store a transcript whose extraction failed."""
    down = Memora(world.memora.vector_db, world.graph, None, ScriptedBackendLLM(out_of_order))
    with pytest.raises(ExtractionError):
        await save(World(down, world.clock, world.folder), "I play chess", key="left")


async def extract_commit(world: World) -> None:
    for job in await world.graph.list_jobs(ORG, user_id=USER):
        await world.memora.resume_job(ORG, job.job_id)


def purge(text: str) -> Step:
    async def run(world: World) -> None:
        await world.memora.delete_memory(ORG, USER, await memory_id(world, text))

    return run


def delete_interaction(external_id: str) -> Step:
    async def run(world: World) -> None:
        await world.graph.delete_user_interaction_and_its_memories(ORG, USER, external_id)

    return run


async def delete_agent(world: World) -> None:
    await world.graph.delete_agent(ORG, AGENT)


async def delete_user(world: World) -> None:
    await world.graph.delete_user(ORG, USER)


async def delete_organization(world: World) -> None:
    await world.graph.delete_organization(ORG)


async def rename_user(world: World) -> None:
    await world.graph.update_user(ORG, USER, "Jay")


async def rename_agent(world: World) -> None:
    await world.graph.update_agent(ORG, AGENT, "Jen")


async def correct(world: World) -> None:
    await world.memora.update_memory(
        ORG, USER, await memory_id(world, "I like green tea"), "I like tea", author="me"
    )


async def retract(world: World) -> None:
    await world.memora.retract_memory(ORG, USER, await memory_id(world, "I have a dog"), at=NOW)


async def revert(world: World) -> None:
    await world.memora.revert_memory(ORG, USER, await memory_id(world, "I like green tea"))


async def leave_vector_work(world: World) -> None:
    """Write past the vector store: what it has to do stays in the outbox."""
    graph, now, jake = world.graph, world.clock.now(), Scope(ORG, USER)
    for text in ("I like white tea", "I live in Oslo"):
        await graph.enqueue_sync(jake, [await memory_id(world, text)], now)
    await graph.purge_memories(jake, [await memory_id(world, "I have a dog")], now)
    await graph.erase_user(Scope(ORG, OTHER), now)


def conversation(name: str, *texts: str, day: int = 0) -> dict[str, Any]:
    """Return a conversation as an import takes it."""
    return {"id": name, "messages": talk(*texts), "created_at": BEFORE + timedelta(days=day)}


async def seed(world: World, import_id: str, *conversations: dict[str, Any]) -> None:
    """Import conversations, one after the other."""
    data = SeedData.for_conversations(USER, conversations, org_id=ORG)
    await world.memora.seed(data, import_id=import_id, batch_size=1)


async def import_more(world: World) -> None:
    """Import twice, and go on with one of the conversations oneself."""
    await seed(world, "earlier", conversation("grown", "I ski", "I sail"))
    thinking = Memora(world.memora.vector_db, world.graph, None, ScriptedBackendLLM(script))
    await seed(
        World(thinking, world.clock, world.folder),
        "wrong",
        conversation("new", "I play chess", "now I like white tea and rum", day=1),
        conversation("grown", "I ski", "I row", "I swim", day=2),
        # Of one that was there a message goes, and with it a source.
        conversation("long", LONG[0], "I have a cat", day=3),
        conversation("continued", "I sing", day=4),
    )
    await save(
        world, "I sing", "I dance", key="live", external_id="continued", current_datetime=BEFORE
    )


async def undo_import(world: World) -> None:
    await world.memora.undo_import(ORG, "wrong")


async def drain(world: World) -> None:
    await world.memora.drain_outbox()


async def reindex(world: World) -> None:
    await world.memora.reindex()


async def setup(world: World) -> None:
    await world.memora.setup()


OPERATIONS: tuple[Operation, ...] = (
    Operation("save", save_new),
    Operation("save-model", save_new, with_model=True),
    Operation("append", append),
    Operation("truncate", truncate),
    Operation("empty", empty_transcript),
    Operation("supersede", supersede, with_model=True),
    Operation("extract-commit", extract_commit, leave_a_job, with_model=True),
    Operation("delete-memory-head", purge("I like white tea")),
    Operation("delete-memory-middle", purge("I like black tea")),
    Operation("delete-memory-tail", purge("I like green tea")),
    Operation("delete-interaction-0", delete_interaction("empty")),
    Operation("delete-interaction-1", delete_interaction("one")),
    Operation("delete-interaction-n", delete_interaction("long")),
    Operation("delete-agent", delete_agent),
    Operation("delete-user", delete_user),
    Operation("delete-organization", delete_organization),
    Operation("rename-user", rename_user),
    Operation("rename-agent", rename_agent),
    Operation("correct", correct),
    Operation("retract", retract),
    Operation("revert", revert),
    Operation("undo-import", undo_import, import_more),
    Operation("drain", drain, leave_vector_work, opens=True),
    Operation("reindex", reindex),
    Operation("setup", setup, opens=True, from_nothing=True),
)


# What is there


def state(folder: Path) -> dict[str, Any]:
    """Return everything that is stored, and how often, without ids and times that chance gave."""
    with closing(sqlite3.connect(folder / GRAPH)) as connection:
        connection.row_factory = sqlite3.Row
        found: dict[str, Any] = {
            name: [tuple(row) for row in connection.execute(query)]
            for name, query in _EQUAL_ROWS.items()
        }
        rows = connection.execute("SELECT * FROM memory ORDER BY rowid").fetchall()
        sources: dict[str, list[tuple[str, int]]] = {}
        for memory_id, *source in connection.execute(_SOURCES):
            sources.setdefault(memory_id, []).append(tuple(source))
    chains: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        chains.setdefault(row["chain_id"], []).append(row)
    found["chains"] = sorted((_chain(chain, sources) for chain in chains.values()), key=repr)
    with closing(sqlite3.connect(folder / "vectors" / "vectors.sqlite3")) as connection:
        found["vectors"] = connection.execute(_VECTORS).fetchall()
    return found


# Of what an operation writes, the times are left out: a repetition is later than the first try.
_EQUAL_ROWS = {
    "organizations": "SELECT org_id, org_name FROM organization ORDER BY 1",
    "users": "SELECT org_id, user_id, user_name FROM user ORDER BY 1, 2",
    "agents": "SELECT org_id, agent_id, agent_label, user_id, deleted_at IS NULL FROM agent "
    "ORDER BY 1, 2",
    "interactions": "SELECT org_id, interaction_id, user_id, agent_id, external_id, title, "
    "metadata, participants, revision, message_count, content_hash FROM interaction ORDER BY 1, 2",
    "messages": "SELECT org_id, interaction_id, position, prefix_hash, role, content, import_id "
    "FROM message ORDER BY 1, 2, 3",
    "tombstones": "SELECT org_id, user_id, mark FROM tombstone ORDER BY 1, 2, 3",
    "keys": "SELECT org_id, user_id, key, body_hash FROM idempotency ORDER BY 1, 2, 3",
    "jobs": "SELECT org_id, user_id, job_id, status, start_position, end_position FROM job "
    "ORDER BY 1, 2, 3",
    "imports": "SELECT org_id, import_id, user_id, status, conversations, memories FROM import "
    "ORDER BY 1, 2",
    "import_changes": "SELECT * FROM import_change ORDER BY 1, 2, 3",
    "outbox": "SELECT op, org_id, user_id, memory_ids FROM outbox ORDER BY seq",
}
_SOURCES = "SELECT memory_id, interaction_id, position FROM memory_source ORDER BY 1, 2, 3"
_VECTORS = "SELECT org_id, user_id, text_hash FROM vector ORDER BY 1, 2, 3"
_OF_A_VERSION = ("org_id", "user_id", "text", "memory_type", "source_role", "agent_id")
_OF_A_VERSION += ("interaction_id", "author", "content_hash")


def _chain(
    versions: list[sqlite3.Row], sources: dict[str, list[tuple[str, int]]]
) -> list[tuple[Any, ...]]:
    """Return a chain from its oldest version on."""
    by_id = {row["memory_id"]: row for row in versions}
    [oldest] = by_id.keys() - {row["successor_id"] for row in versions}
    ordered: list[tuple[Any, ...]] = []
    current: sqlite3.Row | None = by_id[oldest]
    while current is not None:
        plain = tuple(current[name] for name in _OF_A_VERSION)
        times = (_moment(current["obtained_at"]), _moment(current["superseded_at"]))
        ordered.append((*plain, *times, sources.get(current["memory_id"], [])))
        current = by_id.get(current["successor_id"])
    assert len(ordered) == len(versions), "versions that no link leads to"
    return ordered


def _moment(micros: int | None) -> int | str | None:
    """What the operation stamped counts as one moment."""
    return "now" if micros is not None and micros >= _NOW else micros


_NOW = int(NOW.timestamp() * 1_000_000)
