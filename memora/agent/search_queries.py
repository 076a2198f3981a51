"""Model steps of recall: a message to search queries, and found memories to the useful ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from memora.core.chunking import without_recall
from memora.core.messages import parse_messages
from memora.errors import LLMError
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.extraction_schema import SearchQueries, SelectedMemories
from memora.schema.models import Memory
from memora.schema.validation import MODEL_QUERIES

_logger = logging.getLogger(__name__)

QUERY_CHARS = 4000
PRECEDING = 6


def preceding_texts(messages: Sequence[Any]) -> list[dict[str, str]]:
    """Return the last messages before this one as role and text without recalls, newest last.

    Raises:
        InvalidInputError: A message is malformed.
    """
    parsed = parse_messages(messages, field="preceding_msg_for_context")
    spoken = [
        {"role": item.role, "content": text[:QUERY_CHARS]}
        for item in parsed
        if item.role in {"user", "assistant"}
        and (text := without_recall(item.content or "").strip())
    ]
    return spoken[-PRECEDING:]


def without_model(message: str, preceding: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the message itself, and once more after what was said right before it."""
    text = message.strip()[:QUERY_CHARS]
    if not preceding:
        return (text,)
    context = " ".join(item["content"] for item in preceding[-2:])
    return (text, f"{context[-QUERY_CHARS // 2 :]} {text}"[-QUERY_CHARS:])


async def generate(
    model: BaseBackendLLM,
    message: str,
    preceding: Sequence[Mapping[str, str]],
    now: datetime,
    deadline: float | None = None,
) -> tuple[str, ...]:
    """Ask the model for search queries: at most 8, no blank one, none twice.

    Args:
        model: The fast model.
        message: The latest message.
        preceding: What was said before it.
        now: Time of the conversation.
        deadline: Seconds that the answer may take.

    Raises:
        LLMError: The model failed.
    """
    prompt = render.search_queries(message[:QUERY_CHARS], preceding, now, MODEL_QUERIES)
    answer = await model(prompt, SearchQueries, deadline=deadline)
    cleaned = (query.strip()[:QUERY_CHARS] for query in answer.queries)
    return tuple(dict.fromkeys(query for query in cleaned if query))[:MODEL_QUERIES]


async def for_message(
    model: BaseBackendLLM | None,
    message: str,
    preceding: Sequence[Mapping[str, str]],
    now: datetime,
    deadline: float | None = None,
) -> tuple[str, ...]:
    """Return the queries for a message; without a model, or when it fails or is late, the message.

    A model that finds nothing to search for is not believed: the message is searched.
    """
    if model is None:
        return without_model(message, preceding)
    try:
        async with asyncio.timeout(deadline):
            generated = await generate(model, message, preceding, now, deadline)
    except (LLMError, TimeoutError) as error:
        _logger.warning("no search queries from the model: %s", type(error).__name__)
        return without_model(message, preceding)
    return generated or without_model(message, preceding)


async def select(
    model: BaseBackendLLM,
    message: str,
    queries: Sequence[str],
    memories: Sequence[Memory],
    now: datetime,
    deadline: float | None = None,
) -> list[Memory]:
    """Keep the memories that the model finds useful, in the order they came in.

    "None of them" keeps none; a model that fails or is late could not decide, and keeps all.
    """
    if not memories:
        return []
    shown = [
        render.PromptMemory(number, memory.memory, memory.obtained_at)
        for number, memory in enumerate(memories)
    ]
    prompt = render.select_memories(message[:QUERY_CHARS], queries, shown, now)
    try:
        async with asyncio.timeout(deadline):
            answer = await model(prompt, SelectedMemories, deadline=deadline)
    except (LLMError, TimeoutError) as error:
        _logger.warning("found memories were not filtered: %s", type(error).__name__)
        return list(memories)
    chosen = {number for number in answer.relevant if 0 <= number < len(memories)}
    if answer.relevant and not chosen:
        _logger.warning("the filter named only memories that it was not shown; all are kept")
        return list(memories)
    return [memory for number, memory in enumerate(memories) if number in chosen]
