"""Memories that an application adds by itself: condensed, compared, stored once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from memora.agent.extract import echoes, with_spans
from memora.agent.ports import Ports, check_owner, create_owner
from memora.agent.threads import EACH, off_loop
from memora.core import adding, planning, ranking
from memora.core.adding import Added, Addition
from memora.core.hashing import body_hash, content_hash, normalised
from memora.core.ids import derived_memory_id
from memora.core.placeholders import neutral
from memora.errors import ConflictError, InteractionNotFoundError
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.direct import MemoryReceipt
from memora.schema.extraction_schema import (
    CondensedFacts,
    PlacementResponse,
    PlacementVerdict,
)
from memora.schema.models import Memory
from memora.schema.scope import MemorySearchScope, Scope
from memora.schema.write_plan import IdempotencyRecord, WritePlan
from memora.text.entities import recognise

_logger = logging.getLogger(__name__)

_TRIES = 8
# How often a model is asked about one addition; after that it is stored beside what is known.
_ASKED = 2
# Users whose additions are worked off at the same time.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class AddRequest:
    """One text to add, validated.

    Attributes:
        content: The text; of messages, their lines.
        obtained_at: None: now.
        expires_at: None: as the type says.
        threshold: Dense similarity from which known memories are shown to the model.
    """

    scope: Scope
    content: str = field(repr=False)
    interaction_id: str | None = None
    memory_type: str = "fact"
    importance: float = 0.5
    tags: tuple[str, ...] = field(default=(), repr=False)
    entities: tuple[str, ...] = field(default=(), repr=False)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    obtained_at: datetime | None = None
    expires_at: datetime | None = None
    pinned: bool = False
    idempotency_key: str | None = None
    create_missing: bool = True
    threshold: float = 0.8

    def body(self) -> str:
        """Return the hash that two calls with the same idempotency key must share."""
        times = (self.obtained_at, self.expires_at)
        return body_hash(
            {
                "add": [self.scope.org_id, self.scope.user_id, self.scope.agent_id],
                "content": [self.content, self.interaction_id],
                "kind": [self.memory_type, self.importance, self.pinned],
                "labels": [self.tags, self.entities, self.metadata],
                "times": [None if time is None else time.isoformat() for time in times],
            }
        )


async def add_all(ports: Ports, requests: Sequence[AddRequest]) -> list[MemoryReceipt]:
    """Add several texts; those of one user one after the other, in their order.

    Raises:
        MemoraError: The first one that failed; what was added before stays.
    """
    queues: dict[tuple[str, str], list[int]] = {}
    for position, request in enumerate(requests):
        owner = (request.scope.org_id, request.scope.user_id)
        queues.setdefault(owner, []).append(position)
    receipts: dict[int, MemoryReceipt] = {}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def work(positions: Sequence[int]) -> None:
        async with gate:
            for position in positions:
                receipts[position] = await add(ports, requests[position], drain=False)

    outcomes = await asyncio.gather(*map(work, queues.values()), return_exceptions=True)
    if requests:
        await ports.graph.drain_outbox()
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return [receipts[position] for position in range(len(requests))]


async def add(ports: Ports, request: AddRequest, *, drain: bool = True) -> MemoryReceipt:
    """Add a text.

    Raises:
        NotFoundError: User, agent or interaction do not exist, and are not to be created.
        ConflictError: The idempotency key was used for another call, or others changed the same
            memories again and again.
        LLMError: The extraction model failed; nothing was written.
        EmbeddingError: The text could not be embedded; nothing was written.
        VectorDBError: Similar memories could not be looked for; nothing was written.
    """
    if request.create_missing:
        await create_owner(ports.graph, request.scope)
    await check_owner(ports.graph, request.scope)
    replayed = await _replay(ports, request)
    if replayed is not None:
        return replayed
    request = await _with_interaction(ports, request)
    text = await _condensed(ports, request)
    for attempt in range(_TRIES):
        now = ports.graph.clock.now()
        try:
            added = await _decide(ports, request, text, now, asks=attempt < _ASKED)
            plan = WritePlan(
                request.scope,
                now,
                memories=added.memories,
                ends=added.ends,
                idempotency=_record(request, added),
            )
            written = await ports.graph.apply(plan)
        except ConflictError as error:
            if error.record != "memory":
                raise
            continue
        if written.replayed:
            return await _receipt(ports, request, written.result or {})
        if drain:
            await ports.graph.drain_outbox()
        return MemoryReceipt(
            status=added.status.value,
            id=added.memory_id,
            summary=await _shown(ports, request.scope, added),
            superseded_ids=list(added.superseded_ids),
        )
    raise ConflictError("memory", "")


async def _with_interaction(ports: Ports, request: AddRequest) -> AddRequest:
    """Return the request with memora's own id of the interaction that it names."""
    if request.interaction_id is None:
        return request
    stored = await ports.graph.find_interaction(request.scope, request.interaction_id)
    if stored is None:
        raise InteractionNotFoundError(request.interaction_id)
    return replace(request, interaction_id=stored.interaction_id)


