"""Fusion and order of search hits; the only place that decides what is relevant.

Dense and lexical lists arrive with their raw scores. Within one query they become one list, by
default scaled to 0..1 each and added with a weight (a convex combination, see Bruch, Gai, Ingber:
"An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023). Scores of different queries
are not added up: a memory keeps its best one, and a query whose best raw score is weaker than
another's counts less. What is known of the memory itself is added to that, see `Preferences`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean, pstdev
from types import MappingProxyType

from memora.core import duplicates
from memora.core.voices import Voices
from memora.schema.index import Hit, ListLimits, QueryHits
from memora.schema.models import Memory
from memora.schema.ranking import Fusion, RankingConfig
from memora.schema.recall import RankedId
from memora.schema.span import TimeSpan

# Dense similarity from which on a stored memory is shown to the comparison model.
RELATED_FLOOR = 0.4
# Share of common words from which on one is shown that is not so near.
RELATED_WORDS = 0.5
RELATED_PER_CANDIDATE = 5
# What stands whatever the question may have so much of an answer.
ALWAYS_SHARE = 0.5
# Candidates asked of the dense and of the lexical list; more when some filters are only checked
# afterwards.
CANDIDATES = 200
LEXICAL_CANDIDATES = 150
CANDIDATES_MAX = 1000

# Dense similarities that differ by less are not stretched to the whole range.
_LEAST_SPAN = 0.05
_NO_PARTS: Mapping[str, float] = MappingProxyType({})
_RRF_K = 60
_DAY = timedelta(days=1)
# Engines add up float32 products in another order: scores that differ by less are one score.
_DIGITS = 5
_NOISE = 2 * 10**-_DIGITS
# Recalls after which usage counts half of what it can.
_USED_HALF = 5.0


def fuse(
    batches: Sequence[QueryHits],
    config: RankingConfig | None = None,
    *,
    explain: bool = True,
    limits: ListLimits | None = None,
) -> list[RankedId]:
    """Return each memory once, best evidence first, ties by id.

    Args:
        batches: One answer per query.
        config: How the lists become one.
        explain: Also tell what the scores are made of.
        limits: Hits after which the lists were cut; None: they are whole.
    """
    config = config or RankingConfig()
    if limits is not None:
        batches = [_told_apart(batch, config, limits) for batch in batches]
    strengths = _strengths(batches)
    if len(batches) == 1:
        return _fuse_query(batches[0], config, strengths[0], explain=explain)
    best: dict[str, RankedId] = {}
    for batch, strength in zip(batches, strengths, strict=True):
        for ranked in _fuse_query(batch, config, strength, explain=explain):
            known = best.get(ranked.memory_id)
            if known is None:
                best[ranked.memory_id] = ranked
                continue
            better = max(known, ranked, key=_evidence)
            dense = max((d for d in (known.dense, ranked.dense) if d is not None), default=None)
            best[ranked.memory_id] = better._replace(dense=dense)
    return sorted(best.values(), key=_order)


def _order(ranked: RankedId) -> tuple[float, str]:
    return -ranked.score, ranked.memory_id


def _evidence(ranked: RankedId) -> tuple[float, list[tuple[str, float]]]:
    # Of equal scores the same one explains the answer, whatever the order of the queries.
    return ranked.score, sorted(ranked.parts.items())


def _told_apart(batch: QueryHits, config: RankingConfig, limits: ListLimits) -> QueryHits:
    """Drop what ties with the last hit of a list that was cut: ids chose which of those are in.

    A lexical list of so many equal hits tells nothing, so that the dense one decides alone. The
    last of a dense list that is scaled by its range has nothing of it: there it does not matter.
    """
    ranged = config.fusion is Fusion.WEIGHTED
    dense = batch.dense if ranged else _without_last_tie(batch.dense, limits.dense) or batch.dense
    lexical = _without_last_tie(batch.lexical, limits.lexical)
    return QueryHits(dense, lexical if lexical or dense else batch.lexical)


def _without_last_tie(hits: tuple[Hit, ...], limit: int) -> tuple[Hit, ...]:
    """Return a list without its last tie, where it was cut."""
    end = len(hits)
    if end < limit:
        return hits
    least = hits[-1].score + _NOISE
    while end and hits[end - 1].score < least:
        end -= 1
    return hits[:end]


def _strengths(batches: Sequence[QueryHits]) -> list[tuple[float, float]]:
    """Return how strong each query's dense and lexical list is next to the best query's, 0 to 1.

    Scaled within itself, the best of a query that found nothing near looks as good as a perfect
    match of another; the raw scores of one leg tell them apart.
    """
    if len(batches) == 1:
        return [(1.0, 1.0)]
    dense = [max((hit.score for hit in batch.dense), default=0.0) for batch in batches]
    lexical = [max((hit.score for hit in batch.lexical), default=0.0) for batch in batches]
    return list(zip(_relative(dense), _relative(lexical), strict=True))


def _relative(values: Sequence[float]) -> list[float]:
    top = max(values, default=0.0)
    return [max(value, 0.0) / top if top > 0 else 1.0 for value in values]


def _fuse_query(
    batch: QueryHits, config: RankingConfig, strength: tuple[float, float], *, explain: bool
) -> list[RankedId]:
    scaled, scaled_lexical = _SCALED[config.fusion]
    dense, lexical = scaled(batch.dense), scaled_lexical(batch.lexical)
    raw = {hit.memory_id: hit.score for hit in batch.dense}
    # When one leg has no answer at all (no word in common), the other one decides alone.
    share = 1.0 if not lexical else 0.0 if not dense else config.dense_weight
    dense_share, lexical_share = share * strength[0], (1 - share) * strength[1]
    if not explain:
        scores = {memory_id: dense_share * value for memory_id, value in dense.items()}
        for memory_id, value in lexical.items():
            scores[memory_id] = scores.get(memory_id, 0.0) + lexical_share * value
        # As `_order` has it.
        ordered = sorted(zip([-score for score in scores.values()], scores, strict=True))
        return [RankedId(each, -score, raw.get(each), _NO_PARTS) for score, each in ordered]
    raw_lexical = {hit.memory_id: hit.score for hit in batch.lexical}
    ranked: list[RankedId] = []
    for memory_id in dense | lexical:
        parts = {
            "dense": dense_share * dense.get(memory_id, 0.0),
            "lexical": lexical_share * lexical.get(memory_id, 0.0),
        }
        score = parts["dense"] + parts["lexical"]
        if memory_id in raw:
            parts["dense_raw"] = raw[memory_id]
        if memory_id in raw_lexical:
            parts["lexical_raw"] = raw_lexical[memory_id]
        ranked.append(RankedId(memory_id, score, raw.get(memory_id), parts))
    return sorted(ranked, key=_order)


def _by_range(hits: Sequence[Hit]) -> dict[str, float]:
    """Return scores scaled to 0..1 within the list; a list of equal scores is all ones."""
    if not hits:
        return {}
    low = min(hit.score for hit in hits)
    span = max(hit.score for hit in hits) - low
    if not span:
        return dict.fromkeys((hit.memory_id for hit in hits), 1.0)
    # In a small store all may be about as near: what little there is between them says little.
    scale = max(span, _LEAST_SPAN)
    return {hit.memory_id: (hit.score - low) / scale for hit in hits}


def _by_top(hits: Sequence[Hit]) -> dict[str, float]:
    """Return scores as shares of the best one.

    Of BM25 zero is known: no word in common. So a list of two does not make the second look as if
    it had none.
    """
    top = max((hit.score for hit in hits), default=0.0)
    return {hit.memory_id: hit.score / top if top > 0 else 1.0 for hit in hits}


def _by_deviation(hits: Sequence[Hit]) -> dict[str, float]:
    """Return scores scaled so that the mean is 0.5, and three deviations from it 0 and 1."""
    scores = [hit.score for hit in hits]
    spread = pstdev(scores) if scores else 0.0
    if not spread:
        return dict.fromkeys((hit.memory_id for hit in hits), 1.0)
    mean = fmean(scores)
    return {
        hit.memory_id: min(1.0, max(0.0, 0.5 + (hit.score - mean) / (6 * spread))) for hit in hits
    }


def _by_rank(hits: Sequence[Hit]) -> dict[str, float]:
    """Return reciprocal ranks, 1 for the first; equal scores have the rank of their first."""
    first: dict[float, int] = {}
    return {
        hit.memory_id: (_RRF_K + 1) / (_RRF_K + first.setdefault(hit.score, rank))
        for rank, hit in enumerate(hits, start=1)
    }


_Scaling = Callable[[Sequence[Hit]], dict[str, float]]
# Of the dense and of the lexical list.
_SCALED: dict[Fusion, tuple[_Scaling, _Scaling]] = {
    Fusion.WEIGHTED: (_by_range, _by_top),
    Fusion.DBSF: (_by_deviation, _by_deviation),
    Fusion.RRF: (_by_rank, _by_rank),
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What makes a memory better than what was found in its text.

    Attributes:
        config: The weights.
        voices: Whose words are asked for.
        times: Times that the question names.
        now: What ages are counted from.
        reached: Memories that names lead to, 0 to 1 each.
    """

    config: RankingConfig
    now: datetime
    voices: Voices = field(default_factory=Voices)
    times: tuple[TimeSpan, ...] = ()
    reached: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def most(self) -> float:
        """What a memory can gain at most."""
        config = self.config
        weights = [
            config.speaker_weight if self.voices.any else 0.0,
            config.time_weight if self.times else 0.0,
            config.recency_weight,
            config.importance_weight,
            config.usage_weight,
            config.pinned_weight,
            config.entity_weight if self.reached else 0.0,
            max((0.0, *config.type_weights.values())),
        ]
        return sum(weights)

    def parts(self, memory: Memory) -> dict[str, float]:
        """Return what a memory gains, by name; only what counts in this search."""
        config = self.config
        found: dict[str, float] = {}
        if self.voices.any and config.speaker_weight:
            found["speaker"] = config.speaker_weight * self.voices.said(memory)
        if self.times and config.time_weight:
            found["time"] = config.time_weight * _fit(memory.obtained_at, self.times)
        if config.recency_weight:
            days = max(0.0, (self.now - memory.obtained_at) / _DAY)
            found["recency"] = config.recency_weight * 0.5 ** (days / config.recency_half_life_days)
        if config.importance_weight:
            found["importance"] = config.importance_weight * memory.importance
        if config.usage_weight:
            used = memory.access_count / (memory.access_count + _USED_HALF)
            found["usage"] = config.usage_weight * used
        if config.pinned_weight:
            found["pinned"] = config.pinned_weight * memory.pinned
        if self.reached and config.entity_weight:
            found["entities"] = config.entity_weight * self.reached.get(memory.memory_id, 0.0)
        if config.type_weights:
            found["type"] = config.type_weights.get(memory.memory_type, 0.0)
        return found


