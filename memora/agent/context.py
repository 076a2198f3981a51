"""Memories as text for a prompt."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from memora.core import ranking
from memora.core.chunking import RECALL_CLOSE, RECALL_OPEN, estimated_tokens, in_recall
from memora.errors import LLMError
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.models import Memory

_logger = logging.getLogger(__name__)


def format_memories(
    memories: Sequence[Memory],
    *,
    token_budget: int | None = None,
    newest_last: bool = False,
    always: Collection[str] = (),
) -> str:
    """Render memories as a block for the prompt, one line with its date each.

    The block carries a marker, by which a save of the transcript knows that it is recalled text
    and not something new. No memories give an empty text.

    Args:
        memories: In the order of a recall, best first.
        token_budget: Lines are added while they fit (a token is taken as 4 characters).
        newest_last: Order the lines by time instead of relevance.
        always: Pinned memories and those of these types come first, within half of the budget.
    """
    first: list[Memory] = []
    if always:
        first = ranking.standing_first(memories, always, 2 * len(memories), token_budget, _cost)
    stands = {memory.memory_id for memory in first}
    rest = [memory for memory in memories if memory.memory_id not in stands]
    left = (
        None
        if token_budget is None
        else token_budget - sum(_cost(memory.memory) for memory in first)
    )
    kept = ranking.within_budget(rest, len(rest), left, _cost)
    if newest_last:
        kept.sort(key=lambda memory: memory.obtained_at)
    lines = [_line(memory) for memory in (*first, *kept)]
    return "\n".join([RECALL_OPEN, *lines, RECALL_CLOSE]) if lines else ""


def _line(memory: Memory) -> str:
    return f"- {in_recall(memory.memory)} ({memory.obtained_at:%Y-%m-%d})"


def _cost(text: str) -> int:
    """Return the tokens of the line of a memory with this text."""
    return estimated_tokens(f"- {in_recall(text)} (2000-01-01)")


async def summarise(
    model: BaseBackendLLM | None, message: str, memories: Sequence[Memory], now: datetime
) -> str:
    """Return a briefing on the message from the memories.

    Without a model, or when it fails, the memories themselves, as sentences with dates.
    """
    if not memories:
        return ""
    if model is not None:
        shown = [
            render.PromptMemory(number, memory.memory, memory.obtained_at)
            for number, memory in enumerate(memories)
        ]
        try:
            return (await model(render.summarise(message, shown, now))).strip()
        except LLMError as error:
            _logger.warning("memories were not summarised: %s", type(error).__name__)
    return " ".join(
        f"{memory.memory.strip().rstrip('.')} ({memory.obtained_at:%Y-%m-%d})."
        for memory in memories
    )