async def _replay(ports: Ports, request: AddRequest) -> MemoryReceipt | None:
    """Answer a repeated call like the first one, before any model is asked."""
    key = request.idempotency_key
    if key is None:
        return None
    known = await ports.graph.find_idempotency(request.scope, key)
    if known is None:
        return None
    if known.body_hash != request.body():
        raise ConflictError("idempotency_key", key, expected="an equal call", actual="another")
    return await _receipt(ports, request, known.result)


def _record(request: AddRequest, added: Added) -> IdempotencyRecord | None:
    """Return what is kept under the key: no text, which a later delete would have to find."""
    if request.idempotency_key is None:
        return None
    result = {
        "status": added.status.value,
        "id": added.memory_id,
        "superseded_ids": list(added.superseded_ids),
    }
    return IdempotencyRecord(request.idempotency_key, request.body(), result)


async def _receipt(ports: Ports, request: AddRequest, result: dict[str, Any]) -> MemoryReceipt:
    scope = Scope(request.scope.org_id, request.scope.user_id)
    found = await ports.graph.read_memories(scope, [result["id"]])
    named = await ports.graph.with_names(scope.org_id, found)
    return MemoryReceipt(
        status=result["status"],
        id=result["id"],
        summary=named[0].memory if named else "",
        superseded_ids=result["superseded_ids"],
    )


async def _shown(ports: Ports, scope: Scope, added: Added) -> str:
    """Return the text as callers see it, with names."""
    if "[[" not in added.text:
        return added.text
    user = Scope(scope.org_id, scope.user_id)
    found = await ports.graph.read_memories(user, [added.memory_id])
    named = await ports.graph.with_names(scope.org_id, found)
    return named[0].memory if named else neutral(added.text)


async def _condensed(ports: Ports, request: AddRequest) -> str:
    """Return the stored form of the text: its key facts, or as it was given."""
    given = planning.storable(request.content, request.scope)
    model = ports.extraction_model
    if model is None:
        return given
    at = request.obtained_at or ports.graph.clock.now()
    with_agent = request.scope.agent_id is not None
    prompt = render.condense(neutral(given), at, with_agent=with_agent)
    answer = await model(prompt, CondensedFacts)
    instructions = normalised(prompt[0]["content"])
    facts = [fact for fact in answer.facts if not echoes(fact, instructions)]
    dropped = len(answer.facts) - len(facts) + sum(answer.rejected.values())
    if dropped:
        _logger.warning("%d facts of an added text dropped", dropped)
    unique = {content_hash(fact): fact for fact in facts}
    text = " ".join(fact if fact[-1] in ".!?" else f"{fact}." for fact in unique.values())
    if len(unique) == 1:
        text = next(iter(unique.values()))
    return _spanned(request.scope, text) if text else given


def _spanned(scope: Scope, text: str) -> str:
    return with_spans(text, scope.user_id, scope.agent_id)


