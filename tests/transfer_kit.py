"""Stores with something of everything in them, and what a test does with their exports."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from qdrant_client import AsyncQdrantClient

from memora import Memora
from memora.core.hashing import content_hash
from memora.core.ids import derived_memory_id
from memora.core.messages import EMPTY_HASH, message_hash
from memora.core.placeholders import neutral
from memora.core.transfer import encode
from memora.embeddings import HashingEmbedder
from memora.errors import ExtractionError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.transfer import End, Header
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from memora.testing.graph_clauses.hostile import NAMES, TEXTS
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from tests.neo4j_server.process import Neo4jServer

START = datetime(2025, 5, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def script(call: Call) -> Answer:
    """Hears "X is Y" as a statement; a newer one about the same X contradicts the older."""
    if call.schema == "MemoryExtractionResponse":
        said = call.data["new_messages"]
        if any(message["content"] == "crash" for message in said):
            return OutageError()
        return {
            "memories": [
                {
                    "memory": f"[[user]] says {message['content']}",
                    "msg_source_ids": [message["id"]],
                    "memory_type": "preference",
                    "importance": 0.6,
                }
                for message in said
                if " is " in (message["content"] or "")
            ]
        }
    if call.schema == "MemoryComparisonResponse":
        verdicts: list[dict[str, Any]] = []
        for candidate in call.data["candidates"]:
            subject = candidate["memory"].split(" is ")[0]
            same = [m for m in call.data["existing"] if m["memory"].split(" is ")[0] == subject]
            verdicts.append(
                {
                    "candidate": candidate["number"],
                    "verdict": "contradiction" if same else "new",
                    "existing": same[0]["number"] if same else None,
                }
            )
        return {"verdicts": verdicts}
    return {"queries": []}


@asynccontextmanager
async def embedded(
    folder: Path, dimensions: int = 32, *, key: str | None = None, start: datetime = START
) -> AsyncIterator[Memora]:
    """An engine on SQLite and Qdrant Edge, with a scripted model."""
    graph = SQLiteGraph(
        folder / "graph.sqlite3",
        clock=FrozenClock(start, step=timedelta(milliseconds=1)),
        ids=SequentialIds(),
        encryption_key=key,
    )
    vector = EmbeddedVectorDB(folder / "vectors", embedder=HashingEmbedder(dimensions))
    async with Memora(vector, graph, None, ScriptedBackendLLM(script)) as memora:
        yield memora


@asynccontextmanager
async def on_servers(server: Neo4jServer) -> AsyncIterator[Memora]:
    """An engine on Neo4j and qdrant-client's local mode; only the latter is empty."""
    graph: BaseGraphDB = Neo4jGraphInterface(
        server.uri, server.username, str(server.password), server.database
    )
    client = AsyncQdrantClient(":memory:")
    vector = QdrantDB(client, "transfer", embedder=HashingEmbedder(32))
    try:
        async with Memora(vector, graph, None, ScriptedBackendLLM(script)) as memora:
            yield memora
    finally:
        await client.close()


