"""A store that is full of canaries, and a process that dies while it erases them.

`python -m tests.reliability.erasing SEED POINT=FOLDER ...` fills a store in each folder, begins to
erase its user, and is killed at the point.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

from memora import Memora
from memora.core.hashing import content_hash
from memora.embeddings import HashingEmbedder
from memora.errors import ExtractionError, VectorDBConnectionError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite import user as sqlite_user
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.index import IndexDocument
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import MemoryWrite, WritePlan
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from memora.vector_db import _shards
from memora.vector_db._rows import VectorRows
from memora.vector_db._shard import Shard
from memora.vector_db.embedded import EmbeddedVectorDB
from tests.reliability.canaries import Canaries


class Vectors(EmbeddedVectorDB):
    """The embedded vectors, which fail for as long as there is a reason."""

    reason: str | None = None

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        self.check()
        await super().upsert(documents)

    async def remove_user(self, org_id: str, user_id: str) -> None:
        self.check()
        await super().remove_user(org_id, user_id)

    async def count(self, scope: SearchScope) -> int:
        self.check()
        return await super().count(scope)

    def check(self) -> None:
        if self.reason is not None:
            raise VectorDBConnectionError("embedded", self.reason)


@dataclass
class Model:
    """Finds each user message worth remembering, and fails where it compares a marked one."""

    backend: ScriptedBackendLLM = field(init=False)

    def __post_init__(self) -> None:
        self.backend = ScriptedBackendLLM(self.answer)

    def answer(self, call: Call) -> Answer:
        if call.schema == "MemoryComparisonResponse":
            if "fails" in str(call.data):
                return OutageError()
            return {
                "verdicts": [
                    {"candidate": candidate["number"], "verdict": "new", "existing": None}
                    for candidate in call.data["candidates"]
                ]
            }
        if call.schema != "MemoryExtractionResponse":
            return {"queries": []}
        return {
            "memories": [
                {
                    "memory": message["content"],
                    "msg_source_ids": [message["id"]],
                    "memory_type": "fact",
                    "importance": 0.5,
                }
                for message in call.data["new_messages"]
                if message["role"] == "user" and message["content"]
            ]
        }


def stores(folder: Path) -> tuple[SQLiteGraph, Vectors]:
    """Return the embedded pair as `Memora.embedded` lays it out."""
    graph = SQLiteGraph(folder / "graph.sqlite3")
    return graph, Vectors(folder / "vectors", embedder=HashingEmbedder())


# Texts of a user: what `Subject.fill` stores, and what `leave_work` adds.
FILLED = (
    "user_id", "user_name", "agent_id", "agent_label",
    "content", "message_name", "tool_call", "arguments", "tool_result",
    "external_id", "idempotency_key", "title", "metadata", "process_id",
    "memory", "tag", "entity", "memory_metadata", "memory_external_id", "import_id",
    "memory_process_id", "author", "correction",
)  # fmt: skip
KINDS = (*FILLED, "job_output", "outbox_error")


@dataclass
class Subject:
    """A user whose every text is a canary.

    Attributes:
        interactions: How many conversations it has, of 20 messages and 5 memories each.
    """

    memora: Memora
    canaries: Canaries
    name: str
    interactions: int = 100
    org: str = "acme"

    @property
    def scope(self) -> Scope:
        return Scope(self.org, f"user-{self.canaries[self.name + '.user_id']}")

    def text(self, kind: str, number: object = "") -> str:
        return f"{kind} {self.canaries[f'{self.name}.{kind}']} {number}"

    def key(self, kind: str, number: object = "") -> str:
        return f"{self.canaries[f'{self.name}.{kind}']}-{number}"

    @property
    def filled(self) -> set[str]:
        """Names of the canaries that `fill` stores."""
        return {f"{self.name}.{kind}" for kind in FILLED}

    @property
    def mine(self) -> dict[str, str]:
        """All canaries of this user."""
        return {f"{self.name}.{kind}": self.canaries[f"{self.name}.{kind}"] for kind in KINDS}

    async def fill(self) -> None:
        """Store everything that a user can have, with a canary in every text."""
        graph, scope = self.memora.graph, self.scope
        if await graph.find_organization(self.org) is None:
            await graph.create_organization("Acme", org_id=self.org)
        await graph.create_user(self.org, self.text("user_name"), user_id=scope.user_id)
        agent = self.key("agent_id")
        await graph.create_agent(self.org, self.text("agent_label"), scope.user_id, agent_id=agent)
        for number in range(self.interactions):
            await self.save(number, self.messages(number), agent)
        # An interaction without messages, and one with memories that were known before.
        await graph.create_interaction(self.org, scope.user_id, title=self.text("title", "empty"))
        await self.direct(agent)
        await self.correct()

    async def save(self, number: object, messages: list[dict[str, Any]], agent: str) -> None:
        await self.memora.save_or_update_interaction_and_memories(
            self.org,
            self.scope.user_id,
            agent,
            messages,
            external_id=self.key("external_id", number),
            idempotency_key=self.key("idempotency_key", number),
            title=self.text("title", number),
            metadata={"k": self.text("metadata", number)},
            process_id=self.key("process_id", number),
        )

    def messages(self, number: object) -> list[dict[str, Any]]:
        said = [
            {
                "role": "user",
                "content": self.text("content", f"{number}.{i}") + " padding" * 20,
                "name": self.text("message_name"),
            }
            for i in range(5)
        ]
        calls = [{"id": self.text("tool_call"), "function": {"arguments": self.text("arguments")}}]
        answered: list[dict[str, Any]] = [
            {"role": "assistant", "content": None, "tool_calls": calls},
            *(
                {"role": "tool", "content": self.text("tool_result", i), "tool_call_id": "x"}
                for i in range(14)
            ),
        ]
        return [*said, *answered]

    async def direct(self, agent: str) -> None:
        """Memories with all the texts that only an application gives."""
        ids = [self.memora.graph.ids.memory() for _ in range(5)]
        writes = tuple(
            MemoryWrite(
                memory_id=memory_id,
                text=self.text("memory", memory_id),
                obtained_at=self.memora.graph.clock.now(),
                chain_id=memory_id,
                content_hash=content_hash(self.text("memory", memory_id)),
                agent_id=agent,
                memory_type="fact",
                tags=(self.text("tag"),),
                entities=(self.text("entity"),),
                metadata={"k": self.text("memory_metadata")},
                external_id=self.key("memory_external_id", memory_id),
                import_id=self.key("import_id"),
                process_id=self.key("memory_process_id"),
                author=self.text("author"),
            )
            for memory_id in ids
        )
        now = self.memora.graph.clock.now()
        await self.memora.graph.apply(WritePlan(self.scope, now, memories=writes))
        await self.memora.drain_outbox()

    async def correct(self) -> None:
        """New versions, a retraction, and a purge, which leaves a tombstone."""
        user_id = self.scope.user_id
        found = await self.memora.graph.get_all_user_memories(self.org, user_id, limit=40)
        extracted = [memory for memory in found if memory.interaction_id is not None]
        for memory in extracted[:3]:
            await self.memora.update_memory(
                self.org,
                user_id,
                memory.memory_id,
                self.text("correction"),
                author=self.text("author"),
            )
        await self.memora.retract_memory(self.org, user_id, extracted[3].memory_id)
        await self.memora.delete_memory(self.org, user_id, extracted[4].memory_id)

    async def leave_work(self, vectors: Vectors) -> None:
        """An extraction that failed half-way, and vector work that failed with a text."""
        content = f"it fails {self.text('job_output')}"
        agent = self.key("agent_id")
        # The first time there is nothing to compare with.
        await self.save("first", [{"role": "user", "content": f"{content}at first"}], agent)
        try:
            await self.save("job", [{"role": "user", "content": f"{content}again"}], agent)
        except ExtractionError:
            pass
        else:
            raise AssertionError("the model should have failed")
        vectors.reason = self.text("outbox_error")
        await self.save("outbox", self.messages("outbox"), agent)
        vectors.reason = None


async def recalled(memora: Memora, subject: Subject) -> int:
    """Return how many memories a search for the subject's own texts finds."""
    found = await memora.search_memories_as_one(
        subject.org, subject.scope.user_id, [subject.text("content", "0.0")], limit=100
    )
    return len(found)


