"""Lists memories by filters that the store does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime

from memora.agent.ports import Ports
from memora.core import filters as filtering
from memora.graph_db.base import MemoryListing
from memora.schema.models import Memory
from memora.schema.recall import MemoryFilters
from memora.schema.scope import OrganizationScope, SearchScope

# Rows that are read at a time where filters are checked after reading.
_PAGE = 500
# Higher than every id.
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class ListRequest:
    """One call of `list_memories`, validated.

    Attributes:
        scope: A user, or an organization; its agent narrows.
        after: Place of the last memory of the page before.
    """

    scope: SearchScope
    filters: MemoryFilters
    after: tuple[datetime, str] | None
    skip: int
    limit: int


async def list_memories(ports: Ports, request: ListRequest) -> list[Memory]:
    """Return a page of current memories, newest first, names filled in."""
    if _is_plain(request.filters):
        listing = MemoryListing(
            agent_id=request.scope.agent_id,
            after=request.after,
            skip=request.skip,
            limit=request.limit,
        )
        now = ports.graph.clock.now()
        found = await ports.graph.list_live_memories(request.scope, listing, now)
    else:
        found = await _filtered(ports, request)
    named = await ports.graph.with_names(request.scope.org_id, found)
    if isinstance(request.scope, OrganizationScope):
        # As in a search of the organization: users' raw messages need a right of their own.
        return [memory.model_copy(update={"message_sources": []}) for memory in named]
    return named


def _is_plain(filters: MemoryFilters) -> bool:
    return filters == MemoryFilters()


async def _filtered(ports: Ports, request: ListRequest) -> list[Memory]:
    found: list[Memory] = []
    skipped = 0
    async for memory in _candidates(ports, request):
        if not filtering.matches(memory, request.filters, ports.graph.clock.now()):
            continue
        if skipped < request.skip:
            skipped += 1
            continue
        found.append(memory)
        if len(found) == request.limit:
            break
    return found


async def _candidates(ports: Ports, request: ListRequest) -> AsyncIterator[Memory]:
    """Yield what the store can tell apart: within the time, of one agent or interaction."""
    filters = request.filters
    places = [request.after, None if filters.obtained_to is None else (filters.obtained_to, _LAST)]
    listing = MemoryListing(
        agent_id=request.scope.agent_id or _only(filters.agent_ids),
        interaction_id=_only(filters.interaction_ids),
        after=min((place for place in places if place is not None), default=None),
        limit=_PAGE,
    )
    hidden = filters.include_archived or filters.include_expired
    while True:
        now = ports.graph.clock.now()
        if hidden:
            page = await ports.graph.list_memories(request.scope, listing)
        else:
            page = await ports.graph.list_live_memories(request.scope, listing, now)
        for memory in page:
            if filters.obtained_from is not None and memory.obtained_at < filters.obtained_from:
                return
            yield memory
        if len(page) < _PAGE:
            return
        listing = replace(listing, after=(page[-1].obtained_at, page[-1].memory_id))


def _only(values: tuple[str, ...]) -> str | None:
    return values[0] if len(values) == 1 else None