async def furnish(memora: Memora, org_id: str = "acme", *, texts: Sequence[str] = TEXTS) -> None:
    """Live in a store for a while: everything that leaves a record has happened."""
    graph = memora.graph
    await graph.create_organization("Acme, Inc.", org_id=org_id)
    for user_id, name in (("jake", "Jake"), ("ann", "Ann"), ("\uff21\U0001f600", NAMES[9])):
        await graph.create_user(org_id, name, user_id=user_id)
    await graph.create_agent(org_id, "Jenny", agent_id="jenny")
    await graph.create_agent(org_id, "Gone", agent_id="gone")
    await graph.create_agent(org_id, "Of Ann", "ann", agent_id="own")
    for number, text in enumerate(("tea is fine", "tea is bad", "tea is all right")):
        await memora.save_or_update_interaction_and_memories(
            org_id,
            "jake",
            "gone" if number else None,
            [
                {"role": "user", "content": text, "timestamp": START, "name": "J"},
                {"role": "assistant", "content": None, "tool_calls": [{"b": 1, "a": [1.5, None]}]},
                {"role": "user", "content": f"dog {number} is old"},
            ],
            current_datetime=START + number * DAY,
            external_id=f"talk-{number}",
            title="A talk",
            metadata={"z": 1, "a": {"y": [True, "\u2028"], "b": 0.1}},
            idempotency_key=f"key-{number}",
            process_id="process",
        )
    dog, *_ = [m for m in await graph.get_all_user_memories(org_id, "jake") if "dog" in m.memory]
    await memora.delete_memory(org_id, "jake", dog.memory_id)
    tea, *_ = [m for m in await graph.get_all_user_memories(org_id, "jake") if "tea" in m.memory]
    await memora.update_memory(org_id, "jake", tea.memory_id, "tea is great", author="Editor")
    cat = await memora.save_or_update_interaction_and_memories(
        org_id, "ann", "own", [{"role": "user", "content": "cat is black"}], current_datetime=START
    )
    await memora.save_or_update_interaction_and_memories(
        org_id,
        "ann",
        "own",
        [{"role": "user", "content": "cat is white"}, {"role": "user", "content": "cow is red"}],
        cat[0],
        current_datetime=START + DAY,
    )
    cow, *_ = [m for m in await graph.get_all_user_memories(org_id, "ann") if "cow" in m.memory]
    await memora.retract_memory(org_id, "ann", cow.memory_id, at=START + 2 * DAY)
    try:
        await memora.save_or_update_interaction_and_memories(
            org_id, "ann", interaction=[{"role": "user", "content": "crash"}]
        )
    except ExtractionError as error:
        job = await graph.get_job(org_id, error.job_id)
        now = graph.clock.now()
        await graph.claim_job(org_id, job.job_id, now=now, lease_until=now + timedelta(minutes=10))
    await memora.save_or_update_interaction_and_memories(
        org_id,
        "\uff21\U0001f600",
        interaction=[{"role": "user", "content": text} for text in texts],
        title=NAMES[1],
    )
    await graph.create_interaction(org_id, "ann", external_id="empty")
    await graph.delete_agent(org_id, "gone")


def line(kind: str, **fields: Any) -> bytes:
    """Return a line as somebody else's program would write it."""
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"


def file_of(*records: bytes) -> bytes:
    """Return a file of these lines."""
    return b"".join((encode(Header()), *records, encode(End(records=len(records)))))


def memory_id(name: str) -> str:
    """Return an id of that name."""
    return derived_memory_id("transfer", name)


TIME = "2024-02-03T04:05:06.000007Z"
LATER = "2024-03-03T04:05:06Z"


def organization(org_id: object = "full", **fields: Any) -> bytes:
    """Return the line of an organization."""
    known = {"org_id": org_id, "org_name": "Full", "created_at": TIME}
    return line("organization", **(known | fields))


def user(user_id: str = "u", **fields: Any) -> bytes:
    """Return the line of a user."""
    known = {
        "org_id": "full", "user_id": user_id, "user_name": "U", "created_at": TIME, "salt": "s"
    }  # fmt: skip
    return line("user", **(known | fields))


def agent(agent_id: str, **fields: Any) -> bytes:
    """Return the line of an agent."""
    known = {"org_id": "full", "agent_id": agent_id, "agent_label": "A", "created_at": TIME}
    return line("agent", **(known | fields))


def interaction(interaction_id: str = "i", **fields: Any) -> bytes:
    """Return the line of an interaction without messages."""
    known = {
        "org_id": "full", "user_id": "u", "interaction_id": interaction_id, "metadata": {},
        "participants": [], "created_at": TIME, "updated_at": TIME, "last_activity_at": TIME,
        "revision": 0, "message_count": 0, "content_hash": "",
    }  # fmt: skip
    return line("interaction", **(known | fields))