def die(*_args: Any, **_options: Any) -> Any:
    os._exit(9)


def _die_in_the_transaction() -> None:
    change = sqlite_user.change

    def until_messages(connection: Any, query: LiteralString, **params: Any) -> int:
        if query is sqlite_user._DELETE_MESSAGES:
            die()
        return change(connection, query, **params)

    sqlite_user.change = until_messages


def _patched(owner: Any, name: str) -> Callable[[], None]:
    return lambda: setattr(owner, name, die)


# Where the process dies, in the order of an erasure.
POINTS: dict[str, Callable[[], None]] = {
    "in-the-transaction": _die_in_the_transaction,
    "after-the-commit": _patched(BaseGraphDB, "drain_outbox"),
    "before-the-rows": _patched(VectorRows, "remove_tenant"),
    "after-the-rows": _patched(Shard, "delete"),
    "while-the-new-index-is-filled": _patched(Shard, "flush"),
    "before-the-old-index-is-removed": _patched(_shards, "_remove_others"),
    "before-the-rows-are-scrubbed": _patched(VectorRows, "scrub"),
    "before-the-acknowledgement": _patched(SQLiteGraph, "ack_outbox"),
    "before-the-count": _patched(SQLiteGraph, "count_records"),
}


async def fill_and_die(folder: Path, seed: int, point: str) -> None:
    graph, vectors = stores(folder)
    async with Memora(vectors, graph, None, Model().backend) as memora:
        subject = Subject(memora, Canaries(seed), "jake", interactions=1)
        await subject.fill()
        await subject.leave_work(vectors)
        other = Subject(memora, Canaries(seed + 1), "ann", interactions=1)
        await other.fill()
        POINTS[point]()
        await memora.erase_user(subject.org, subject.scope.user_id)


def main(seed: int, wanted: Sequence[str]) -> None:
    children: dict[str, int] = {}
    for each in wanted:
        point, _, folder = each.partition("=")
        # A fork while there is one thread: what is imported is paid for once.
        if (child := os.fork()) == 0:
            asyncio.run(fill_and_die(Path(folder), seed, point))
            os._exit(0)
        children[point] = child
    for point, child in children.items():
        _pid, status = os.waitpid(child, 0)
        print(point, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
