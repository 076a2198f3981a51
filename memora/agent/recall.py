"""The recall story: queries, hits, current versions, order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from memora.agent import hops, search_queries
from memora.agent.ports import Ports, check_owner
from memora.agent.rerank import rerank
from memora.core import duplicates, ranking, voices
from memora.core import filters as filtering
from memora.core.chunking import estimated_tokens
from memora.core.ranking import Preferences
from memora.core.voices import Voices
from memora.graph_db.base import MemoryListing
from memora.schema.index import ListLimits, QueryHits
from memora.schema.models import Memory
from memora.schema.ranking import RankingConfig
from memora.schema.recall import MemoryFilters, RankedId, RecallResult
from memora.schema.scope import MemorySearchScope, OrganizationScope, Scope, SearchScope
from memora.schema.span import TimeSpan
from memora.schema.validation import PAGE
from memora.text import times
from memora.text.tokens import words

# Hits that are resolved beside those that are wanted: some are of the same statement, or no longer
# match. When they were more, another window follows.
_SPARE = 4


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, where, and what may answer.

    Attributes:
        exclude: Ids left out, compared with the current versions that were found.
        as_of: Read the versions that were current at this conversation time.
        min_similarity: Floor on the raw dense similarity, 0 to 1; None: no floor.
        config: What a score is made of.
        message: What is asked in the end, where the queries were made from it.
        now: Conversation time of the question; None: the store's time.
    """

    scope: SearchScope
    queries: tuple[str, ...] = field(repr=False)
    limit: int
    filters: MemoryFilters = field(default_factory=MemoryFilters)
    exclude: frozenset[str] = field(default=frozenset(), repr=False)
    as_of: datetime | None = None
    min_similarity: float | None = None
    explain: bool = False
    config: RankingConfig = field(default_factory=RankingConfig)
    message: str | None = field(default=None, repr=False)
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecallRequest:
    """One call of `recall_memories_for_message`.

    Attributes:
        search: Without queries: they are made from the message.
        across_agents: Whether memories of other agents may answer.
        now: Conversation time of the message.
        deadline: Seconds until the model stages are skipped.
        rerank_candidates: How many found memories the reranker reads, where there is one.
    """

    scope: Scope
    search: Search
    message: str = field(repr=False)
    preceding: Sequence[Any] = field(repr=False)
    now: datetime
    use_filter_model: bool = False
    always: tuple[str, ...] = field(default=(), repr=False)
    token_budget: int | None = None
    deadline: float | None = None
    rerank_candidates: int = 1


