"""Extraction: new messages to candidates, by the model or verbatim."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict

from memora.agent.threads import EACH
from memora.core import chunking, documents
from memora.core.authority import least_trusted, rank
from memora.core.hashing import content_hash, normalised
from memora.core.ids import derived_memory_id
from memora.core.messages import block
from memora.core.placeholders import agent_span, escape, neutral, user_span
from memora.core.planning import Candidate
from memora.errors import LLMResponseError
from memora.graph_db.base import StoredMessage
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.extraction_schema import ExtractedMemory, MemoryExtractionResponse
from memora.schema.models import MemoryType, MessageBlock, SourceRole
from memora.schema.seeding import CHARS_PER_REQUEST, MESSAGES_PER_REQUEST
from memora.schema.write_plan import NewMessage, SourceRef

_logger = logging.getLogger(__name__)

# Messages before the new ones that the model sees, and how much of each.
CONTEXT_MESSAGES = 8
CONTEXT_CHARS = 1000
MESSAGE_CHARS = 100_000
# Longest running summary that goes in front of the next request.
SUMMARY_CHARS = 8000
# Of a model's window: room for instructions and answer, and how far a token reaches at least.
_RESERVED_TOKENS = 8000
_SURE_CHARS_PER_TOKEN = 3
_LEAST_CHARS = 4000
# Messages of a request that can be cut in two.
_DIVISIBLE = 2
# How models write the tokens for names that the prompt asks for.
_TOKEN = re.compile(r"\[\[ ?(user|agent) ?\]\]", re.IGNORECASE)
# Blanks in the shortest echo of the instructions that is told from a statement.
_ECHO_WORDS = 5
_UNHEARD = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a conversation goes into one request."""

    messages: int = MESSAGES_PER_REQUEST
    chars: int = CHARS_PER_REQUEST

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Bounds:
        """Return the bounds that a job was made with."""
        return cls(**params.get("bounds", {}))


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
                source_role=_source_role(message),
                memory_type=MemoryType.OTHER.value,
                metadata={
                    **documents.metadata([message]),
                    **({} if message.name is None else {"speaker": message.name}),
                },
                external_id=documents.document_id(message),
            )
    return list(found.values())


def ranges(new: Sequence[StoredMessage], bounds: Bounds, window: int | None = None) -> list[range]:
    """Return the positions, in the new messages, that go into one request each.

    Args:
        new: What to extract from.
        bounds: Upper bounds.
        window: Tokens that the model takes, prompt and answer together; None: not known.
    """
    chars = bounds.chars
    if window is not None:
        chars = min(chars, max(_LEAST_CHARS, (window - _RESERVED_TOKENS) * _SURE_CHARS_PER_TOKEN))
    sizes = [EACH + len(_heard(item.message)[:MESSAGE_CHARS]) for item in new]
    return chunking.ranges(sizes, bounds.messages, chars)


async def extract(
    model: BaseBackendLLM,
    conversation: Conversation,
    max_retries: int | None = None,
    *,
    part: range | None = None,
    before: str | None = None,
) -> list[ExtractedItem]:
    """Ask the model for memories and return the valid ones as JSON, for the job.

    An answer that was cut off for its length is asked for again in two halves, once.

    Args:
        model: The extraction model.
        conversation: What to extract from.
        max_retries: Transport retries of the call.
        part: Positions of the new messages that the request is about; None: all.
        before: Summary of the new messages before these.

    Raises:
        LLMError: The model failed.
    """
    whole = range(len(conversation.new)) if part is None else part
    try:
        return await _extract(model, conversation, whole, before, max_retries)
    except LLMResponseError as error:
        if error.kind != "truncated" or len(whole) < _DIVISIBLE:
            raise
    middle = whole.start + len(whole) // 2
    halves = (range(whole.start, middle), range(middle, whole.stop))
    return [
        item
        for half in halves
        for item in await _extract(model, conversation, half, before, max_retries)
    ]


async def _extract(
    model: BaseBackendLLM,
    conversation: Conversation,
    part: range,
    before: str | None,
    max_retries: int | None,
) -> list[ExtractedItem]:
    numbered = [
        (number, item)
        for number, item in zip(part, conversation.new[part.start : part.stop], strict=True)
        if item.message.role not in _UNHEARD and _heard(item.message)
    ]
    earlier = [item.message for item in conversation.new[: part.start]]
    context = [
        _shown(None, message, CONTEXT_CHARS)
        for message in [*conversation.context, *earlier][-CONTEXT_MESSAGES:]
        if message.role not in _UNHEARD and _heard(message)
    ]
    prompt = render.extract_memories(
        [_shown(number, item.message, MESSAGE_CHARS) for number, item in numbered],
        context,
        conversation.at,
        with_agent=conversation.agent_id is not None,
        about_agent=conversation.about_agent,
        summary=before,
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
        elif _echoes(memory.memory, instructions):
            dropped["instructions"] += 1
        else:
            valid.append(_item(memory, sources))
    if dropped:
        _logger.warning("extraction items dropped: %s", dict(dropped))
    return valid


async def summarise(
    model: BaseBackendLLM,
    conversation: Conversation,
    part: range,
    before: str | None,
    max_retries: int | None = None,
) -> str:
    """Return a summary of the conversation up to the end of a part, for the next request.

    Raises:
        LLMError: The model failed.
    """
    said = [
        _shown(None, item.message, MESSAGE_CHARS)
        for item in conversation.new[part.start : part.stop]
        if item.message.role not in _UNHEARD and _heard(item.message)
    ]
    prompt = render.summarise_conversation(said, before, conversation.at)
    return (await model(prompt, max_retries=max_retries))[:SUMMARY_CHARS]


def _echoes(text: str, instructions: str) -> bool:
    """Tell whether a statement is a piece of our own instructions; a few words prove nothing."""
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
        text = _with_spans(item["memory"], conversation)
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
            source_role=least_trusted(_source_role(source.message) for source in sources),
            memory_type=item["memory_type"],
            importance=item["importance"],
            metadata=documents.metadata(source.message for source in sources),
            external_id=documents.document_id(sources[0].message),
        )
        key = content_hash(neutral(text))
        known = found.get(key)
        found[key] = candidate if known is None else _merged(known, candidate)
    return list(found.values())


def _source_role(message: MessageBlock) -> str:
    """Return who says it: what a document says is not what the user said."""
    return SourceRole.IMPORT.value if documents.is_written(message) else message.role


def _merged(known: Candidate, again: Candidate) -> Candidate:
    """One statement found twice has all sources, and the trust of its better finding."""
    better = max(known.source_role, again.source_role, key=rank)
    return replace(known, sources=_union(known.sources, again.sources), source_role=better)


def _union(one: Sequence[SourceRef], other: Sequence[SourceRef]) -> tuple[SourceRef, ...]:
    return tuple(dict.fromkeys([*one, *other]))


def _with_spans(text: str, conversation: Conversation) -> str:
    """Put this user's and agent's spans in place of the model's tokens; all else is literal."""
    agent_id = conversation.agent_id
    names = {
        "user": user_span(conversation.user_id),
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
