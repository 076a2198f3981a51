"""Extraction: new messages to candidates, by the model or verbatim."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NotRequired, TypedDict

from memora.agent.parts import (
    CONTEXT_MESSAGES,
    Bounds,
    Part,
    Room,
    cut,
    halves,
    heard,
    whole,
)
from memora.agent.threads import EACH, off_loop
from memora.core import chunking, documents
from memora.core.authority import least_trusted, rank
from memora.core.entities import normalised_name, relation_type
from memora.core.hashing import content_hash, normalised
from memora.core.ids import derived_memory_id
from memora.core.messages import block
from memora.core.placeholders import agent_span, escape, neutral, user_span
from memora.core.planning import Candidate
from memora.errors import InvalidInputError, LLMResponseError
from memora.graph_db.base import StoredMessage
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.extraction_schema import ExtractedMemory, MemoryExtractionResponse
from memora.schema.models import MemoryType, MessageBlock, Relation, SourceRole
from memora.schema.validation import checked_name
from memora.schema.write_plan import NewMessage, SourceRef
from memora.text.entities import recognise, seen_inside

_logger = logging.getLogger(__name__)

# How models write the tokens for names that the prompt asks for.
_TOKEN = re.compile(r"\[\[ ?(user|agent) ?\]\]", re.IGNORECASE)
# Blanks in the shortest echo of the instructions that is told from a statement.
_ECHO_WORDS = 5
_UNHEARD = frozenset({"system", "developer"})


class ExtractedItem(TypedDict):
    """A valid item of the model's answer, as it is kept with the job."""

    memory: str
    sources: list[int]
    memory_type: str
    importance: float
    entities: NotRequired[list[str]]
    relations: NotRequired[list[tuple[int, str, int]]]


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
    roles = _remembered_roles(conversation)
    return any(item.message.role in roles and heard(item.message) for item in conversation.new)


def _remembered_roles(conversation: Conversation) -> set[str]:
    return {"user", "assistant"} if conversation.about_agent else {"user"}


def verbatim(conversation: Conversation) -> list[Candidate]:
    """Return what the user (and, if wanted, the agent) said as it was said.

    Long messages are cut at sentence ends; what is said twice is one candidate with two sources,
    on the better authority of the two.
    """
    roles = _remembered_roles(conversation)
    found: dict[str, Candidate] = {}
    names = _known_names(conversation, roles)
    for item in conversation.new:
        message = item.message
        if message.role not in roles:
            continue
        source = SourceRef(conversation.interaction_id, message.msg_position, item.prefix_hash)
        for number, piece in enumerate(chunking.pieces(heard(message))):
            key = content_hash(piece)
            known = found.get(key)
            position = str(message.msg_position)
            candidate = Candidate(
                memory_id=derived_memory_id(
                    conversation.key, position, item.prefix_hash, str(number)
                ),
                text=escape(piece),
                obtained_at=message.timestamp or conversation.at,
                sources=(source,),
                source_role=_source_role(message),
                memory_type=MemoryType.OTHER.value,
                entities=tuple(recognise(piece, names)),
                metadata={
                    **documents.metadata([message]),
                    **({} if message.name is None else {"speaker": message.name}),
                },
                external_id=documents.document_id(message),
            )
            found[key] = candidate if known is None else _merged(known, candidate)
    return list(found.values())


