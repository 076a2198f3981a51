"""The reranking port: how well each of a few texts answers a question, read together with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memora.errors import RerankResponseError

if TYPE_CHECKING:
    from typing import Self


class BaseReranker(ABC):
    """Scores what a search found; slower than the search, and better at telling good from near."""

    @property
    @abstractmethod
    def model_id(self) -> str:
        """Name of the model, for logs and errors."""

    @abstractmethod
    async def _score(self, query: str, texts: list[str]) -> list[float]:
        """One score per text, in their order; higher is better, on any scale."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text, in their order; higher is better, on the model's own scale.

        Raises:
            RerankError: The model failed, or answered something else than scores.
        """
        if not texts:
            return []
        scores = await self._score(query, list(texts))
        if len(scores) != len(texts):
            reason = f"{len(scores)} scores for {len(texts)} texts"
            raise RerankResponseError(self.model_id, reason)
        if not all(math.isfinite(score) for score in scores):
            raise RerankResponseError(self.model_id, "a score is not a finite number")
        return scores

    async def close(self) -> None:  # noqa: B027 - not every reranker opens something
        """Release what was opened; harmless when repeated, and a later call opens it again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
