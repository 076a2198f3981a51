"""The embedded vector store passes the contract, wherever its engine runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from memora.embeddings.hashing import HashingEmbedder
from memora.testing.vector_contract import Reopen, VectorContract
from memora.vector_db import EmbeddedVectorDB


class TestEmbedded(VectorContract):
    own_process: ClassVar[bool] = False

    def made(self, path: Path, embedder: Any = None, lexical: Any = None) -> EmbeddedVectorDB:
        return EmbeddedVectorDB(
            path,
            embedder=embedder or HashingEmbedder(64),
            lexical=lexical,
            own_process=self.own_process,
        )

    @pytest.fixture
    async def vectors(self, tmp_path: Path) -> AsyncIterator[EmbeddedVectorDB]:
        async with self.made(tmp_path) as vectors:
            yield vectors

    @pytest.fixture
    async def reopen(self, vectors: EmbeddedVectorDB, tmp_path: Path) -> AsyncIterator[Reopen]:
        opened: list[EmbeddedVectorDB] = []

        async def reopen(embedder: Any = None, lexical: Any = None) -> EmbeddedVectorDB:
            await vectors.close()
            opened.append(self.made(tmp_path, embedder, lexical))
            return opened[-1]

        yield reopen
        for store in opened:
            await store.close()


class TestEmbeddedInAProcessOfItsOwn(TestEmbedded):
    own_process = True
