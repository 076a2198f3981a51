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

from memora import Memora
from memora.core.ids import derived_memory_id
from memora.errors import ExtractionError
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.schema.models import Memory
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
    Operation("drain", drain, leave_vector_work, opens=True),
    Operation("reindex", reindex),
    Operation("setup", setup, opens=True, from_nothing=True),
)


# What is there


def _moment(at: datetime | None) -> str | None:
    """What the operation stamped counts as one moment: a repetition is later than the first try."""
    if at is None:
        return None
    return "now" if at >= NOW else at.isoformat()


def _chain_of(memories: list[Memory]) -> list[list[Any]]:
    """Return a chain from its oldest version, without the ids that chance or order gave it."""
    by_id = {memory.memory_id: memory for memory in memories}
    [current] = [m for m in memories if m.supersedes not in by_id]
    ordered: list[Memory] = []
    while current is not None:
        ordered.append(current)
        current = by_id.get(current.superseded_by or "")
    assert len(ordered) == len(memories)
    return [
        [
            memory.memory,
            memory.memory_type,
            memory.source_role,
            memory.agent_id,
            memory.interaction_id,
            memory.author,
            _moment(memory.obtained_at),
            _moment(memory.superseded_at),
            sorted((source.msg_position, source.content) for source in memory.message_sources),
        ]
        for memory in ordered
    ]


async def _user_state(graph: BaseGraphDB, scope: Scope) -> dict[str, Any]:
    interactions: list[Any] = []
    for stored in await graph.list_interactions(scope, skip=0, limit=1000):
        messages = await graph.read_messages(scope, stored.interaction_id, 0, None)
        interactions.append(
            [
                stored.interaction_id if stored.external_id is None else stored.external_id,
                stored.agent_id,
                stored.revision,
                stored.participants,
                [(item.message.role, item.message.content) for item in messages],
                stored.content_hash,
            ]
        )
    ids = [
        memory.memory_id
        for memory in await graph.list_memories(scope, MemoryListing(current_only=False))
    ]
    chains: dict[str, list[Memory]] = {}
    for memory in await graph.read_memories(scope, ids):
        chains.setdefault(memory.chain_id, []).append(memory)
    return {
        "interactions": sorted(interactions, key=repr),
        "chains": sorted(map(_chain_of, chains.values()), key=repr),
        "jobs": sorted(
            (job.job_id, job.status.value, job.start, job.end)
            for job in await graph.list_jobs(scope.org_id, user_id=scope.user_id)
        ),
    }


async def state(world: World) -> dict[str, Any]:
    """Return everything a user can see of the store, and how often each thing is there."""
    graph = world.graph
    found: dict[str, Any] = {}
    for organization in await graph.list_organizations(skip=0, limit=100):
        org_id = organization.org_id
        users = await graph.list_users(org_id, skip=0, limit=100)
        found[org_id] = {
            "name": organization.org_name,
            "agents": [
                (agent.agent_id, agent.agent_label, agent.user_id)
                for agent in await graph.list_agents(org_id, user_id=None, skip=0, limit=100)
            ],
            "users": {
                user.user_id: [user.user_name, await _user_state(graph, Scope(org_id, user.user_id))]
                for user in users
            },
        }
    vectors = await world.memora.vector_db.scan(limit=1000)
    found["vectors"] = sorted((vector.user_id, vector.text_hash) for vector in vectors)
    with closing(sqlite3.connect(world.folder / GRAPH)) as connection:
        for table in ("idempotency", "tombstone"):
            [count] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            found[table] = count
    return found