async def recall(ports: Ports, request: RecallRequest) -> RecallResult:
    """Find the memories that matter for a message.

    Raises:
        UserNotFoundError: There is no such user.
        AgentNotFoundError: There is no such agent, or it belongs to another user.
        EmbeddingError: The queries could not be embedded.
        VectorDBError: The vector store failed.
        GraphDBError: The graph store failed.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    preceding = search_queries.preceding_texts(request.preceding)
    await check_owner(ports.graph, request.scope)
    queries = await search_queries.for_message(
        ports.search_model, request.message, preceding, request.now, request.deadline
    )
    found = await find(ports, _search(ports, request, queries))

    def left() -> float | None:
        return None if request.deadline is None else request.deadline - (loop.time() - started)

    if ports.reranker is not None and _is_time(left()):
        found = await rerank(ports.reranker, request.message, found, left())
    found = found[: request.search.limit]
    if request.use_filter_model and ports.search_model is not None and _is_time(left()):
        found = await search_queries.select(
            ports.search_model, request.message, queries, found, request.now, left()
        )
    first = await _always(ports, request)
    shown = {memory.memory_id for memory in first}
    ordered = [*first, *(memory for memory in found if memory.memory_id not in shown)]
    kept = ranking.within_budget(
        ordered, request.search.limit, request.token_budget, estimated_tokens
    )
    return RecallResult(tuple(kept), queries)


def _search(ports: Ports, request: RecallRequest, queries: tuple[str, ...]) -> Search:
    """Return what to search for; more than asked for where a reranker chooses from it."""
    search = replace(request.search, queries=queries, message=request.message, now=request.now)
    if ports.reranker is None:
        return search
    return replace(search, limit=max(search.limit, request.rerank_candidates))


def _is_time(left: float | None) -> bool:
    return left is None or left > 0


async def find(ports: Ports, search: Search) -> list[Memory]:
    """Answer all queries together: each memory once, best first."""
    speakers = await _speakers(ports, search)
    asked = search.queries if search.message is None else (search.message,)
    preferences = _preferences(ports, search, asked, speakers)
    hits = await _hits(ports, search, [preferences.voices] * len(search.queries))
    return await _resolved(ports, search, hits, preferences, asked)


async def find_batch(ports: Ports, search: Search) -> list[list[Memory]]:
    """Answer each query by itself; as many lists as queries, in their order."""
    speakers = await _speakers(ports, search)
    preferences = [_preferences(ports, search, (query,), speakers) for query in search.queries]
    hits = await _hits(ports, search, [each.voices for each in preferences])
    answers = zip(hits, preferences, search.queries, strict=True)
    return list(
        await asyncio.gather(
            *(_resolved(ports, search, [hit], each, (query,)) for hit, each, query in answers)
        )
    )


async def _speakers(ports: Ports, search: Search) -> list[str]:
    if not isinstance(search.scope, Scope) or not search.config.speaker_weight:
        return []
    return await ports.graph.read_speakers(search.scope)


def _preferences(
    ports: Ports, search: Search, asked: Sequence[str], speakers: Sequence[str]
) -> Preferences:
    """Return what makes a memory a better answer, as the question says."""
    config = search.config
    now = search.now or ports.graph.clock.now()
    named = (
        [span for text in asked for span in times.spans(text, now)] if config.time_weight else []
    )
    return Preferences(
        config,
        search.as_of or now,
        voices.asked_for(asked, speakers) if config.speaker_weight else Voices(),
        tuple(TimeSpan(start, end) for start, end in named),
    )


async def _hits(ports: Ports, search: Search, asked: Sequence[Voices]) -> list[QueryHits]:
    scope = search.scope
    kind = MemorySearchScope.USER if isinstance(scope, Scope) else MemorySearchScope.ORGANIZATION
    limits = _limits(search)
    return await ports.vector.search_memories(
        search.queries,
        kind,
        scope.org_id,
        scope.user_id if isinstance(scope, Scope) else None,
        scope.agent_id,
        limit=limits.dense,
        lexical_limit=limits.lexical,
        conditions=filtering.engine_conditions(
            search.filters, ports.graph.clock.now(), search.as_of
        ),
        dense_queries=[
            voices.without_names(query, named)
            for query, named in zip(search.queries, asked, strict=True)
        ],
    )


def _limits(search: Search) -> ListLimits:
    if filtering.needs_more_candidates(search.filters):
        return ListLimits(ranking.CANDIDATES_MAX, ranking.CANDIDATES_MAX)
    least = search.limit + len(search.exclude)
    wanted = (max(ranking.CANDIDATES, least), max(ranking.LEXICAL_CANDIDATES, least))
    return ListLimits(*(min(limit, ranking.CANDIDATES_MAX) for limit in wanted))


async def _resolved(
    ports: Ports,
    search: Search,
    hits: Sequence[QueryHits],
    preferences: Preferences,
    asked: Sequence[str],
) -> list[Memory]:
    """Turn hits into current memories, a window at a time, until no other can be among the best."""
    config = search.config
    ranked = ranking.fuse(hits, config, explain=search.explain, limits=_limits(search))
    owners: dict[str, str] = {}
    if isinstance(search.scope, OrganizationScope):
        found_hits = (hit for answer in hits for hit in (*answer.dense, *answer.lexical))
        owners = {hit.memory_id: hit.user_id for hit in found_hits}
    if config.entity_weight and isinstance(search.scope, Scope) and search.as_of is None:
        reached = await hops.follow(ports, search.scope, asked, ranked, config.entity_hops)
        ranked = ranking.with_reached(ranked, reached)
        preferences = replace(preferences, reached=reached)
    # Diversity, and what is known of the memories themselves, choose from twice as many.
    wanted = 2 * search.limit if config.diversity else search.limit
    window = wanted + len(search.exclude) + max(_SPARE, search.limit // 4)
    window *= 2 if preferences.most else 1
    memories: list[Memory] = []
    found: list[Memory] = []
    for start in range(0, len(ranked), window):
        part = ranked[start : start + window]
        resolved = await _current_versions(ports, search, part, owners)
        kept = {
            memory_id: memory
            for memory_id, memory in resolved.items()
            if _admits(ports, search, memory)
        }
        known = {memory.memory_id for memory in memories} | search.exclude
        part = _above_floor(search, part, kept)
        memories += ranking.restore_order(
            kept, part, known, preferences=preferences, explain=search.explain
        )
        memories = ranking.best_first(memories)
        found = duplicates.distinct(memories) if config.collapse_duplicates else memories
        if ranking.settled(found, ranked[start + window :], wanted, preferences):
            break
    return ranking.chosen(found, search.limit, config)


async def _current_versions(
    ports: Ports, search: Search, ranked: Sequence[RankedId], owners: dict[str, str]
) -> dict[str, Memory]:
    """Return the version that is current (at `as_of`) by the id that was hit, names filled in."""
    by_owner: dict[str, list[str]] = {}
    if isinstance(search.scope, Scope):
        by_owner[search.scope.user_id] = [hit.memory_id for hit in ranked]
    else:
        for hit in ranked:
            by_owner.setdefault(owners[hit.memory_id], []).append(hit.memory_id)
    org_id = search.scope.org_id
    resolved: dict[str, Memory] = {}
    for user_id, ids in by_owner.items():
        found = await ports.graph.resolve_memories(Scope(org_id, user_id), ids, search.as_of)
        named = await ports.graph.with_names(org_id, list(found.values()))
        resolved |= dict(zip(found, named, strict=True))
    if isinstance(search.scope, OrganizationScope):
        # Other users' raw messages need a right of their own, which a search does not have.
        for memory in resolved.values():
            memory.message_sources = []
    return resolved


def _admits(ports: Ports, search: Search, memory: Memory) -> bool:
    """Check owner and filters again, on the version that would be returned."""
    return search.scope.admits(
        memory.org_id, memory.user_id, memory.agent_id
    ) and filtering.matches(memory, search.filters, ports.graph.clock.now(), search.as_of)


def _above_floor(
    search: Search, ranked: Sequence[RankedId], resolved: dict[str, Memory]
) -> list[RankedId]:
    if search.min_similarity is None:
        return list(ranked)
    wanted = [set(words(query)) for query in search.queries]

    def holds_all_words(memory_id: str) -> bool:
        memory = resolved.get(memory_id)
        if memory is None:
            return False
        held = set(words(memory.memory))
        return any(query and query <= held for query in wanted)

    return ranking.above_floor(ranked, search.min_similarity, holds_all_words)


async def _always(ports: Ports, request: RecallRequest) -> list[Memory]:
    """Return pinned memories, then those of the wanted types, newest first, whatever the question.

    They have a share of the answer of their own, so that something of the question is left.
    """
    if not request.always:
        return []
    search = request.search
    found: list[Memory] = []
    after: tuple[datetime, str] | None = None
    page: list[Memory] | None = None
    while page is None or len(page) == PAGE:
        listing = MemoryListing(
            agent_id=search.scope.agent_id, standing=request.always, after=after, limit=PAGE
        )
        page = await ports.graph.list_live_memories(request.scope, listing, ports.graph.clock.now())
        found += [
            memory
            for memory in page
            if memory.memory_id not in search.exclude and _admits(ports, search, memory)
        ]
        if page:
            after = (page[-1].obtained_at, page[-1].memory_id)
    found.sort(key=ranking.newest_first)
    named = await ports.graph.with_names(request.scope.org_id, found)
    return ranking.standing_first(
        named, request.always, search.limit, request.token_budget, estimated_tokens
    )
