"""Typed values to chat messages. Instructions go into the system role, data into the user's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memora.prompts import filter_retrieved_memories as filtering
from memora.prompts import memory_extraction as extraction
from memora.prompts import memory_search_from_msg as searching

ChatMessages = list[dict[str, str]]

# How much of one memory a model is shown: a memory may be a document of a megabyte.
MEMORY_CHARS = 4000
# By themselves: strftime would write them in the language of the process.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """A message as the model sees it; `number` is what it cites, None when it may not be."""

    number: int | None
    role: str
    content: str = field(repr=False)
    name: str | None = field(default=None, repr=False)
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class PromptMemory:
    """A memory as the model sees it: number, text (its beginning) and date, never an id."""

    number: int
    text: str = field(repr=False)
    date: datetime


def extract_memories(
    new: Sequence[PromptMessage],
    context: Sequence[PromptMessage],
    now: datetime,
    *,
    with_agent: bool,
    about_agent: bool,
    summary: str | None = None,
) -> ChatMessages:
    """Ask for the memories in the new messages.

    Args:
        new: Messages to extract from.
        context: What was said right before.
        now: Time of the conversation.
        with_agent: An agent takes part, whose label has a placeholder.
        about_agent: Also remember what concerns the agent.
        summary: Of what was said before the context.
    """
    template = (
        extraction.MEMORY_EXTRACTION_UPDATE_SYSTEM_PROMPT
        if context or summary
        else extraction.MEMORY_EXTRACTION_SYSTEM_PROMPT
    )
    system = template.format(
        agent_clause=extraction.AGENT_CLAUSE if with_agent else "",
        subject_clause=extraction.SUBJECT_USER_AND_AGENT
        if about_agent
        else extraction.SUBJECT_USER,
    )
    data: dict[str, Any] = {"time_of_conversation": _time(now)}
    if summary:
        data["summary_of_before"] = summary
    if context:
        data["context"] = [_message(message) for message in context]
    data["new_messages"] = [_message(message) for message in new]
    return _chat(system, data)


def summarise_conversation(
    said: Sequence[PromptMessage], before: str | None, now: datetime
) -> ChatMessages:
    """Ask for a summary of a part of a conversation, for whoever reads the next part."""
    data: dict[str, Any] = {"time_of_conversation": _time(now)}
    if before:
        data["summary_of_before"] = before
    data["messages"] = [_message(message) for message in said]
    return _chat(extraction.SUMMARISE_CONVERSATION_SYSTEM_PROMPT, data)


def compare_memories(
    candidates: Sequence[PromptMemory], existing: Sequence[PromptMemory]
) -> ChatMessages:
    """Ask for one verdict per candidate."""
    keys = extraction.COMPARE_EXISTING_AND_NEW_MEMORIES_INPUT_TEMPLATE
    values = ([_memory(m) for m in candidates], [_memory(m) for m in existing])
    return _chat(
        extraction.COMPARE_EXISTING_AND_NEW_MEMORIES_SYSTEM_PROMPT,
        dict(zip(keys, values, strict=True)),
    )


def search_queries(
    message: str, preceding: Sequence[Mapping[str, str]], now: datetime, limit: int
) -> ChatMessages:
    """Ask for search queries for a message."""
    values = (_time(now), [dict(item) for item in preceding], message)
    return _chat(
        searching.MSG_MEMORY_SEARCH_PROMPT.format(limit=limit),
        dict(zip(searching.MSG_MEMORY_SEARCH_TEMPLATE, values, strict=True)),
    )


def select_memories(
    message: str, queries: Sequence[str], memories: Sequence[PromptMemory], now: datetime
) -> ChatMessages:
    """Ask which memories help with the message."""
    return _chat(
        filtering.FILTER_RETRIEVED_MEMORIES_SYSTEM_PROMPT,
        {
            "now": _time(now),
            "message": message,
            "queries": list(queries),
            "memories": [_memory(memory) for memory in memories],
        },
    )


def summarise(message: str, memories: Sequence[PromptMemory], now: datetime) -> ChatMessages:
    """Ask for a briefing on the message from the memories."""
    return _chat(
        filtering.SUMMARISE_MEMORIES_SYSTEM_PROMPT,
        {
            "now": _time(now),
            "message": message,
            "memories": [_memory(memory) for memory in memories],
        },
    )


def _chat(system: str, data: Mapping[str, Any]) -> ChatMessages:
    body = json.dumps(data, ensure_ascii=False, indent=1)
    return [{"role": "system", "content": system}, {"role": "user", "content": body}]


def _message(message: PromptMessage) -> dict[str, Any]:
    time = None if message.time is None else _time(message.time)
    values = (message.number, message.role, message.name, time, message.content)
    pairs = zip(extraction.EXTRACTION_MSG_BLOCK_FORMAT, values, strict=True)
    return {key: value for key, value in pairs if value is not None}


def _memory(memory: PromptMemory) -> dict[str, Any]:
    text = memory.text[:MEMORY_CHARS]
    return {"number": memory.number, "memory": text, "date": f"{memory.date:%Y-%m-%d}"}


def _time(value: datetime) -> str:
    return f"{_DAYS[value.weekday()]} {value:%Y-%m-%d %H:%M} UTC"
