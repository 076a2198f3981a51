"""Qdrant passes the contract: the client's local mode, and a server where one is set."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from memora.embeddings.hashing import HashingEmbedder
from memora.testing.vector_contract import Reopen, VectorContract
from memora.vector_db import QdrantDB
from tests.attach import QdrantServer
from tests.contract.qdrant_bridge import QdrantBridge


class QdrantContract(VectorContract):
    """Subclasses bring the fixture `client`."""

    @pytest.fixture
    def collection(self) -> str:
        return f"memora_test_{uuid.uuid4().hex}"

    @pytest.fixture
    async def vectors(self, client: AsyncQdrantClient, collection: str) -> AsyncIterator[QdrantDB]:
        async with QdrantDB(client, collection, embedder=HashingEmbedder(64)) as vectors:
            yield vectors
        await client.delete_collection(collection)

    @pytest.fixture
    def reopen(self, vectors: QdrantDB, client: AsyncQdrantClient, collection: str) -> Reopen:
        async def reopen(embedder: Any = None, lexical: Any = None) -> QdrantDB:
            await vectors.close()
            embedder = embedder or HashingEmbedder(64)
            return QdrantDB(client, collection, embedder=embedder, lexical=lexical)

        return reopen


class TestLocalMode(QdrantContract):
    @pytest.fixture
    async def client(self) -> AsyncIterator[AsyncQdrantClient]:
        client = AsyncQdrantClient(":memory:")
        yield client
        await client.close()


class TestOverTheWire(QdrantContract):
    """The client's remote half, against local mode behind Qdrant's REST protocol."""

    @pytest.fixture
    async def client(self) -> AsyncIterator[AsyncQdrantClient]:
        bridge = QdrantBridge()
        client = bridge.client()
        yield client
        await client.close()
        await bridge.local.close()


class TestServer(QdrantContract):
    @pytest.fixture
    async def client(self, qdrant_server: QdrantServer) -> AsyncIterator[AsyncQdrantClient]:
        client = AsyncQdrantClient(url=qdrant_server.url, api_key=qdrant_server.api_key)
        yield client
        await client.close()