def _known_names(conversation: Conversation, roles: Collection[str]) -> set[str]:
    """Return the speakers' names, and those that stand inside sentences of the new messages."""
    speakers = {item.message.name for item in conversation.new if item.message.name}
    texts = [heard(item.message) for item in conversation.new if item.message.role in roles]
    return speakers | seen_inside(texts) if len(texts) > 1 else speakers


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the extraction from a conversation in parts has come.

    Attributes:
        done, of: Parts.
        items: What was found so far.
        before: Summary of what came so far.
    """

    done: int
    of: int
    items: tuple[ExtractedItem, ...] = field(default=(), repr=False)
    before: str | None = field(default=None, repr=False)


async def by_parts(
    model: BaseBackendLLM,
    conversation: Conversation,
    room: Room,
    max_retries: int | None = None,
    start: Progress | None = None,
) -> AsyncGenerator[Progress]:
    """Extract part by part and yield how far it has come; a later part gets a summary in front.

    Args:
        model: The extraction model.
        conversation: What to extract from.
        room: What one request can hold.
        max_retries: Transport retries of each call.
        start: Go on from there; the room must be the same.

    Raises:
        LLMError: The model failed.
    """
    size = sum(EACH + len(item.message.content or "") for item in conversation.new)
    parts = await off_loop(size, cut, conversation.new, room)
    progress = start or Progress(0, len(parts))
    for number in range(progress.done, len(parts)):
        part, before = parts[number], progress.before
        found = await extract(model, conversation, max_retries, part=part, before=before, room=room)
        if number + 1 < len(parts):
            before = await _summarise(model, conversation, part, before, room, max_retries)
        progress = Progress(number + 1, len(parts), (*progress.items, *found), before)
        yield progress


async def extract(
    model: BaseBackendLLM,
    conversation: Conversation,
    max_retries: int | None = None,
    *,
    part: Part | None = None,
    before: str | None = None,
    room: Room | None = None,
) -> list[ExtractedItem]:
    """Ask the model for memories and return the valid ones as JSON, for the job.

    An answer that was cut off for its length is asked for again in two halves, once.

    Args:
        model: The extraction model.
        conversation: What to extract from.
        max_retries: Transport retries of the call.
        part: What of the new messages the request is about; None: all.
        before: Summary of the new messages before these.
        room: How much context there may be; None: as much as is useful.

    Raises:
        LLMError: The model failed.
    """
    room = room or Room.of(Bounds(), None)
    asked = _heard_of(conversation, whole(conversation.new) if part is None else part)
    if not _speaks(conversation, asked):
        return []
    try:
        return await _extract(model, conversation, asked, before, room, max_retries)
    except LLMResponseError as error:
        smaller = halves(asked)
        if error.kind != "truncated" or len(smaller) == 1:
            raise
    return [
        item
        for half in smaller
        for item in await _extract(model, conversation, half, before, room, max_retries)
    ]


def _heard_of(conversation: Conversation, part: Part) -> Part:
    """Return the pieces with text, without those of roles that nobody listens to."""
    return tuple(
        piece
        for piece in part
        if piece.text and conversation.new[piece.position].message.role not in _UNHEARD
    )


def _speaks(conversation: Conversation, part: Part) -> bool:
    """Tell whether anybody speaks in the part of whom something is remembered."""
    roles = _remembered_roles(conversation)
    return any(conversation.new[piece.position].message.role in roles for piece in part)


async def _extract(
    model: BaseBackendLLM,
    conversation: Conversation,
    part: Part,
    before: str | None,
    room: Room,
    max_retries: int | None,
) -> list[ExtractedItem]:
    earlier = [item.message for item in conversation.new[: part[0].position]]
    context = [
        _shown(None, message, heard(message)[: room.context])
        for message in [*conversation.context, *earlier][-CONTEXT_MESSAGES:]
        if message.role not in _UNHEARD and heard(message)
    ]
    prompt = render.extract_memories(
        [
            _shown(piece.position, conversation.new[piece.position].message, piece.text)
            for piece in part
        ],
        context,
        conversation.at,
        with_agent=conversation.agent_id is not None,
        about_agent=conversation.about_agent,
        summary=before,
    )
    answer = await model(prompt, MemoryExtractionResponse, max_retries=max_retries)
    shown = {piece.position for piece in part}
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
            valid.append(_item(memory, sources, dropped))
    if dropped:
        _logger.warning("extraction items dropped: %s", dict(dropped))
    return valid


async def _summarise(
    model: BaseBackendLLM,
    conversation: Conversation,
    part: Part,
    before: str | None,
    room: Room,
    max_retries: int | None,
) -> str | None:
    """Return a summary of the conversation up to the end of a part, for the next request.

    Without a usable one the messages right before have to do, as they do without a model.

    Raises:
        LLMError: The model failed, other than by its answer.
    """
    said = [
        _shown(None, conversation.new[piece.position].message, piece.text)
        for piece in _heard_of(conversation, part)
    ]
    if not said:
        return before
    prompt = render.summarise_conversation(said, before, conversation.at)
    try:
        return (await model(prompt, max_retries=max_retries))[: room.summary] or before
    except LLMResponseError as error:
        _logger.warning("a part of a conversation has no summary: %s", error.kind)
        return before


def echoes(text: str, instructions: str) -> bool:
    """Tell whether a statement is a piece of our own instructions; a few words prove nothing.

    Args:
        text: The statement.
        instructions: What the model was told, `normalised`.
    """
    words = normalised(text)
    return words.count(" ") >= _ECHO_WORDS and words in instructions


def _item(memory: ExtractedMemory, sources: list[int], dropped: Counter[str]) -> ExtractedItem:
    item: ExtractedItem = {
        "memory": memory.memory,
        "sources": sources,
        "memory_type": memory.memory_type.value,
        "importance": memory.importance,
    }
    named = [name if _is_named(name, memory.memory) else "" for name in memory.entities]
    if "" in named:
        dropped["name_not_in_statement"] += named.count("")
    if any(named):
        item["entities"] = named
    relations = [
        (each.subject, type_, each.object)
        for each in memory.relations
        if (type_ := relation_type(each.type))
        and each.subject != each.object
        and _has(named, each.subject)
        and _has(named, each.object)
    ]
    if len(relations) < len(memory.relations):
        dropped["relation_out_of_range"] += len(memory.relations) - len(relations)
    if relations:
        item["relations"] = relations
    return item


def _is_named(name: str, statement: str) -> bool:
    """Tell whether the model's name can be stored, and is one that the statement has."""
    try:
        checked_name(name, "entities")
    except InvalidInputError:
        return False
    wanted = normalised_name(name)
    return any(char.isalnum() for char in wanted) and wanted in normalised_name(statement)


