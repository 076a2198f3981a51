"""The embedding port: texts to vectors, off the event loop, with a bounded cache."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from memora.errors import EmbeddingResponseError, InvalidInputError

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["document", "query"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A sparse vector; the indices are 32-bit, sorted, and each there once."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


class SparseEncoder(Protocol):
    """Texts to sparse vectors, on the CPU: call it in a worker thread.

    Attributes:
        recipe: Stamp of everything that decides the vectors; stores keep it and refuse another.
    """

    recipe: str

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Vectors of texts that are to be found, in the order of the texts."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """Vectors of texts to search with, in the order of the texts."""
        ...


class BaseEmbedder(ABC):
    """Turns texts into rows of unit length; a text without any token becomes a row of zeros.

    Args:
        batch_size: Number of texts that the model gets at a time.
        cache_size: Number of vectors kept for texts that come again; 0 keeps none.
    """

    def __init__(self, *, batch_size: int = 100, cache_size: int = 4096) -> None:
        if batch_size < 1:
            raise InvalidInputError("batch_size", "1 or more", got=str(batch_size))
        if cache_size < 0:
            raise InvalidInputError("cache_size", "0 or more", got=str(cache_size))
        self._batch_size = batch_size
        self._cache = _RowCache(cache_size)

    @property
    @abstractmethod
    def model_id(self) -> str:
        """Stamp of the model; stores keep it, and vectors of another model are never mixed in."""

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """Length of every vector; where only the model can tell it, known after `prepare`."""

    @abstractmethod
    async def _embed_batch(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        """Rows of any length for at most `batch_size` texts, none of them blank."""

    async def prepare(self) -> None:  # noqa: B027 - most models need nothing
        """Find out what must be known before the first use; harmless when repeated."""

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts that are to be found, one row per text."""
        return await self._embed(texts, "document")

    async def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts to search with, one row per text."""
        return await self._embed(texts, "query")

    def forget(self) -> None:
        """Drop what is kept of texts that were embedded: vectors tell what a text said.

        What is being embedded at this moment is not kept either.
        """
        self._cache.clear()

    async def close(self) -> None:  # noqa: B027 - not every embedder opens something
        """Release what was opened; harmless when repeated, and a later call opens it again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _embed(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415 - a port is imported long before anything is embedded

        composed = _composed(texts)
        keys = _digests(composed, kind)
        cleared = self._cache.cleared
        await self.prepare()
        rows: dict[bytes, NDArray[np.float32]] = {}
        missing: dict[bytes, str] = {}
        for key, text in zip(keys, composed, strict=True):
            if (row := self._cache.get(key)) is not None:
                rows[key] = row
            elif text.strip():
                missing[key] = text
            else:
                rows[key] = np.zeros(self.dimensions, dtype=np.float32)
        todo = list(missing)
        for start in range(0, len(todo), self._batch_size):
            batch = todo[start : start + self._batch_size]
            vectors = await self._embed_batch([missing[key] for key in batch], kind)
            for key, row in zip(batch, self._unit_rows(vectors, len(batch)), strict=True):
                rows[key] = row
                # A copy: a view would keep the whole batch in memory.
                self._cache.put(key, row.copy(), cleared)
        if not keys:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.stack([rows[key] for key in keys])

    def _unit_rows(self, vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415 - see _embed

        wanted = (count, self.dimensions)
        if vectors.shape != wanted:
            raise EmbeddingResponseError(
                self.model_id, f"expected vectors of shape {wanted}, got {vectors.shape}"
            )
        # In double precision, so that large components do not overflow to an infinite length.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        if not np.isfinite(lengths).all():
            raise EmbeddingResponseError(self.model_id, "a vector holds values that are not finite")
        lengths[lengths == 0] = 1.0
        return (vectors / lengths[:, None]).astype(np.float32)


class LocalEmbedder(BaseEmbedder):
    """Base of the embedders that compute in this process: one worker thread, off the event loop."""

    # Whether `_compute` may reach BLAS. Its default number of threads ruins the speed of
    # everything else in the process, so it gets one while the embedder works.
    uses_blas: ClassVar[bool] = True

    def __init__(self, *, batch_size: int = 100, cache_size: int = 4096) -> None:
        super().__init__(batch_size=batch_size, cache_size=cache_size)
        self._executor: ThreadPoolExecutor | None = None

    @abstractmethod
    def _compute(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        """Rows for the texts, in the worker thread; the first call loads the model."""

    async def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown)

    async def _embed_batch(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        return await self._in_worker(self._compute_capped, texts, kind)

    async def _in_worker(self, function: Callable[..., _T], *args: Any) -> _T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="memora-embed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, function, *args)

    def _compute_capped(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        if not self.uses_blas:
            return self._compute(texts, kind)
        with _blas_turn, _blas().limit(limits=1, user_api="blas"):
            return self._compute(texts, kind)


# The number of BLAS threads is one for the process, so embedders that cap it take turns: each
# finds the host's number and puts it back.
_blas_turn = threading.Lock()


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - only with a local model

    return ThreadpoolController()


class _RowCache:
    """The last used rows; the keys are digests, so no text stays in memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        # How often it was cleared.
        self.cleared = 0

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()
            self.cleared += 1

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
            return row

    def put(self, key: bytes, row: NDArray[np.float32], cleared: int) -> None:
        """Keep a row, unless the cache was cleared since that count."""
        with self._lock:
            if cleared != self.cleared:
                return
            self._rows[key] = row
            self._rows.move_to_end(key)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)


def _composed(texts: Iterable[str]) -> list[str]:
    """The texts in NFC, in which they are embedded and compared."""
    if isinstance(texts, str):
        raise InvalidInputError("texts", "a sequence of strings", got="a single string")
    return [text if text.isascii() else unicodedata.normalize("NFC", text) for text in texts]


def _digests(texts: list[str], kind: Kind) -> list[bytes]:
    person = kind.encode()
    try:
        return [blake2b(text.encode(), digest_size=16, person=person).digest() for text in texts]
    except UnicodeEncodeError:
        # From None: the encoding error carries the text.
        raise InvalidInputError("texts", "valid Unicode", got="a lone surrogate") from None
