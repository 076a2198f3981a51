"""Settings to engines: which classes, with which arguments; nothing is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.embeddings import HashingEmbedder, OpenAICompatibleEmbedder, StaticEmbedder
from memora.errors import InvalidInputError
from memora.graph_db import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.llm_backends import (
    AnthropicBackendLLM,
    AzureOpenAIBackendLLM,
    GroqBackendLLM,
    OpenAIBackendLLM,
    OpenAICompatibleBackendLLM,
    TogetherBackendLLM,
)
from memora.vector_db import EmbeddedVectorDB, QdrantDB


def test_without_servers_the_stores_are_embedded(tmp_path: Path) -> None:
    memora = Memora.from_settings({"path": str(tmp_path), "embedder": "hashing"})
    assert isinstance(memora.graph, SQLiteGraph)
    assert isinstance(memora.vector_db, EmbeddedVectorDB)


def test_with_servers_the_stores_are_neo4j_and_qdrant() -> None:
    memora = Memora.from_settings(
        {
            "graph_url": "neo4j://localhost:7687",
            "graph_password": "secret",
            "vector_url": "http://localhost:6333",
            "vector_collection": "mine",
        }
    )
    assert isinstance(memora.graph, Neo4jGraphInterface)
    assert isinstance(memora.vector_db, QdrantDB)
    assert memora.vector_db.collection_name == "mine"


async def test_a_client_that_memora_opened_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"path": str(tmp_path), "vector_url": "http://localhost:6333"}
    memora = await asyncio.to_thread(Memora.from_settings, settings)
    closed: list[bool] = []
    assert isinstance(memora.vector_db, QdrantDB)

    async def close(**_options: Any) -> None:
        closed.append(True)

    monkeypatch.setattr(memora.vector_db.async_client, "close", close)
    await memora.close()
    assert closed == [True]


@pytest.mark.parametrize(
    ("spec", "variables", "kind"),
    [
        ("openai:gpt-4o", {"OPENAI_API_KEY": "k"}, OpenAIBackendLLM),
        (
            "azure:gpt-4o",
            {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://x.example"},
            AzureOpenAIBackendLLM,
        ),
        ("anthropic:claude-haiku-4-5", {"ANTHROPIC_API_KEY": "k"}, AnthropicBackendLLM),
        ("groq:llama-3.3-70b-versatile", {"GROQ_API_KEY": "k"}, GroqBackendLLM),
        ("together:some/model", {"TOGETHER_API_KEY": "k"}, TogetherBackendLLM),
        ("openrouter:openai/gpt-4o", {"OPENROUTER_API_KEY": "k"}, OpenAICompatibleBackendLLM),
        ("ollama:llama3.2:3b", {}, OpenAICompatibleBackendLLM),
        (
            "openai-compatible:x",
            {"MEMORA_LLM_BASE_URL": "http://localhost:1/v1/chat/completions"},
            OpenAICompatibleBackendLLM,
        ),
    ],
)
def test_every_provider_is_built_from_the_environment(
    spec: str,
    variables: dict[str, str],
    kind: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MEMORA_PATH", str(tmp_path))
    monkeypatch.setenv("MEMORA_EXTRACTION_MODEL", spec)
    memora = Memora.from_settings(None)
    model = memora._ports.extraction_model
    assert model is not None
    assert isinstance(model, kind)
    assert model.model == spec.partition(":")[2]


@pytest.mark.parametrize(
    ("spec", "kind", "variables"),
    [
        ("wordllama", StaticEmbedder, {}),
        ("hashing", HashingEmbedder, {}),
        (
            "openai:text-embedding-3-small",
            OpenAICompatibleEmbedder,
            {"OPENAI_API_KEY": "k"},
        ),
        ("ollama:nomic-embed-text", OpenAICompatibleEmbedder, {}),
    ],
)
def test_every_embedder_is_built_by_name(
    spec: str,
    kind: type,
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from memora import bootstrap
    from memora.config import ModelSpec, Settings

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    built = bootstrap.embedder(Settings(path=tmp_path), ModelSpec.parse_embedder(spec))
    assert isinstance(built, kind)


def test_a_missing_key_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="OPENAI_API_KEY"):
        Memora.embedded(tmp_path, extraction_model="openai:gpt-4o")


@pytest.mark.parametrize("given", [5, b"x", ["x"]])
def test_what_is_no_path_is_named(given: Any) -> None:
    for build in (
        lambda: Memora.embedded(given),
        lambda: SQLiteGraph(given),
        lambda: EmbeddedVectorDB(given, embedder=HashingEmbedder(16)),
    ):
        with pytest.raises(InvalidInputError) as caught:
            build()
        assert caught.value.field == "path"


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_own_process_is_true_or_false(tmp_path: Path, given: Any) -> None:
    for build in (
        lambda: Memora.embedded(tmp_path, embedder="hashing", own_process=given),
        lambda: EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16), own_process=given),
    ):
        with pytest.raises(InvalidInputError) as caught:
            build()
        assert caught.value.field == "own_process"


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(InvalidInputError, match="colour"):
        Memora.from_settings({"colour": "red"})
