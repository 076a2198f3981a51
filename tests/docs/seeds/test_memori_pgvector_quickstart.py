"""The use cases of the seed document "quick-start with pgvector", in its order.

Its `MemoryManager` is a handle for one user: `store_memory` is `add_memory` (`importance_score` is
`importance`, `context_tags` are `tags`, `conversation_id` is `interaction_id`, which may be the
caller's own), and `retrieve_relevant_memories` is `query_memories`. Migrations, pgvector and Redis
are not needed: the store makes its own schema.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from memora import Memora
from memora.config import Settings
from memora.errors import InteractionNotFoundError
from memora.schema.models import Interaction, Memory, MemoryType
from memora.testing.clocks import FrozenClock

USER = "test_user"


async def conversation_of(memora: Memora, title: str = "Test Conversation") -> Interaction:
    """Create the conversation that the script begins with."""
    handle = memora.for_user(USER)
    await handle.ensure()
    return await memora.graph.create_interaction(
        "default", USER, external_id=str(uuid4()), title=title, metadata={"data_source_id": 1}
    )


def test_step_3_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORA_SHORT_TERM_DAYS", "7")
    monkeypatch.setenv("MEMORA_ARCHIVE_AFTER_DAYS", "30")
    monkeypatch.setenv("MEMORA_RECALL_LIMIT", "10")
    monkeypatch.setenv("MEMORA_MIN_SIMILARITY", "0.70")
    monkeypatch.setenv("MEMORA_EMBEDDER", "openai:text-embedding-ada-002")
    monkeypatch.setenv("MEMORA_EMBEDDER_DIMENSIONS", "1536")
    monkeypatch.setenv("MEMORA_EMBEDDING_BATCH_SIZE", "100")
    settings = Settings.from_env()
    assert (settings.short_term_days, settings.archive_after_days) == (7, 30)
    assert (settings.recall_limit, settings.min_similarity) == (10, 0.7)
    assert (settings.embedder_dimensions, settings.embedding_batch_size) == (1536, 100)
    monkeypatch.setenv("MEMORA_SHORT_TERM_DAYS", "never")
    assert Settings.from_env().short_term_days is None


async def test_step_4_every_column_has_its_field(memora: Memora, clock: FrozenClock) -> None:
    conversation = await conversation_of(memora)
    assert (conversation.title, conversation.active) == ("Test Conversation", True)
    assert conversation.metadata == {"data_source_id": 1}
    given: dict[str, Any] = {
        "memory_type": MemoryType.RELATIONSHIP.value,
        "importance": 0.9,
        "tags": ["schema"],
        "entities": ["customers"],
        "metadata": {"verified": True},
        "expires_at": clock.now() + timedelta(days=1),
    }
    handle = memora.for_user(USER)
    receipt = await handle.add_memory(
        "orders.customer_id refers to customers.id",
        interaction_id=conversation.interaction_id,
        **given,
    )
    await handle.query_memories("customers")
    await memora.drain_outbox()
    [memory] = await handle.list_memories()
    assert {name: getattr(memory, name) for name in given} == given
    assert memory.memory_id == receipt.id
    assert (memory.access_count, memory.last_accessed_at) == (1, clock.now())
    assert memory.archived is False


def test_step_5_memory_types() -> None:
    for kind in ("short_term", "long_term", "rule", "entity", "relationship"):
        assert MemoryType(kind).value == kind


async def test_step_5_deleting_a_conversation_deletes_its_memories(memora: Memora) -> None:
    conversation = await conversation_of(memora)
    handle = memora.for_user(USER)
    await handle.add_memory("x", interaction_id=conversation.interaction_id)
    await handle.add_memory("stays")
    await memora.graph.delete_user_interaction_and_its_memories(
        "default", USER, conversation.interaction_id
    )
    assert [memory.memory for memory in await handle.list_memories()] == ["stays"]


async def test_step_6_store_memory_with_its_defaults(memora: Memora) -> None:
    handle = memora.for_user(USER)
    await handle.add_memory("content", memory_type=MemoryType.FACT)
    [memory] = await handle.list_memories()
    assert (memory.importance, memory.tags, memory.metadata) == (0.5, [], {})


async def test_step_6_retrieve_relevant_memories_within_a_conversation(memora: Memora) -> None:
    handle = memora.for_user(USER)
    first, second = await conversation_of(memora), await conversation_of(memora)
    await handle.add_memory("SQL needs aliases", interaction_id=first.external_id)
    await handle.add_memory("SQL needs joins", interaction_id=second.external_id)
    everywhere = await handle.query_memories("SQL", limit=10)
    assert len(everywhere.memories) == 2
    within = await handle.query_memories("SQL", interaction_id=first.external_id, limit=10)
    assert [memory.memory for memory in within.memories] == ["SQL needs aliases"]


async def test_step_7_endpoints_answer_with_their_fields(memora: Memora) -> None:
    """What `POST /api/memories` and its search return, from one call each."""
    conversation = await conversation_of(memora)
    handle = memora.for_user(USER)
    receipt = await handle.add_memory(
        "content",
        memory_type="rule",
        interaction_id=conversation.external_id,
        importance=0.5,
        tags=[],
    )
    memory = await memora.graph.get_user_memory("default", USER, receipt["id"])
    created = {
        "memory_id": memory.memory_id,
        "content": memory.memory,
        "memory_type": memory.memory_type,
        "created_at": memory.recorded_at.isoformat(),
    }
    assert created["memory_id"] == receipt.id
    assert (created["content"], created["memory_type"]) == ("content", "rule")
    result = await handle.query_memories(
        "content", interaction_id=conversation.external_id, limit=10
    )
    [found] = result["memories"]
    assert isinstance(found, Memory)
    assert (found["importance"], found["memory_type"]) == (0.5, "rule")


async def test_step_8_the_integration_script(memora: Memora) -> None:
    conversation = await conversation_of(memora)
    manager = memora.for_user(USER)
    memory1 = await manager.add_memory(
        content="User prefers using table aliases in SQL queries",
        memory_type=MemoryType.RULE,
        interaction_id=conversation.interaction_id,
        importance=0.8,
        tags=["preference", "sql"],
    )
    memory2 = await manager.add_memory(
        content="The customers table has columns: id, name, email, created_at",
        memory_type=MemoryType.ENTITY,
        interaction_id=conversation.interaction_id,
        importance=0.7,
        tags=["schema", "table"],
    )
    assert memory1["status"] == memory2["status"] == "created"
    results = await manager.query_memories(
        query="SQL query preferences", interaction_id=conversation.interaction_id, limit=5
    )
    found = [(memory.memory_type, memory.memory_id) for memory in results.memories]
    assert found[0] == ("rule", memory1["id"])
    rules = await manager.list_memories(filters={"types": ["rule"], "tags": ["sql"]})
    assert [memory.memory_id for memory in rules] == [memory1["id"]]


async def test_step_9_a_conversation_must_be_there_first(memora: Memora) -> None:
    handle = memora.for_user("default_user")
    await handle.ensure()
    unknown = str(uuid4())
    with pytest.raises(InteractionNotFoundError):
        await handle.add_memory("User prefers using JOINs", interaction_id=unknown)
    await memora.graph.create_interaction("default", "default_user", external_id=unknown)
    receipt = await handle.add_memory(
        "User prefers using JOINs instead of subqueries",
        memory_type="rule",
        interaction_id=unknown,
        importance=0.8,
        tags=["preference", "sql"],
    )
    answer = await handle.query_memories(
        "How does the user prefer SQL queries?", interaction_id=unknown, limit=5
    )
    assert [memory.memory_id for memory in answer.memories] == [receipt.id]


async def test_issue_4_memory_not_retrieved(memora: Memora) -> None:
    """No threshold stands between a question and its memories unless one is asked for."""
    handle = memora.for_user(USER)
    await handle.add_memory("User prefers dark mode")
    question = "An entirely different question"
    assert len((await handle.query_memories(question)).memories) == 1
    assert (await handle.query_memories(question, min_similarity=0.99)).memories == []


async def test_short_term_memories_expire_and_disused_ones_are_archived(
    memora: Memora, clock: FrozenClock
) -> None:
    handle = memora.for_user(USER)
    await handle.add_memory("right now", memory_type=MemoryType.SHORT_TERM)
    await handle.add_memory("for long", memory_type=MemoryType.LONG_TERM)
    clock.advance(timedelta(days=7))
    assert [memory.memory for memory in await handle.list_memories()] == ["for long"]
    clock.advance(timedelta(days=23))
    swept = await handle.sweep()
    assert (swept["expired"], swept["archived"]) == (1, 1)
    archived = await handle.list_memories(filters={"include_archived": True})
    assert [memory.archived for memory in archived] == [True]


async def test_next_steps_context_injection(memora: Memora) -> None:
    handle = memora.for_user(USER)
    await handle.add_memory("Always answer in metric units", memory_type="rule", pinned=True)
    recalled, _ids = await handle.recall_memories_for_message("zzz", always=("rule",))
    assert "Always answer in metric units" in memora.format_memories(recalled)