async def _decide(
    ports: Ports, request: AddRequest, text: str, now: datetime, *, asks: bool
) -> Added:
    """Work out what the text becomes, by what is known now."""
    size = EACH + len(text)
    addition = _addition(ports, request, text, now)
    user = Scope(request.scope.org_id, request.scope.user_id)
    text_hash = await off_loop(size, content_hash, neutral(text))
    equal = (await ports.graph.find_current_by_hash(user, {text_hash})).get(text_hash)
    if equal is not None and not adding.is_hidden(equal, now):
        return adding.duplicate(equal)
    model = ports.extraction_model
    if model is not None and asks:
        similar = await _similar(ports, request, addition, now)
        if similar:
            placed = await _placed(ports, model, request, addition, similar)
            if placed is not None:
                return placed
    return await off_loop(size, adding.created, addition, equal, now)


def _addition(ports: Ports, request: AddRequest, text: str, now: datetime) -> Addition:
    scope, key = request.scope, request.idempotency_key
    obtained_at = request.obtained_at or now
    expires_at = request.expires_at or ports.graph.lifetimes.expiry(
        request.memory_type, obtained_at, now, pinned=request.pinned
    )
    return Addition(
        memory_id=ports.graph.ids.memory()
        if key is None
        else derived_memory_id("add", scope.org_id, scope.user_id, key),
        text=text,
        obtained_at=obtained_at,
        agent_id=scope.agent_id,
        interaction_id=request.interaction_id,
        memory_type=request.memory_type,
        importance=request.importance,
        tags=request.tags,
        entities=request.entities or tuple(recognise(neutral(text))),
        metadata=request.metadata,
        expires_at=expires_at,
        pinned=request.pinned,
    )


async def _similar(
    ports: Ports, request: AddRequest, addition: Addition, now: datetime
) -> list[Memory]:
    """Return the current memories that are similar enough to ask about, best first."""
    scope = Scope(request.scope.org_id, request.scope.user_id)
    [answer] = await ports.vector.search_memories(
        [neutral(addition.text)],
        MemorySearchScope.USER,
        scope.org_id,
        scope.user_id,
        limit=2 * ranking.RELATED_PER_CANDIDATE,
    )
    near = [hit.memory_id for hit in answer.dense if hit.score >= request.threshold]
    found = await ports.graph.resolve_memories(scope, near, None) if near else {}
    unique = {memory.memory_id: memory for memory in found.values()}
    shown = [
        memory
        for memory in unique.values()
        if not adding.is_hidden(memory, now) and adding.shares_its_fate(memory, addition)
    ]
    return shown[: ranking.RELATED_PER_CANDIDATE]


async def _placed(
    ports: Ports,
    model: BaseBackendLLM,
    request: AddRequest,
    addition: Addition,
    similar: Sequence[Memory],
) -> Added | None:
    """Ask the model what the addition is to similar memories; None: something new.

    A number that was not shown, or a merge without its text, counts as nothing said.
    """
    prompt = render.place_memory(
        render.PromptMemory(0, neutral(addition.text), addition.obtained_at),
        [
            render.PromptMemory(number, neutral(memory.memory), memory.obtained_at)
            for number, memory in enumerate(similar)
        ],
        with_agent=request.scope.agent_id is not None,
    )
    answer = await model(prompt, PlacementResponse)
    if not answer.placements:
        return None
    verdict = answer.placements[0]
    numbers = [n for n in dict.fromkeys(verdict.existing) if 0 <= n < len(similar)]
    if not set(verdict.existing) <= set(numbers):
        _logger.warning("a verdict named memories that were not shown")
    if verdict.verdict is PlacementVerdict.NEW or not numbers:
        return None
    first, *others = (similar[number] for number in numbers)
    if verdict.verdict is PlacementVerdict.DUPLICATE:
        return adding.duplicate(first)
    text = verdict.memory or ""
    if verdict.verdict is PlacementVerdict.MERGED and (
        not text or echoes(text, normalised(prompt[0]["content"]))
    ):
        _logger.warning("a verdict to merge had no usable text")
        return None
    scope = Scope(request.scope.org_id, request.scope.user_id)
    chains = await ports.graph.read_chains(scope, [first.memory_id])
    chain = chains.get(first.memory_id, [])
    if not any(version.memory_id == first.memory_id and version.is_current for version in chain):
        raise ConflictError("memory", first.memory_id)
    if verdict.verdict is PlacementVerdict.MERGED:
        return adding.merged(addition, _spanned(request.scope, text), chain, others)
    return adding.superseding(addition, chain, others)