def _fit(moment: datetime, times: Sequence[TimeSpan]) -> float:
    """Return 1 within one of the times, and half of it for each of its lengths away from it."""
    return max(math.exp2(-_apart(moment, span)) for span in times)


def _apart(moment: datetime, span: TimeSpan) -> float:
    if span.start <= moment < span.end:
        return 0.0
    distance = span.start - moment if moment < span.start else moment - span.end
    return distance / max(span.end - span.start, _DAY)


def with_reached(ranked: Sequence[RankedId], reached: Collection[str]) -> list[RankedId]:
    """Return the hits, and after them what was not found but names lead to."""
    found = {hit.memory_id for hit in ranked}
    return [
        *ranked,
        *(RankedId(each, 0.0, None, {}) for each in sorted(reached) if each not in found),
    ]


def restore_order(
    resolved: Mapping[str, Memory],
    ranked: Sequence[RankedId],
    exclude: Collection[str] = frozenset(),
    *,
    preferences: Preferences | None = None,
    explain: bool = False,
) -> list[Memory]:
    """Return resolved memories in the order of their final scores, each once.

    Args:
        resolved: Current version by the id that was hit.
        ranked: Fused hits; a memory takes the best of its versions' scores.
        exclude: Ids to leave out, compared after resolution.
        preferences: What else counts; None: nothing.
        explain: Also attach what the scores are made of.
    """
    whole = 1.0 if preferences is None else 1.0 + preferences.most
    scored: dict[str, Memory] = {}
    for hit in ranked:
        memory = resolved.get(hit.memory_id)
        if memory is None or memory.memory_id in exclude or memory.memory_id in scored:
            continue
        gained = {} if preferences is None else preferences.parts(memory)
        score = round((hit.score + sum(gained.values())) / whole, _DIGITS)
        parts: dict[str, float] | None = None
        if explain:
            shares = {**hit.parts, **gained}
            parts = {k: v if k.endswith("_raw") else v / whole for k, v in shares.items()}
        scored[memory.memory_id] = memory.model_copy(update={"score": score, "score_parts": parts})
    return best_first(scored.values())


