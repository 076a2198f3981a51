"""Comparison: candidates against what is known, to one decision each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memora.agent.ports import Ports
from memora.agent.threads import EACH, off_loop
from memora.core import ranking
from memora.core.hashing import content_hash
from memora.core.lifetimes import is_expired
from memora.core.placeholders import neutral
from memora.core.planning import Candidate, Decision, Verdict
from memora.llm_backends.base import BaseBackendLLM
from memora.prompts import render
from memora.schema.extraction_schema import CandidateVerdict, MemoryComparisonResponse
from memora.schema.models import Memory
from memora.schema.scope import MemorySearchScope, Scope
from memora.schema.sources import StoredVersion
from memora.schema.validation import QUERIES
from memora.text.likeness import content_words, overlap

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Related:
    """What is known about the candidates' subjects.

    Attributes:
        equal: Current memory with the same text, by candidate position.
        similar: Current memories that are near or share words, nearest first, each once.
    """

    equal: dict[int, Memory] = field(repr=False)
    similar: tuple[Memory, ...] = field(repr=False)


async def find_equal(
    ports: Ports, scope: Scope, candidates: Sequence[Candidate]
) -> dict[int, Memory]:
    """Return the current memory of the same text by candidate position.

    Texts are equal up to case, spacing and punctuation. Memories of another agent count only when
    the scope names none.
    """
    size = sum(EACH + len(candidate.text) for candidate in candidates)
    hashes = await off_loop(size, _hashes, candidates)
    known = await ports.graph.find_current_by_hash(scope, set(hashes)) if hashes else {}
    return {
        position: known[text_hash]
        for position, text_hash in enumerate(hashes)
        if text_hash in known
    }


async def find_origins(
    ports: Ports, scope: Scope, chains: Mapping[str, Sequence[Memory]]
) -> dict[str, StoredVersion]:
    """Return who said the versions of these chains, and when, by memory id."""
    ids = {chain[0].chain_id for chain in chains.values() if chain}
    return await ports.graph.read_origins(scope, ids) if ids else {}


def _hashes(candidates: Sequence[Candidate]) -> list[str]:
    return [content_hash(neutral(candidate.text)) for candidate in candidates]


async def find_related(ports: Ports, scope: Scope, candidates: Sequence[Candidate]) -> Related:
    """Return what is known about the subjects of the candidates.

    Raises:
        EmbeddingError: The candidates could not be embedded.
        VectorDBError: The vector store failed.
    """
    equal = await find_equal(ports, scope, candidates)
    open_texts = [
        neutral(candidate.text)
        for position, candidate in enumerate(candidates)
        if position not in equal
    ]
    best: dict[str, float] = {}
    worded: dict[str, list[str]] = {}
    for start in range(0, len(open_texts), QUERIES):
        asked = open_texts[start : start + QUERIES]
        answers = await ports.vector.search_memories(
            asked,
            MemorySearchScope.USER,
            scope.org_id,
            scope.user_id,
            scope.agent_id,
            limit=ranking.RELATED_PER_CANDIDATE,
        )
        for text, answer in zip(asked, answers, strict=True):
            for hit in answer.dense:
                if hit.score >= ranking.RELATED_FLOOR:
                    best[hit.memory_id] = max(hit.score, best.get(hit.memory_id, 0.0))
            for hit in answer.lexical:
                worded.setdefault(hit.memory_id, []).append(text)
    ordered = sorted(best, key=lambda memory_id: (-best[memory_id], memory_id))
    ordered += [memory_id for memory_id in sorted(worded) if memory_id not in best]
    resolved = await ports.graph.resolve_memories(scope, ordered, None) if ordered else {}
    unique = {
        memory.memory_id: memory
        for memory_id, memory in resolved.items()
        if memory_id in best or _shares_words(memory, worded[memory_id])
    }
    now = ports.graph.clock.now()
    return Related(
        equal,
        tuple(
            memory
            for memory in unique.values()
            if scope.admits(memory.org_id, memory.user_id, memory.agent_id)
            and not is_expired(memory, now)
        ),
    )


def _shares_words(memory: Memory, texts: Sequence[str]) -> bool:
    """Tell whether a memory has half of the words of one of the texts, or the other way round.

    Short statements about one thing can be far apart for an embedder: "lives in Rome" and "lives in
    Oslo" are, for one of single words.
    """
    held = content_words(neutral(memory.memory))
    return any(overlap(held, content_words(text)) >= ranking.RELATED_WORDS for text in texts)


async def compare(
    model: BaseBackendLLM,
    candidates: Sequence[Candidate],
    related: Related,
    max_retries: int | None = None,
) -> list[Decision]:
    """Return one decision per candidate, in order.

    The model is asked only about candidates without an equal memory, and only when something
    similar is known. What it does not mention, or answers with a number it was not shown, is new.

    Args:
        model: The extraction model.
        candidates: Statements that may become memories.
        related: What is known.
        max_retries: Transport retries of the call.

    Raises:
        LLMError: The model failed.
    """
    decisions = equal_or_new(candidates, related.equal)
    asked = [position for position in range(len(candidates)) if position not in related.equal]
    if not asked or not related.similar:
        return decisions
    prompt = render.compare_memories(
        [
            render.PromptMemory(
                position, neutral(candidates[position].text), candidates[position].obtained_at
            )
            for position in asked
        ],
        [
            render.PromptMemory(number, neutral(memory.memory), memory.obtained_at)
            for number, memory in enumerate(related.similar)
        ],
    )
    answer = await model(prompt, MemoryComparisonResponse, max_retries=max_retries)
    dropped = dict(answer.rejected)
    decided: set[int] = set()
    for verdict in answer.verdicts:
        reason = _unusable(verdict, set(asked), decided, len(related.similar))
        if reason is not None:
            dropped[reason] = dropped.get(reason, 0) + 1
            continue
        decided.add(verdict.candidate)
        decisions[verdict.candidate] = _decision(verdict, related.similar)
    if dropped:
        _logger.warning("comparison items dropped: %s", dropped)
    return decisions


def equal_or_new(candidates: Sequence[Candidate], equal: Mapping[int, Memory]) -> list[Decision]:
    """Return the decisions that need no model: equal text is a duplicate, the rest is new."""
    return [
        Decision(Verdict.DUPLICATE, equal[position].memory_id)
        if position in equal
        else Decision(Verdict.NEW)
        for position in range(len(candidates))
    ]


def _unusable(
    verdict: CandidateVerdict, asked: set[int], decided: set[int], existing: int
) -> str | None:
    """Return why a verdict cannot be used, or None."""
    if verdict.candidate not in asked:
        return "unknown_candidate"
    if verdict.candidate in decided:
        return "second_verdict"
    if verdict.verdict == Verdict.NEW.value:
        return None
    if verdict.existing is None or not 0 <= verdict.existing < existing:
        return "unknown_existing"
    return None


def _decision(verdict: CandidateVerdict, similar: Sequence[Memory]) -> Decision:
    if verdict.verdict == Verdict.NEW.value or verdict.existing is None:
        return Decision(Verdict.NEW)
    return Decision(Verdict(verdict.verdict.value), similar[verdict.existing].memory_id)
