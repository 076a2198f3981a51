"""How the memories of a user or an organization are: counts, ages, repetition, index lag."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from memora.agent.ports import Ports
from memora.core.placeholders import neutral
from memora.graph_db.base import MemoryListing
from memora.schema.direct import MemoryHealth
from memora.schema.lifetime import MemoryCounts
from memora.schema.models import Memory
from memora.schema.scope import MemorySearchScope, Scope, SearchScope
from memora.schema.validation import QUERIES

_STATUSES = ("current", "archived", "expired", "past")
_NEIGHBOURS = 5


async def memory_health(
    ports: Ports, scope: SearchScope, *, sample: int, threshold: float
) -> MemoryHealth:
    """Count what is stored, and compare a sample of it.

    Args:
        ports: Stores.
        scope: A user, or an organization.
        sample: How many of the newest current memories are compared; 0: none.
        threshold: Dense similarity from which two memories count as twins.
    """
    now = ports.graph.clock.now()
    counts = await ports.graph.count_memories(scope, now)
    newest: list[Memory] = []
    if sample:
        newest = await ports.graph.list_live_memories(scope, MemoryListing(limit=sample), now)
    twins = await _twins(ports, newest, threshold)
    return _summed(counts, twins, len(newest))


async def _twins(ports: Ports, memories: Sequence[Memory], threshold: float) -> int:
    """Count the memories that another current one of the same user is nearly equal to."""
    twins = 0
    by_user = sorted(memories, key=lambda memory: memory.user_id)
    for user_id, group in groupby(by_user, key=lambda memory: memory.user_id):
        own = list(group)
        for start in range(0, len(own), QUERIES):
            part = own[start : start + QUERIES]
            twins += await _twins_of(ports, Scope(part[0].org_id, user_id), part, threshold)
    return twins


async def _twins_of(
    ports: Ports, scope: Scope, memories: Sequence[Memory], threshold: float
) -> int:
    answers = await ports.vector.search_memories(
        [neutral(memory.memory) for memory in memories],
        MemorySearchScope.USER,
        scope.org_id,
        scope.user_id,
        limit=_NEIGHBOURS,
    )
    near = [[hit.memory_id for hit in a.dense if hit.score >= threshold] for a in answers]
    wanted = list(dict.fromkeys(memory_id for ids in near for memory_id in ids))
    current = await ports.graph.resolve_memories(scope, wanted, None) if wanted else {}
    return sum(
        any(current[hit].memory_id != memory.memory_id for hit in ids if hit in current)
        for memory, ids in zip(memories, near, strict=True)
    )


def _summed(counts: MemoryCounts, twins: int, sampled: int) -> MemoryHealth:
    types = counts.by_type
    by_status = {name: sum(getattr(t, name) for t in types.values()) for name in _STATUSES}
    return MemoryHealth(
        total=sum(by_status.values()),
        by_status=by_status,
        by_type={name: each.current for name, each in types.items() if each.current},
        pinned=sum(each.pinned for each in types.values()),
        unused=sum(each.unused for each in types.values()),
        oldest=counts.oldest,
        newest=counts.newest,
        ages={
            "older" if days is None else f"{days}d": count for days, count in counts.ages.items()
        },
        redundancy=twins / sampled if sampled else None,
        sampled=sampled,
        index_pending=counts.pending,
        index_dead=counts.dead,
        index_waiting_since=counts.waiting_since,
    )