def best_first(memories: Iterable[Memory]) -> list[Memory]:
    """Return memories by score, ties as `newest_first` has them."""
    return sorted(memories, key=lambda memory: (-(memory.score or 0.0), *newest_first(memory)))


def newest_first(memory: Memory) -> tuple[float, str, str]:
    """Return what decides between equal scores: the newest, then the hash of the text, then the id.

    Two stores of the same memories share the first two of these, ids mostly not.
    """
    return -memory.obtained_at.timestamp(), memory.content_hash, memory.memory_id


def settled(
    memories: Sequence[Memory], rest: Sequence[RankedId], limit: int, preferences: Preferences
) -> bool:
    """Tell whether nothing of the rest can come among the best `limit`.

    Args:
        memories: What was found so far, best first, without duplicates.
        rest: Hits that were not looked at yet, best first.
        limit: How many are wanted.
        preferences: What the rest could gain.
    """
    if not rest:
        return True
    if len(memories) < limit:
        return False
    most = preferences.most
    reachable = round((rest[0].score + most) / (1.0 + most), _DIGITS)
    return (memories[limit - 1].score or 0.0) > reachable


def chosen(memories: Sequence[Memory], limit: int, config: RankingConfig) -> list[Memory]:
    """Return the `limit` best memories, in the order in which they are shown."""
    if config.diversity:
        return duplicates.diverse(memories, limit, config.diversity)
    return list(memories[:limit])


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


def standing_first(
    memories: Sequence[Memory],
    always: Collection[str],
    limit: int,
    token_budget: int | None,
    count: Callable[[str], int],
) -> list[Memory]:
    """Return those of some types and pinned ones, pinned first, within half of limit and budget.

    Args:
        memories: In the order that they keep otherwise.
        always: The types.
        limit: Memories of the whole answer.
        token_budget: Tokens of the whole answer; None: no bound.
        count: Tokens of a text.
    """
    standing = [memory for memory in memories if memory.pinned or memory.memory_type in always]
    standing.sort(key=lambda memory: not memory.pinned)
    budget = None if token_budget is None else round(token_budget * ALWAYS_SHARE)
    return within_budget(standing, max(1, round(limit * ALWAYS_SHARE)), budget, count)


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
