"""A deterministic embedder without a model, for tests and CI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from memora.embeddings.base import Kind, LocalEmbedder
from memora.errors import InvalidInputError

_WORD = re.compile(r"\w+")
_LONGEST_KEPT = 100


class HashingEmbedder(LocalEmbedder):
    """Hashed words and character triples: texts that share words are near, the same everywhere.

    It knows no meaning, only spelling; for people the offline default is `StaticEmbedder`.
    """

    uses_blas = False

    def __init__(
        self, dimensions: int = 256, *, batch_size: int = 100, cache_size: int = 4096
    ) -> None:
        if dimensions < 1:
            raise InvalidInputError("dimensions", "1 or more", got=str(dimensions))
        super().__init__(batch_size=batch_size, cache_size=cache_size)
        self._dimensions = dimensions

    @property
    def model_id(self) -> str:
        return f"hashing/{self._dimensions}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def forget(self) -> None:
        super().forget()
        _cached.cache_clear()

    def _compute(
        self,
        texts: list[str],
        kind: Kind,  # noqa: ARG002 - questions and texts are embedded alike
    ) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in _WORD.findall(text.casefold()):
                for feature, weight in _features(word):
                    slot, positive = _slot(feature)
                    row[slot % self._dimensions] += weight if positive else -weight
        return rows


def _features(word: str) -> Iterator[tuple[str, float]]:
    yield word, 1.0
    padded = f"<{word}>"
    for start in range(len(padded) - 2):
        yield padded[start : start + 3], 0.5


def _slot(feature: str) -> tuple[int, bool]:
    # A cache of words of any length could hold gigabytes.
    return _hashed(feature) if len(feature) > _LONGEST_KEPT else _cached(feature)


def _hashed(feature: str) -> tuple[int, bool]:
    number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "little")
    return number >> 1, bool(number & 1)


_cached = lru_cache(maxsize=65_536)(_hashed)
