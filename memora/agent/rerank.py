"""The optional step of recall that reads each found memory together with the message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from memora.core import ranking
from memora.errors import MissingExtraError, RerankError
from memora.rerankers.base import BaseReranker
from memora.schema.models import Memory

_logger = logging.getLogger(__name__)


async def rerank(
    reranker: BaseReranker,
    message: str,
    memories: Sequence[Memory],
    deadline: float | None = None,
) -> list[Memory]:
    """Return the memories in the reranker's order, with its scores; ties newest first.

    One that fails or is late leaves them as they came.

    Args:
        reranker: The model.
        message: What they have to do with.
        memories: As the search ranked them.
        deadline: Seconds that the answer may take.
    """
    shown = [f"{memory.memory} ({memory.obtained_at:%Y-%m-%d})" for memory in memories]
    try:
        async with asyncio.timeout(deadline):
            scores = await reranker.rerank(message, shown)
    except (RerankError, MissingExtraError, TimeoutError) as error:
        _logger.warning("found memories were not reranked: %s", type(error).__name__)
        return list(memories)
    scored = [
        memory.model_copy(update={"score": score, "score_parts": _parts(memory, score)})
        for memory, score in zip(memories, scores, strict=True)
    ]
    return ranking.best_first(scored)


def _parts(memory: Memory, score: float) -> dict[str, float] | None:
    if memory.score_parts is None:
        return None
    return {**memory.score_parts, "search": memory.score or 0.0, "rerank": score}
