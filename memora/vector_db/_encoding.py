"""What every vector backend stores and asks: texts as vectors, hits in one order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from memora.core.indexing import TEXT_RECIPE, payload
from memora.embeddings.base import BaseEmbedder, SparseEncoder, SparseVector
from memora.errors import SchemaVersionError
from memora.schema.findings import Finding, FindingKind
from memora.schema.index import Hit, IndexDocument, IndexStamp, ListLimits, QueryHits
from memora.vector_db._lazy import LazyModule
from memora.vector_db.base import checked_memory_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")

# An id as an engine's adapter compares it.
Key = TypeVar("Key", int, str)

DENSE = "dense"
LEXICAL = "bm25"

# Payload fields that a hit needs: its owner is checked again.
HIT_FIELDS = ("org_id", "user_id", "agent_id")

# Engines cut ties at random, memora by id: so many hits more than asked for are fetched, and where
# they all tie with the last one asked for, so many more.
TIES = 16
MANY_TIES = 200
_REMEDY = "`memora reindex` makes the vectors again with the embedder of the settings"
_LANGUAGE = re.compile(r"-snowball-([a-z]{2})\+")
# Scores are float32 and summed in another order by every engine: what differs after this digit is
# noise, and must not decide the order before the id does.
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """One point, ready to be stored."""

    memory_id: str
    org_id: str
    user_id: str
    dense: NDArray[np.float32] = field(repr=False)
    lexical: SparseVector = field(repr=False)
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """One query; a text without any token has no vector, and its list is empty."""

    dense: list[float] | None = field(repr=False)
    lexical: SparseVector | None = field(repr=False)


class Owned(NamedTuple):
    """Whose a memory is."""

    memory_id: str
    org_id: str
    user_id: str
    agent_id: str | None

    @classmethod
    def of(cls, memory_id: str, payload: Mapping[str, Any]) -> Owned:
        """Read it from a payload; objects of one owner share its ids."""
        agent_id = payload.get("agent_id")
        return cls(
            memory_id,
            intern(payload["org_id"]),
            intern(payload["user_id"]),
            None if agent_id is None else intern(agent_id),
        )


class ScoredPoint(Protocol):
    """What both engines call a hit."""

    @property
    def id(self) -> Any: ...
    @property
    def score(self) -> float: ...
    @property
    def payload(self) -> Mapping[str, Any] | None: ...


@runtime_checkable
class Forgetful(Protocol):
    """A lexical encoder that keeps words of the texts it has seen."""

    def forget(self) -> None:
        """Drop them."""
        ...


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

    def with_embedder(self, embedder: BaseEmbedder) -> Encoder:
        """Return an encoder of another model with the same lexical side."""
        return Encoder(embedder, self._lexical)

    @property
    def model_id(self) -> str:
        """Stamp of the model."""
        return self._embedder.model_id

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
        lexical = self._in_worker(
            self._lexical.encode_documents,
            [document.lexical_text for document in latest.values()],
        )
        dense = await self._embedder.embed_documents(
            [document.dense_text for document in latest.values()]
        )
        return [
            EncodedDocument(
                memory_id, document.org_id, document.user_id, row, sparse, payload(document)
            )
            for (memory_id, document), row, sparse in zip(
                latest.items(), dense, await lexical, strict=True
            )
        ]

    async def queries(
        self, texts: Sequence[str], dense_texts: Sequence[str] | None = None
    ) -> list[EncodedQuery]:
        """Encode queries.

        Args:
            texts: What the lexical lists answer, and the dense ones where nothing else is given.
            dense_texts: What the dense lists answer.

        Raises:
            EmbeddingError: The texts could not be embedded.
        """
        lexical = self._in_worker(self._lexical.encode_queries, texts)
        dense = await self._embedder.embed_queries(texts if dense_texts is None else dense_texts)
        return [
            EncodedQuery(row.tolist() if row.any() else None, sparse if sparse.indices else None)
            for row, sparse in zip(dense, await lexical, strict=True)
        ]

    def _in_worker(
        self, encode: Callable[[Sequence[str]], list[SparseVector]], texts: Sequence[str]
    ) -> asyncio.Future[list[SparseVector]]:
        """Encode in a worker thread, while the embedder works in another."""
        return asyncio.get_running_loop().run_in_executor(None, encode, texts)

    def forget(self) -> None:
        """Drop what both keep of the texts they have seen."""
        self._embedder.forget()
        if isinstance(self._lexical, Forgetful):
            self._lexical.forget()

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
        raise SchemaVersionError(
            store, found=_words(found), supported=_words(wanted), remedy=_remedy(found, wanted)
        )


def other_model(found: IndexStamp, wanted: IndexStamp) -> Finding:
    """Return the finding of a store that was made with another model (B23)."""
    detail = f"{_words(found)}, not {_words(wanted)}"
    return Finding("I5", "vectors", detail, FindingKind.MODEL_MISMATCH, blocks=True)


def _remedy(found: IndexStamp, wanted: IndexStamp) -> str:
    """Return what to do; the language is easily forgotten, as where a command opens the store."""
    was, now = _LANGUAGE.search(found.recipe), _LANGUAGE.search(wanted.recipe)
    if was is None or now is None or was[1] == now[1]:
        return _REMEDY
    return (
        f"it was made in the language {was[1]!r}, not {now[1]!r}: give language={was[1]!r}, "
        f"or set MEMORA_LANGUAGE={was[1]}; else {_REMEDY}"
    )


def _words(stamp: IndexStamp) -> str:
    return f"vectors of {stamp.model_id} ({stamp.dimensions} dimensions, {stamp.recipe})"


def wanted_of(queries: Sequence[EncodedQuery], limits: ListLimits) -> list[int]:
    """Return how many hits each list that is asked for may have, dense before lexical."""
    return [
        limit
        for query in queries
        for limit, vector in zip(limits, (query.dense, query.lexical), strict=True)
        if vector
    ]


def best(
    points: Sequence[ScoredPoint], limit: int, key: Callable[[ScoredPoint], Key]
) -> list[tuple[Key, float]]:
    """Return keys and scores of the best of an engine's hits, ties by key.

    Args:
        points: In the order of the engine's scores, best first.
        limit: At most that many.
        key: What stands for the id of a hit, and is ordered like it.
    """
    scores = _scores(points)
    end = min(limit, len(points))
    while 0 < end < len(points) and scores[end] == scores[limit - 1]:
        end += 1
    ranked = sorted([(-score, key(points[i])) for i, score in enumerate(scores[:end])])
    return [(found, -negative) for negative, found in ranked[:limit]]


def answers(
    queries: Sequence[EncodedQuery],
    lists: Iterable[Sequence[tuple[Key, float]]],
    owned: Mapping[Key, Owned],
) -> list[QueryHits]:
    """Put the best of the lists that were asked for (dense before lexical) back to their queries.

    Args:
        queries: What was asked.
        lists: As `best` returns them.
        owned: Whose the hits are, by what stands for them in the lists.
    """
    found = iter(lists)
    return [
        QueryHits(
            dense=_hits(next(found), owned) if query.dense else (),
            lexical=_hits(next(found), owned) if query.lexical else (),
        )
        for query in queries
    ]


def ends_in_tie(points: Sequence[ScoredPoint], limit: int) -> bool:
    """Tell whether a list of `limit + TIES` leaves open which hits belong to the first `limit`."""
    if len(points) < limit + TIES:
        return False
    last, least = _scores([points[limit - 1], points[-1]])
    return last == least


def _scores(points: Sequence[ScoredPoint]) -> list[float]:
    """Return the scores without their noise; one by one that takes ten times as long."""
    return np.array([point.score for point in points]).round(_DIGITS).tolist()


def _hits(ranked: Sequence[tuple[Key, float]], owned: Mapping[Key, Owned]) -> tuple[Hit, ...]:
    return tuple(map(Hit._make, [(*owned[key], score) for key, score in ranked]))
