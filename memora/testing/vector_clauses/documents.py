"""Documents and stand-ins for the clauses, and what reads a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memora.core.hashing import exact_hash
from memora.core.ids import RandomIds
from memora.embeddings.base import BaseEmbedder, Kind, SparseVector
from memora.schema.index import Hit, IndexDocument, QueryHits
from memora.schema.scope import Scope
from memora.vector_db.base import BaseVectorDB

# Closes the store of the fixture `vectors` and returns another one over the same data, which is
# not set up yet; with arguments it has another embedder or lexical encoder.
Reopen = Callable[..., Awaitable[BaseVectorDB]]

IDS = RandomIds()
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


class OtherEmbedder(BaseEmbedder):
    """Constant rows under a chosen name and length, to be refused."""

    def __init__(self, model_id: str, dimensions: int) -> None:
        super().__init__()
        self._model_id = model_id
        self._dimensions = dimensions

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def _embed_batch(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:  # noqa: ARG002 - alike
        return np.ones((len(texts), self._dimensions), dtype=np.float32)


class OtherLexical:
    """A lexical encoder of another recipe, to be refused."""

    recipe = "another"

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """One term for everything."""
        return [SparseVector((1,), (1.0,)) for _ in texts]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """One term for everything."""
        return self.encode_documents(texts)


def document(text: str, scope: Scope, **fields: Any) -> IndexDocument:
    """Return a document of the scope's user and agent."""
    given: dict[str, Any] = {
        "memory_id": IDS.memory(),
        "org_id": scope.org_id,
        "user_id": scope.user_id,
        "agent_id": scope.agent_id,
        "interaction_id": None,
        "dense_text": text,
        "lexical_text": text,
        "text_hash": exact_hash(text),
        "memory_type": "fact",
        "obtained_at": NOON,
    }
    return IndexDocument(**given | fields)


def ids(hits: Iterable[Hit]) -> list[str]:
    """Return the memory ids of hits."""
    return [hit.memory_id for hit in hits]


def everything(hits: QueryHits) -> set[str]:
    """Return the memory ids of both lists."""
    return {*ids(hits.dense), *ids(hits.lexical)}


async def stored(vectors: BaseVectorDB, org_id: str) -> list[str]:
    """Return all ids of an organization, as `scan` shows them in small pages."""
    found: list[str] = []
    after = None
    while page := await vectors.scan(after=after, limit=7):
        found += [entry.memory_id for entry in page if entry.org_id == org_id]
        after = page[-1].memory_id
    return found


async def find(vectors: BaseVectorDB, query: str, scope: Scope, **further: Any) -> QueryHits:
    """Search as one user."""
    return await vectors.search_memory(query, "user", scope.org_id, scope.user_id, **further)


class Clauses:
    """What all clauses share."""

    @pytest.fixture
    def alice(self) -> Scope:
        """A user in an organization that nobody else has."""
        return Scope(IDS.short(), "alice")
