"""Extraction: new messages to candidates, by the model or verbatim."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypedDict

from memora.core import chunking
from memora.core.authority import least_trusted, rank
from memora.core.hashing import content_hash, normalised
from memora.core.ids import derived_memory_id
from memora.core.messages import block
from memora.core.placeholders import agent_span, escape, neutral, user_span
from memora.core.planning import Candidate
from memora.graph_db.base import StoredMessage
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.extraction_schema import ExtractedMemory, MemoryExtractionResponse
from memora.schema.models import MemoryType, MessageBlock, SourceRole
from memora.schema.write_plan import NewMessage, SourceRef

_logger = logging.getLogger(__name__)

# Messages before the new ones that the model sees, and how much of each.
CONTEXT_MESSAGES = 8
CONTEXT_CHARS = 1000
MESSAGE_CHARS = 100_000
# How models write the tokens for names that the prompt asks for.
_TOKEN = re.compile(r"\[\[ ?(user|agent) ?\]\]", re.IGNORECASE)
# Blanks in the shortest echo of the instructions that is told from a statement.
_ECHO_WORDS = 5
_UNHEARD = frozenset({"system", "developer"})
_SOURCE_ROLES = {"user": SourceRole.USER, "assistant": SourceRole.ASSISTANT}


class ExtractedItem(TypedDict):
    """A valid item of the model's answer, as it is kept with the job."""

    memory: str
    sources: list[int]
    memory_type: str
    importance: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages that an extraction works on.

    Attributes:
        key: What the ids of its memories are derived from, so that a repetition makes the same.
        context: Messages right before the new ones.
        at: Conversation time, for messages without a time of their own.
    """

    key: str
    interaction_id: str
    user_id: str
    agent_id: str | None
    new: tuple[StoredMessage, ...]
    context: tuple[MessageBlock, ...]
    at: datetime
    about_agent: bool


def as_stored(messages: Sequence[NewMessage], start: int) -> tuple[StoredMessage, ...]:
    """Return messages that are about to be stored as they will be read back."""
    return tuple(
        StoredMessage(block(message, start + index), message.prefix_hash)
        for index, message in enumerate(messages)
    )


def worth_extracting(conversation: Conversation) -> bool:
    """Tell whether the new messages can hold a memory: the user (or, if wanted, agent) speaks."""
    roles = {"user", "assistant"} if conversation.about_agent else {"user"}
    return any(item.message.role in roles and _heard(item.message) for item in conversation.new)


def verbatim(conversation: Conversation) -> list[Candidate]:
    """Return what the user (and, if wanted, the agent) said as it was said.

    Long messages are cut at sentence ends; what is said twice is one candidate with two sources.
    """
    roles = {"user", "assistant"} if conversation.about_agent else {"user"}
    found: dict[tuple[str, str], Candidate] = {}
    for item in conversation.new:
        message = item.message
        if message.role not in roles:
            continue
        source = SourceRef(conversation.interaction_id, message.msg_position, item.prefix_hash)
        for number, piece in enumerate(chunking.pieces(_heard(message))):
            key = (message.role, content_hash(piece))
            known = found.get(key)
            if known is not None:
                found[key] = replace(known, sources=_union(known.sources, (source,)))
                continue
            position = str(message.msg_position)
            found[key] = Candidate(
                memory_id=derived_memory_id(
                    conversation.key, position, item.prefix_hash, str(number)
                ),
                text=escape(piece),
                obtained_at=message.timestamp or conversation.at,
                sources=(source,),
                source_role=_SOURCE_ROLES[message.role].value,
                memory_type=MemoryType.OTHER.value,
                metadata={} if message.name is None else {"speaker": message.name},
            )
    return list(found.values())


async def extract(
    model: BaseBackendLLM, conversation: Conversation, max_retries: int | None = None
) -> list[ExtractedItem]:
    """Ask the model for memories and return the valid ones as JSON, for the job.

    Raises:
        LLMError: The model failed.
    """
    numbered = [
        (number, item)
        for number, item in enumerate(conversation.new)
        if item.message.role not in _UNHEARD and _heard(item.message)
    ]
    context = [
        _shown(None, message, CONTEXT_CHARS)
        for message in conversation.context
        if message.role not in _UNHEARD and _heard(message)
    ]
    prompt = render.extract_memories(
        [_shown(number, item.message, MESSAGE_CHARS) for number, item in numbered],
        context,
        conversation.at,
        with_agent=conversation.agent_id is not None,
        about_agent=conversation.about_agent,
    )
    answer = await model(prompt, MemoryExtractionResponse, max_retries=max_retries)
    shown = {number for number, _item in numbered}
    instructions = normalised(prompt[0]["content"])
    dropped = Counter(answer.rejected)
    valid: list[ExtractedItem] = []
    for memory in answer.memories:
        sources = sorted({number for number in memory.msg_source_ids if number in shown})
        if not sources:
            dropped["source_out_of_range"] += 1
        elif echoes(memory.memory, instructions):
            dropped["instructions"] += 1
        else:
            valid.append(_item(memory, sources))
    if dropped:
        _logger.warning("extraction items dropped: %s", dict(dropped))
    return valid


def echoes(text: str, instructions: str) -> bool:
    """Tell whether a statement is a piece of our own instructions; a few words prove nothing.

    Args:
        text: The statement.
        instructions: What the model was told, `normalised`.
    """
    words = normalised(text)
    return words.count(" ") >= _ECHO_WORDS and words in instructions


def _item(memory: ExtractedMemory, sources: list[int]) -> ExtractedItem:
    return {
        "memory": memory.memory,
        "sources": sources,
        "memory_type": memory.memory_type.value,
        "importance": memory.importance,
    }


def candidates(conversation: Conversation, extracted: Sequence[ExtractedItem]) -> list[Candidate]:
    """Return what the model found as candidates, names as placeholders, each text once.

    What was found in messages that have been cut since is left out.
    """
    found: dict[str, Candidate] = {}
    for number, item in enumerate(extracted):
        sources = [
            conversation.new[position]
            for position in item["sources"]
            if position < len(conversation.new)
        ]
        if not sources:
            continue
        text = with_spans(item["memory"], conversation.user_id, conversation.agent_id)
        times = [source.message.timestamp for source in sources if source.message.timestamp]
        candidate = Candidate(
            memory_id=derived_memory_id(conversation.key, "extracted", str(number)),
            text=text,
            obtained_at=max(times, default=conversation.at),
            sources=tuple(
                SourceRef(
                    conversation.interaction_id, source.message.msg_position, source.prefix_hash
                )
                for source in sources
            ),
            source_role=least_trusted(source.message.role for source in sources),
            memory_type=item["memory_type"],
            importance=item["importance"],
        )
        key = content_hash(neutral(text))
        known = found.get(key)
        found[key] = candidate if known is None else _merged(known, candidate)
    return list(found.values())


def _merged(known: Candidate, again: Candidate) -> Candidate:
    """One statement found twice has all sources, and the trust of its better finding."""
    better = max(known.source_role, again.source_role, key=rank)
    return replace(known, sources=_union(known.sources, again.sources), source_role=better)


def _union(one: Sequence[SourceRef], other: Sequence[SourceRef]) -> tuple[SourceRef, ...]:
    return tuple(dict.fromkeys([*one, *other]))


def with_spans(text: str, user_id: str, agent_id: str | None) -> str:
    """Put this user's and agent's spans in place of the model's tokens; all else is literal."""
    names = {
        "user": user_span(user_id),
        "agent": "the assistant" if agent_id is None else agent_span(agent_id),
    }
    return _TOKEN.sub(lambda token: names[token.group(1).lower()], escape(text))


def _heard(message: MessageBlock) -> str:
    """Return what of a message may become a memory: its text without recalled blocks."""
    return chunking.without_recall(message.content or "").strip()


def _shown(number: int | None, message: MessageBlock, limit: int) -> render.PromptMessage:
    return render.PromptMessage(
        number, message.role, _heard(message)[:limit], message.name, message.timestamp
    )
