"""What the blocks of the documentation find: no keys but scripted ones, no network, no servers."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import neo4j
import pytest
import qdrant_client
from qdrant_client import AsyncQdrantClient

from tests.docs.player import Player
from tests.docs.provider import Provider
from tests.neo4j_server.process import Neo4jServer

KEYS = (
    "OPENAI_API_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY", "TOGETHER_API_KEY",
    "OPENROUTER_API_KEY", "AZURE_OPENAI_API_KEY",
)  # fmt: skip

ADAPTERS = (
    "memora.bootstrap", "memora.graph_db.sqlite.interface", "memora.graph_db.neo4j.interface",
    "memora.vector_db.embedded", "memora.vector_db.qdrant", "memora.embeddings.static",
    "memora.embeddings.openai_compatible", "memora.embeddings.hashing",
)  # fmt: skip


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """Every model provider, played below the SDKs; any other host cannot be reached."""
    played = Provider()
    # Newer SDKs come with httpx2, the same library under another name.
    for library in ("httpx", "httpx2"):
        if importlib.util.find_spec(library) is not None:
            http = importlib.import_module(library)
            handler = _handler(played, http)
            monkeypatch.setattr(http.AsyncHTTPTransport, "handle_async_request", handler)
    return played


def _handler(played: Provider, http: Any) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(_transport: Any, request: Any) -> Any:
        if not played.plays(request.url.host, request.url.port):
            raise http.ConnectError(f"no network in these tests: {request.url.host}")
        body = json.loads(await request.aread())
        answer = await played.answer(request.url.path, body)
        return http.Response(200, json=answer, request=request)

    return handle


@pytest.fixture
def qdrant_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client for any URL is one on the same store in this process, by qdrant-client itself."""
    shared: list[AsyncQdrantClient] = []

    class InProcessClient(AsyncQdrantClient):
        def __init__(self, *_args: Any, **_options: Any) -> None:
            if not shared:
                super().__init__(":memory:")
                shared.append(self)
            self.__dict__ = shared[0].__dict__

        async def info(self) -> Any:
            # The in-process client reads files for its version: not on the event loop.
            return await asyncio.to_thread(asyncio.run, shared[0]._client.info())

        async def close(self, *_args: Any, **_options: Any) -> None:
            """The store outlives its clients, as a server's does."""

    monkeypatch.setattr(qdrant_client, "AsyncQdrantClient", InProcessClient)


@pytest.fixture
def live_neo4j(neo4j_server: Neo4jServer, monkeypatch: pytest.MonkeyPatch) -> Neo4jServer:
    """Whatever address and password a block names, the live server of the session answers."""
    connect = neo4j.AsyncGraphDatabase.driver

    def driver(_uri: str, **options: Any) -> neo4j.AsyncDriver:
        return connect(neo4j_server.uri, **{**options, "auth": neo4j_server.auth})

    monkeypatch.setattr(neo4j.AsyncGraphDatabase, "driver", driver)
    return neo4j_server


@pytest.fixture
def player(
    tmp_path: Path,
    provider: Provider,
    qdrant_in_memory: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Player:
    """A reader in an empty directory, with a key of every provider in the environment."""
    for name in ADAPTERS:  # an import reads files, which is not what the guarded loop is about
        importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    for name in KEYS:
        monkeypatch.setenv(name, f"{name.lower()}-of-a-reader")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://your-resource.openai.azure.com")
    monkeypatch.setattr("memora.config.default_path", lambda: tmp_path / "default")
    return Player(tmp_path)
