"""What every vector backend stores and asks: texts as vectors, hits in one order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memora.core.indexing import TEXT_RECIPE, payload
from memora.embeddings.base import BaseEmbedder, SparseEncoder, SparseVector
from memora.errors import SchemaVersionError
from memora.schema.index import Hit, IndexDocument, IndexStamp, QueryHits
from memora.vector_db.base import checked_memory_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DENSE = "dense"
LEXICAL = "bm25"

# Payload fields that a hit needs: its owner is checked again.
HIT_FIELDS = ("org_id", "user_id", "agent_id")

# So many hits more than asked for are fetched, because engines cut ties at random and memora by id.
TIES = 32
# Scores are float32 and summed in another order by every engine: what differs after this digit is
# noise, and must not decide the order before the id does.
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """One point, ready to be stored."""

    memory_id: str
    org_id: str
    user_id: str
    dense: NDArray[np.float32]
    lexical: SparseVector
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """One query; a text without any token has no vector, and its list is empty."""

    dense: list[float] | None
    lexical: SparseVector | None


class Encoder:
    """The embedder and the lexical encoder of one vector store.

    Args:
        embedder: None stands for the offline default, which this object then opens and closes.
        lexical: None stands for BM25 in English.
    """

    def __init__(self, embedder: BaseEmbedder | None, lexical: SparseEncoder | None) -> None:
        self._owns_embedder = embedder is None
        if embedder is None:
            from memora.embeddings.static import StaticEmbedder  # noqa: PLC0415 - the lazy default

            embedder = StaticEmbedder()
        if lexical is None:
            from memora.embeddings.lexical import LexicalEncoder  # noqa: PLC0415 - as above

            lexical = LexicalEncoder()
        self._embedder = embedder
        self._lexical = lexical

    async def stamp(self) -> IndexStamp:
        """Return what stores made with this object carry."""
        await self._embedder.prepare()
        return IndexStamp(
            self._embedder.model_id,
            self._embedder.dimensions,
            f"{self._lexical.recipe}+{TEXT_RECIPE}",
        )

    async def documents(self, documents: Sequence[IndexDocument]) -> list[EncodedDocument]:
        """Encode documents; of several with one id the last counts.

        Raises:
            InvalidInputError: A memory id is no UUID.
            EmbeddingError: The texts could not be embedded.
        """
        latest = {checked_memory_id(document.memory_id): document for document in documents}
        dense, lexical = await asyncio.gather(
            self._embedder.embed_documents([document.dense_text for document in latest.values()]),
            asyncio.to_thread(
                self._lexical.encode_documents,
                [document.lexical_text for document in latest.values()],
            ),
        )
        return [
            EncodedDocument(
                memory_id, document.org_id, document.user_id, row, sparse, payload(document)
            )
            for (memory_id, document), row, sparse in zip(
                latest.items(), dense, lexical, strict=True
            )
        ]

    async def queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Encode queries.

        Raises:
            EmbeddingError: The texts could not be embedded.
        """
        dense, lexical = await asyncio.gather(
            self._embedder.embed_queries(texts),
            asyncio.to_thread(self._lexical.encode_queries, texts),
        )
        return [
            EncodedQuery(row.tolist() if row.any() else None, sparse if sparse.indices else None)
            for row, sparse in zip(dense, lexical, strict=True)
        ]

    async def close(self) -> None:
        """Close the embedder if this object opened it."""
        if self._owns_embedder:
            await self._embedder.close()


def check_stamp(store: str, found: IndexStamp, wanted: IndexStamp) -> None:
    """Compare stamps.

    Raises:
        SchemaVersionError: They differ; vectors of two models are never mixed.
    """
    if found != wanted:
        raise SchemaVersionError(store, found=_words(found), supported=_words(wanted))


def _words(stamp: IndexStamp) -> str:
    return f"vectors of {stamp.model_id} ({stamp.dimensions} dimensions, {stamp.recipe})"


def hit(memory_id: object, score: float, owner: dict[str, Any]) -> Hit:
    """Build a hit from what an engine returned."""
    return Hit(
        memory_id=str(memory_id),
        org_id=owner["org_id"],
        user_id=owner["user_id"],
        agent_id=owner.get("agent_id"),
        score=round(score, _DIGITS),
    )


def best(hits: Iterable[Hit], limit: int) -> tuple[Hit, ...]:
    """Return the best hits, ties by id."""
    return tuple(sorted(hits, key=lambda hit: (-hit.score, hit.memory_id))[:limit])


def answers(
    queries: Sequence[EncodedQuery], lists: Iterable[Iterable[Hit]], limit: int
) -> list[QueryHits]:
    """Put the lists that were asked for (dense before lexical) back to their queries."""
    found = iter(lists)
    return [
        QueryHits(
            dense=best(next(found), limit) if query.dense else (),
            lexical=best(next(found), limit) if query.lexical else (),
        )
        for query in queries
    ]
