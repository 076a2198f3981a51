"""The embedded vector store passes the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from memora.embeddings.hashing import HashingEmbedder
from memora.testing.vector_contract import Reopen, VectorContract
from memora.vector_db import EmbeddedVectorDB


class TestEmbedded(VectorContract):
    @pytest.fixture
    async def vectors(self, tmp_path: Path) -> AsyncIterator[EmbeddedVectorDB]:
        async with EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(64)) as vectors:
            yield vectors

    @pytest.fixture
    async def reopen(self, vectors: EmbeddedVectorDB, tmp_path: Path) -> AsyncIterator[Reopen]:
        opened: list[EmbeddedVectorDB] = []

        async def reopen(embedder: Any = None, lexical: Any = None) -> EmbeddedVectorDB:
            await vectors.close()
            embedder = embedder or HashingEmbedder(64)
            opened.append(EmbeddedVectorDB(tmp_path, embedder=embedder, lexical=lexical))
            return opened[-1]

        yield reopen
        for store in opened:
            await store.close()
