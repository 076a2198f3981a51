"""Fusion and order of search hits; the only place that decides what is relevant.

Dense and lexical lists arrive with their raw scores. Within one query each list is scaled to 0..1
by its own minimum and maximum, and the two are added with a weight (a convex combination, see
Bruch, Gai, Ingber: "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023). Scores
of different queries are not added up: a memory keeps its best one, and a query whose best raw score
is weaker than another's counts less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from memora.schema.index import Hit, QueryHits
from memora.schema.models import Memory
from memora.schema.recall import RankedId

DENSE_WEIGHT = 0.5
# Dense similarity from which on a stored memory is shown to the comparison model.
RELATED_FLOOR = 0.4
RELATED_PER_CANDIDATE = 5
# Candidates asked of each list; more when some filters are only checked afterwards.
CANDIDATES = 50
CANDIDATES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Weights:
    """What the score is made of.

    Attributes:
        dense: Share of the dense list, 0 to 1; the lexical list has the rest.
    """

    dense: float = DENSE_WEIGHT


def fuse(batches: Sequence[QueryHits], weights: Weights | None = None) -> list[RankedId]:
    """Return each memory once, best evidence first, ties by id.

    Args:
        batches: One answer per query.
        weights: Shares of the lists.
    """
    weights = weights or Weights()
    best: dict[str, RankedId] = {}
    strengths = _strengths(batches)
    for batch, strength in zip(batches, strengths, strict=True):
        for ranked in _fuse_query(batch, weights, strength):
            known = best.get(ranked.memory_id)
            if known is None:
                best[ranked.memory_id] = ranked
                continue
            better = max(known, ranked, key=_evidence)
            dense = max((d for d in (known.dense, ranked.dense) if d is not None), default=None)
            best[ranked.memory_id] = replace(better, dense=dense)
    return sorted(best.values(), key=lambda ranked: (-ranked.score, ranked.memory_id))


def _evidence(ranked: RankedId) -> tuple[float, list[tuple[str, float]]]:
    # Of equal scores the same one explains the answer, whatever the order of the queries.
    return ranked.score, sorted(ranked.parts.items())


def _strengths(batches: Sequence[QueryHits]) -> list[tuple[float, float]]:
    """Return how strong each query's dense and lexical list is next to the best query's, 0 to 1.

    Scaled within itself, the best of a query that found nothing near looks as good as a perfect
    match of another; the raw scores of one leg tell them apart.
    """
    dense = [max((hit.score for hit in batch.dense), default=0.0) for batch in batches]
    lexical = [max((hit.score for hit in batch.lexical), default=0.0) for batch in batches]
    return list(zip(_relative(dense), _relative(lexical), strict=True))


def _relative(values: Sequence[float]) -> list[float]:
    top = max(values, default=0.0)
    return [max(value, 0.0) / top if top > 0 else 1.0 for value in values]


def _fuse_query(
    batch: QueryHits, weights: Weights, strength: tuple[float, float]
) -> list[RankedId]:
    dense, lexical = _scaled(batch.dense), _scaled(batch.lexical)
    raw = {hit.memory_id: hit.score for hit in batch.dense}
    raw_lexical = {hit.memory_id: hit.score for hit in batch.lexical}
    # When one leg has no answer at all (no word in common), the other one decides alone.
    share = 1.0 if not lexical else 0.0 if not dense else weights.dense
    ranked: list[RankedId] = []
    for memory_id in dict.fromkeys([*dense, *lexical]):
        parts = {
            "dense": share * strength[0] * dense.get(memory_id, 0.0),
            "lexical": (1 - share) * strength[1] * lexical.get(memory_id, 0.0),
        }
        if memory_id in raw:
            parts["dense_raw"] = raw[memory_id]
        if memory_id in raw_lexical:
            parts["lexical_raw"] = raw_lexical[memory_id]
        score = parts["dense"] + parts["lexical"]
        ranked.append(RankedId(memory_id, score, raw.get(memory_id), parts))
    return ranked


def _scaled(hits: Sequence[Hit]) -> dict[str, float]:
    """Return scores scaled to 0..1 within the list; a list of equal scores is all ones."""
    if not hits:
        return {}
    low = min(hit.score for hit in hits)
    span = max(hit.score for hit in hits) - low
    return {hit.memory_id: (hit.score - low) / span if span > 0 else 1.0 for hit in hits}


def restore_order(
    resolved: Mapping[str, Memory],
    ranked: Sequence[RankedId],
    exclude: Collection[str] = frozenset(),
    *,
    explain: bool = False,
) -> list[Memory]:
    """Return resolved memories in rank order with their scores, each once.

    Args:
        resolved: Current version by the id that was hit.
        ranked: Fused hits; a memory takes the best of its versions' scores.
        exclude: Ids to leave out, compared after resolution.
        explain: Also attach what the scores are made of.
    """
    scored: dict[str, tuple[float, Memory]] = {}
    for hit in ranked:
        memory = resolved.get(hit.memory_id)
        if memory is None or memory.memory_id in exclude or memory.memory_id in scored:
            continue
        update = {"score": hit.score, "score_parts": dict(hit.parts) if explain else None}
        scored[memory.memory_id] = (hit.score, memory.model_copy(update=update))
    ordered = sorted(scored.values(), key=lambda item: (-item[0], item[1].memory_id))
    return [memory for _score, memory in ordered]


def above_floor(
    ranked: Iterable[RankedId], floor: float | None, holds_all_words: Callable[[str], bool]
) -> list[RankedId]:
    """Drop hits whose raw dense similarity is below the floor.

    Args:
        ranked: Fused hits.
        floor: 0 to 1; None keeps everything.
        holds_all_words: Tells for a memory id whether it holds every word of some query; such a
            hit stays.
    """
    return [
        hit
        for hit in ranked
        if floor is None
        or (hit.dense is not None and hit.dense >= floor)
        or holds_all_words(hit.memory_id)
    ]


def within_budget(
    memories: Sequence[Memory], limit: int, token_budget: int | None, count: Callable[[str], int]
) -> list[Memory]:
    """Cut to `limit` memories and, in rank order, to a budget of tokens.

    Args:
        memories: Best first.
        limit: At most that many.
        token_budget: Tokens in all; None: no bound. What does not fit is left out; the next may.
        count: Tokens of a text.
    """
    cut = list(memories[:limit])
    if token_budget is None:
        return cut
    kept: list[Memory] = []
    left = token_budget
    for memory in cut:
        cost = count(memory.memory)
        if cost <= left:
            kept.append(memory)
            left -= cost
    return kept
