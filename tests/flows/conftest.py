"""An engine on the embedded pair, with a frozen clock, counted ids and scripted models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.models import Memory
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.vector_db.base import BaseVectorDB
from memora.vector_db.embedded import EmbeddedVectorDB

DAY = timedelta(days=1)
MAY = datetime(2025, 5, 1, 9, tzinfo=UTC)


@dataclass
class World:
    """An engine with one organization, one user and one agent."""

    memora: Memora
    clock: FrozenClock
    org_id: str
    user_id: str
    agent_id: str

    async def save(self, *texts: str, **options: Any) -> str:
        """Save user messages, each followed by an "ok" of the assistant; returns the id."""
        interaction_id, _at = await self.memora.save_or_update_interaction_and_memories(
            self.org_id, self.user_id, interaction=talk(*texts), **options
        )
        return interaction_id

    async def current(self, agent_id: str | None = None) -> list[str]:
        """Return the texts of the current memories, sorted."""
        return sorted(memory.memory for memory in await self.memories(agent_id))

    async def memories(self, agent_id: str | None = None) -> list[Memory]:
        return await self.memora.graph.get_all_user_memories(self.org_id, self.user_id, agent_id)

    async def recall(self, message: str, **options: Any) -> list[Memory]:
        memories, ids = await self.memora.recall_memories_for_message(
            self.org_id, self.user_id, message, **options
        )
        assert ids == [memory.memory_id for memory in memories]
        return memories


def talk(*texts: str) -> list[dict[str, str]]:
    """Return a conversation of user messages, each answered with "ok"."""
    messages: list[dict[str, str]] = []
    for text in texts:
        messages += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": f"ok {len(messages)}"},
        ]
    return messages


class Worlds:
    """Opens engines; a second one on the same folder sees what the first one stored."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.clock = FrozenClock(step=timedelta(milliseconds=1))

    async def open(
        self,
        *,
        extraction: BaseBackendLLM | None = None,
        search: BaseBackendLLM | None = None,
        vectors: BaseVectorDB | None = None,
        name: str = "store",
    ) -> World:
        folder = self._folder / name
        graph = SQLiteGraph(
            folder / "graph.sqlite3", clock=self.clock, ids=SequentialIds(f"{name}-")
        )
        vector = vectors or EmbeddedVectorDB(folder / "vectors", embedder=HashingEmbedder())
        memora = Memora(vector, graph, search, extraction)
        await self._stack.enter_async_context(memora)
        org = await memora.graph.create_organization("Acme", org_id="acme")
        user = await memora.graph.create_user(org.org_id, "Jake", user_id="jake")
        agent = await memora.graph.create_agent(org.org_id, "Jenny", agent_id="jenny")
        return World(memora, self.clock, org.org_id, user.user_id, agent.agent_id)

    async def open_empty(self, name: str) -> Memora:
        """Return an engine on stores with nothing in them."""
        graph = SQLiteGraph(self._folder / name / "graph.sqlite3", clock=self.clock)
        vector = EmbeddedVectorDB(self._folder / name / "vectors", embedder=HashingEmbedder())
        return await self._stack.enter_async_context(Memora(vector, graph))

    def same_stores(
        self,
        world: World,
        *,
        extraction: BaseBackendLLM | None = None,
        search: BaseBackendLLM | None = None,
    ) -> World:
        """Return another engine on the same open stores, with other models."""
        memora = Memora(world.memora.vector_db, world.memora.graph, search, extraction)
        return World(memora, self.clock, world.org_id, world.user_id, world.agent_id)


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Worlds]:
    async with AsyncExitStack() as stack:
        yield Worlds(tmp_path, stack)


@pytest.fixture
async def world(worlds: Worlds) -> World:
    """An engine without any model."""
    return await worlds.open()
