"""Memories as text for a prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from memora.core.chunking import RECALL_CLOSE, RECALL_OPEN, estimated_tokens, in_recall
from memora.errors import LLMError
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.models import Memory

_logger = logging.getLogger(__name__)


def format_memories(
    memories: Sequence[Memory], *, token_budget: int | None = None, newest_last: bool = False
) -> str:
    """Render memories as a block for the prompt, one line with its date each.

    The block carries a marker, by which a save of the transcript knows that it is recalled text
    and not something new. No memories give an empty text.

    Args:
        memories: In the order of a recall, best first.
        token_budget: Lines are added while they fit (a token is taken as 4 characters).
        newest_last: Order the lines by time instead of relevance.
    """
    lines: list[tuple[datetime, str]] = []
    left = token_budget
    for memory in memories:
        line = f"- {in_recall(memory.memory)} ({memory.obtained_at:%Y-%m-%d})"
        cost = estimated_tokens(line)
        if left is not None:
            if cost > left:
                continue
            left -= cost
        lines.append((memory.obtained_at, line))
    if not lines:
        return ""
    if newest_last:
        lines.sort(key=lambda item: item[0])
    return "\n".join([RECALL_OPEN, *(line for _time, line in lines), RECALL_CLOSE])


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
