"""The use cases of the seed document on direct memories, in its order.

Its calls keep their shape; names are memora's: `MemoryClient(config)` is `Memora.from_settings` and
a handle for the default user, `create_memory` is `add_memory`, `query_memory` is `query_memories`,
`list_all` is `list_memories`, `create_memory_batch` is `add_memories`, and the `_async` forms are
the methods of `Memora` itself. The models are scripted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memora import errors, sync
from memora.agent.main import Memora as AsyncMemora
from memora.bootstrap import embedder as embedder_of
from memora.config import Settings
from memora.embeddings.openai_compatible import OpenAICompatibleEmbedder
from memora.graph_db import SQLiteGraph
from memora.llm_backends import OpenAICompatibleBackendLLM
from memora.testing.clocks import FrozenClock
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from memora.vector_db import EmbeddedVectorDB
from tests.conftest import OpenMemora

pytestmark = pytest.mark.timeout(60)


class Reader:
    """Both models of the document: summarizer, merger and context builder."""

    def __init__(self) -> None:
        self.facts: dict[str, list[str]] = {}
        self.placement: dict[str, Any] = {"verdict": "new", "existing": [], "memory": None}
        self.summary = ""

    def __call__(self, call: Call) -> Answer:
        if call.schema == "CondensedFacts":
            return {"facts": self.facts.get(call.data["text"], [])}
        if call.schema == "PlacementResponse":
            return {"placements": [self.placement]}
        if call.schema is None:
            return self.summary
        return {"queries": []}


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[sync.BoundMemora]:
    """The blocking client of the quick start, without any model."""
    with sync.Memora.embedded(tmp_path / "mmry", embedder="hashing") as memora:
        yield memora.for_user()


async def modelled(open_memora: OpenMemora, reader: Reader, **options: Any) -> AsyncMemora:
    model = ScriptedBackendLLM(reader)
    return await open_memora(memory_search_model=model, extraction_model=model, **options)


def test_quick_start_basic_usage(client: sync.BoundMemora) -> None:
    result = client.add_memory("I live in Mumbai and work at Google")
    assert result["status"] == "created"
    assert result["summary"] == "I live in Mumbai and work at Google"
    memory_id = result["id"]

    results = client.query_memories("Where does the user live?")
    assert "I live in Mumbai and work at Google" in results["context_summary"]
    assert results["memories"][0].memory_id == memory_id

    all_memories = client.list_memories()
    assert len(all_memories) == 1

    assert client.delete_memory(memory_id)["deleted"]

    batch = client.add_memories(
        [
            "User prefers dark mode",
            "User works as a software engineer",
            "User's favorite programming language is Python",
        ]
    )
    assert [receipt["status"] for receipt in batch] == ["created"] * 3
    assert len(client.list_memories()) == 3


async def test_quick_start_async_usage(memora: AsyncMemora) -> None:
    client = memora.for_user()
    result = await client.add_memory("I love working with Python")
    assert result["status"] == "created"
    results = await client.query_memories("What programming language?")
    assert results["memories"][0].memory == "I love working with Python"
    receipts = await client.add_memories(["Fact 1", "Fact 2", "Fact 3"])
    assert [receipt["summary"] for receipt in receipts] == ["Fact 1", "Fact 2", "Fact 3"]


async def test_quick_start_with_models_the_summaries_are_theirs(
    open_memora: OpenMemora, reader: Reader
) -> None:
    memora = await modelled(open_memora, reader)
    client = memora.for_user()
    reader.facts["I live in Mumbai and work at Google"] = [
        "The user lives in Mumbai",
        "The user works at Google",
    ]
    reader.summary = "The user lives in Mumbai"
    result = await client.add_memory("I live in Mumbai and work at Google")
    assert result["summary"] == "The user lives in Mumbai. The user works at Google."
    results = await client.query_memories("Where does the user live?")
    assert results["context_summary"] == "The user lives in Mumbai"
    assert results["query"] == "Where does the user live?"


def test_configuration_vector_db_config(tmp_path: Path) -> None:
    settings = Settings.from_mapping(
        {
            "path": tmp_path,
            "vector_url": "http://localhost:6333",
            "vector_collection": "mmry",
            "embedder": "fastembed:sentence-transformers/all-MiniLM-L6-v2",
            "similarity_threshold": 0.8,
        }
    )
    assert settings.vector_collection == "mmry"
    assert settings.embedder.model == "sentence-transformers/all-MiniLM-L6-v2"
    assert settings.similarity_threshold == 0.8


def test_configuration_llm_config(monkeypatch: pytest.MonkeyPatch) -> None:
    from memora.bootstrap import model

    monkeypatch.setenv("OPENROUTER_API_KEY", "your-openrouter-api-key")
    settings = Settings.from_mapping(
        {"extraction_model": "openrouter:openai/gpt-4o", "llm_timeout": 30}
    )
    made = model(settings, settings.extraction_model)
    assert isinstance(made, OpenAICompatibleBackendLLM)
    assert made.model == "openai/gpt-4o"
    own = Settings.from_mapping(
        {
            "extraction_model": "openai-compatible:openai/gpt-4o",
            "llm_base_url": "https://openrouter.ai/api/v1/chat/completions",
        }
    )
    assert own.llm_base_url == "https://openrouter.ai/api/v1"


async def test_configuration_using_a_dictionary(tmp_path: Path) -> None:
    async with AsyncMemora.from_settings(
        {"path": tmp_path / "store", "embedder": "hashing", "similarity_threshold": 0.7}
    ) as memora:
        result = await memora.for_user().add_memory("Some text")
        assert result["status"] == "created"


async def test_api_create_memory_from_a_conversation(memora: AsyncMemora) -> None:
    client = memora.for_user("user1")
    conversation = [
        {"role": "user", "content": "I moved to Porto."},
        {"role": "assistant", "content": "Nice!"},
    ]
    result = await client.add_memory(conversation, metadata={"source": "chat"})
    assert result["summary"] == "user: I moved to Porto.\nassistant: Nice!"
    [memory] = await client.list_memories(filters={"metadata": {"source": "chat"}})
    assert memory.memory_id == result["id"]


async def test_api_query_memory_returns_the_top_three(memora: AsyncMemora) -> None:
    client = memora.for_user("user1")
    await client.add_memories([f"User likes tea number {number}" for number in range(5)])
    result = await client.query_memories("Which tea?")
    assert len(result["memories"]) == 3
    result = await client.query_memories("Which tea?", limit=5)
    assert len(result["memories"]) == 5
    assert set(type(result).model_fields) == {"memories", "context_summary", "query"}


async def test_api_update_memory(memora: AsyncMemora) -> None:
    client = memora.for_user("user1")
    receipt = await client.add_memory("Old information")
    updated = await client.update_memory(receipt.id, "Updated information")
    assert updated.memory == "Updated information"
    with pytest.raises(errors.MemoryNotFoundError):
        await memora.for_user("user2").update_memory(receipt.id, "stolen")


async def test_api_delete_memory(memora: AsyncMemora) -> None:
    client = memora.for_user("user1")
    receipt = await client.add_memory("Some text")
    await memora.for_user("user2").ensure()
    foreign = await memora.for_user("user2").delete_memory(receipt.id)
    assert (foreign["status"], foreign["deleted"]) == ("not_found", False)
    own = await client.delete_memory(receipt.id)
    assert (own["status"], own["deleted"]) == ("deleted", True)


async def test_api_list_all(memora: AsyncMemora) -> None:
    await memora.for_user("user1").add_memory("I prefer dark mode")
    await memora.for_user("user2").add_memory("I prefer light mode")
    assert len(await memora.list_memories("default", "user1")) == 1
    assert len(await memora.list_memories("default")) == 2


async def test_api_create_memory_batch(memora: AsyncMemora) -> None:
    texts = ["Fact 1", "Fact 2", "Fact 1"]
    metadatas = [{"n": 1}, {"n": 2}, {"n": 3}]
    user_ids = ["user1", "user2", "user1"]
    receipts = await memora.add_memories(
        "default",
        [
            {"content": text, "metadata": metadata, "user_id": user_id}
            for text, metadata, user_id in zip(texts, metadatas, user_ids, strict=True)
        ],
    )
    assert [receipt["status"] for receipt in receipts] == ["created", "created", "duplicate"]
    assert receipts[2]["id"] == receipts[0]["id"]


async def test_operations_creation_merges_what_is_similar(
    open_memora: OpenMemora, reader: Reader
) -> None:
    memora = await modelled(open_memora, reader, similarity_threshold=0.3)
    client = memora.for_user()
    first = await client.add_memory("The user likes Python")
    reader.placement = {
        "verdict": "merged",
        "existing": [0],
        "memory": "The user likes Python and uses it at work",
    }
    second = await client.add_memory("The user likes Python at work")
    assert second["status"] == "merged"
    assert second["superseded_ids"] == [first["id"]]
    [memory] = await client.list_memories()
    assert memory.memory == "The user likes Python and uses it at work"


async def test_operations_creation_stores_what_is_below_the_threshold(
    open_memora: OpenMemora, reader: Reader
) -> None:
    memora = await modelled(open_memora, reader, similarity_threshold=0.95)
    client = memora.for_user()
    await client.add_memory("The user likes Python")
    reader.placement = {"verdict": "merged", "existing": [0], "memory": "never asked for"}
    receipt = await client.add_memory("The weather is bad in Rome")
    assert receipt["status"] == "created"
    assert len(await client.list_memories()) == 2


async def test_operations_search_builds_a_context(memora: AsyncMemora) -> None:
    client = memora.for_user()
    await client.add_memories(["User lives in Mumbai", "User works at Google"])
    result = await client.query_memories("Where does the user live and work?", limit=2)
    assert "User lives in Mumbai" in result["context_summary"]
    assert "User works at Google" in result["context_summary"]


async def test_operations_decay_archives_what_is_not_used(
    memora: AsyncMemora, clock: FrozenClock
) -> None:
    client = memora.for_user()
    await client.add_memories(["User lives in Mumbai", {"content": "Kept", "pinned": True}])
    clock.advance(timedelta(days=31))
    assert (await client.sweep())["archived"] == 1
    assert [memory.memory for memory in await client.list_memories()] == ["Kept"]


async def test_error_handling(open_memora: OpenMemora) -> None:
    memora = await open_memora(extraction_model=ScriptedBackendLLM(lambda _call: OutageError()))
    client = memora.for_user()
    with pytest.raises(errors.LLMError):
        await client.add_memory("Some text")
    with pytest.raises(errors.MemoryNotFoundError):
        await client.memory_history("3da273d5-4a1e-59e8-8871-7e712e7a8f75")
    for name in (
        "MemoraError", "MemoryNotFoundError", "MemoryDeleteError", "MemoryUpdateError", "LLMError",
        "LLMConnectionError", "LLMTimeoutError", "VectorDBError", "VectorDBConnectionError",
    ):  # fmt: skip
        assert issubclass(getattr(errors, name), errors.MemoraError)


async def test_advanced_multi_user_support(memora: AsyncMemora) -> None:
    await memora.for_user("user1").add_memory("I prefer dark mode")
    await memora.for_user("user2").add_memory("I prefer light mode")
    results = await memora.for_user("user1").query_memories("What theme?")
    assert [memory.memory for memory in results["memories"]] == ["I prefer dark mode"]


async def test_advanced_memory_versioning(memora: AsyncMemora) -> None:
    client = memora.for_user()
    memory_id = (await client.add_memory("Information")).id
    await client.update_memory(memory_id, "Updated information")
    history = await client.memory_history(memory_id)
    assert [version.memory for version in history] == ["Updated information", "Information"]


def test_advanced_custom_embedding_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "your-api-key")
    settings = Settings.from_mapping({"embedder": "openrouter:openai/text-embedding-3-small"})
    made = embedder_of(settings, settings.embedder)
    assert isinstance(made, OpenAICompatibleEmbedder)


def test_advanced_custom_llm_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from memora.bootstrap import model

    monkeypatch.setenv("OPENROUTER_API_KEY", "your-key")
    settings = Settings.from_mapping(
        {"extraction_model": "openrouter:anthropic/claude-3-sonnet", "llm_timeout": 60}
    )
    made = model(settings, settings.extraction_model)
    assert isinstance(made, OpenAICompatibleBackendLLM)
    assert made.model == "anthropic/claude-3-sonnet"


async def test_directory_structure_health_metrics(memora: AsyncMemora) -> None:
    client = memora.for_user()
    await client.add_memory("User lives in Mumbai")
    health = await client.memory_health()
    assert health["by_status"]["current"] == 1
    assert health["index_pending"] == 0


def test_requirements_neither_server_nor_key(client: sync.BoundMemora) -> None:
    """Where the document needs Qdrant and a key, the embedded default needs neither."""
    assert SQLiteGraph is not EmbeddedVectorDB
    assert client.add_memory("x")["status"] == "created"