def prefix_hash(*messages: dict[str, Any]) -> str:
    """Return the hash of the last of these messages, of which each says only what is unusual."""
    prefix = EMPTY_HASH
    for fields in messages:
        said: dict[str, Any] = {"role": "user", "content": "hello"} | fields
        prefix = message_hash(
            prefix, said["role"], said["content"], said.get("name"), said.get("data")
        )
    return prefix


def message(position: int, *, before: Sequence[dict[str, Any]] = (), **fields: Any) -> bytes:
    """Return the line of a message; those before it are as usual, or as they are given."""
    said = [*(before or [{}] * position), fields]
    known = {
        "org_id": "full", "user_id": "u", "interaction_id": "i", "position": position,
        "role": "user", "content": "hello",
    }  # fmt: skip
    return line("message", **({"prefix_hash": prefix_hash(*said)} | known | fields))


def memory(name: str, **fields: Any) -> bytes:
    """Return the line of a memory; its chain is its own."""
    known = {
        "org_id": "full", "user_id": "u", "memory_id": memory_id(name), "chain_id": memory_id(name),
        "obtained_at": TIME, "recorded_at": TIME, "text": name, "memory_type": "fact",
        "importance": 0.5, "metadata": {}, "source_role": "user",
    }  # fmt: skip
    said = known | fields
    return line("memory", **({"content_hash": content_hash(neutral(said["text"]))} | said))


def job(job_id: str = "j", **fields: Any) -> bytes:
    """Return the line of a job."""
    known = {
        "org_id": "full", "user_id": "u", "job_id": job_id, "interaction_id": "i", "start": 0,
        "end": 1, "status": "pending", "params": {}, "outputs": {}, "attempts": 0,
        "created_at": TIME, "updated_at": TIME,
    }  # fmt: skip
    return line("job", **(known | fields))


def every_field() -> bytes:
    """Return a file in which no field has its default."""
    old, new = memory_id("old"), memory_id("new")
    first = {
        "org_id": "full", "user_id": "u", "agent_id": "own", "interaction_id": "i",
        "chain_id": old, "text": "[[u:u]] is here", "memory_type": "plan", "importance": 0.25,
        "tags": ["t", "s"], "entities": ["Oslo", "Ä"], "metadata": {"b": [1, 1.0, "x"], "a": None},
        "expires_at": LATER, "pinned": True, "archived": True, "source_role": "import",
        "confidence": 0.75, "access_count": 7, "last_accessed_at": LATER,
        "external_id": "doc", "import_id": "import",
        "process_id": "process", "author": "Author", "stated_at": LATER, "stated_role": "tool",
        "sources": [
            {"interaction_id": "i", "position": n, "said_at": at}
            for n, at in enumerate((None, "2024-02-03T04:05:06.000007Z"))
        ],
    }  # fmt: skip
    said: list[dict[str, Any]] = [
        {"name": "N", "data": {"x": {"y": [1, "nul \0"]}, "content": ["hello", {"image": "x"}]}},
        {"role": "tool", "content": None},
    ]
    return file_of(
        organization(),
        user(),
        agent("own", user_id="u", deleted_at=LATER),
        interaction(
            agent_id="own", external_id="e", title="Title", metadata={"k": [1, {"m": None}]},
            active=False, participants=["shared", "own"], updated_at=LATER, last_activity_at=LATER,
            revision=3, message_count=2, content_hash=prefix_hash(*said), import_id="import",
            process_id="process",
        ),
        message(0, timestamp=TIME, **said[0]),
        message(1, before=said[:1], **said[1]),
        memory("old", **first, superseded_by=new, superseded_at=LATER),
        memory("new", chain_id=old, obtained_at=LATER, agent_id="shared"),
        line("tombstone", org_id="full", user_id="u", mark="mark", purged_at=LATER),
        line(
            "idempotency_key", org_id="full", user_id="u", key="k", body_hash="h",
            result={"r": ["x"]}, created_at=LATER,
        ),
        job(agent_id="shared", status="failed", params={"p": 1}, outputs={"o": {"x": [1]}},
            attempts=2, error="LLMError: no", updated_at=LATER),
        agent("shared"),
    )  # fmt: skip