def _has(named: Sequence[str], place: int) -> bool:
    return 0 <= place < len(named) and bool(named[place])


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
        entities, relations = _names_of(item, conversation)
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
            entities=entities,
            relations=relations,
            metadata=documents.metadata(source.message for source in sources),
            external_id=documents.document_id(sources[0].message),
        )
        key = content_hash(neutral(text))
        known = found.get(key)
        found[key] = candidate if known is None else _merged(known, candidate)
    return list(found.values())


def _names_of(
    item: ExtractedItem, conversation: Conversation
) -> tuple[tuple[str, ...], tuple[Relation, ...]]:
    """Return what a statement mentions, as the model says or as it is recognised, and relations.

    User and agent are ends of relations, but nothing that a memory of theirs mentions.
    """
    named = item.get("entities", [])
    own = [name for name in named if name and not _TOKEN.search(name)]
    relations = tuple(
        Relation(
            subject=with_spans(named[subject], conversation.user_id, conversation.agent_id),
            type=type_,
            object=with_spans(named[object_], conversation.user_id, conversation.agent_id),
        )
        for subject, type_, object_ in item.get("relations", [])
    )
    found = own or recognise(_TOKEN.sub(" ", item["memory"]))
    return tuple(dict.fromkeys(found)), relations


def _source_role(message: MessageBlock) -> str:
    """Return who says it: what a document says is not what the user said."""
    return SourceRole.IMPORT.value if documents.is_written(message) else message.role


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


def _shown(number: int | None, message: MessageBlock, text: str) -> render.PromptMessage:
    return render.PromptMessage(number, message.role, text, message.name, message.timestamp)
