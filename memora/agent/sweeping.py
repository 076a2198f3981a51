"""Removes what is expired and archives what nothing uses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from itertools import groupby

from memora.agent.ports import Ports
from memora.schema.direct import SweepReceipt
from memora.schema.lifetime import DueMemory
from memora.schema.scope import OrganizationScope, Scope, SearchScope

_logger = logging.getLogger(__name__)

_ORGANIZATIONS = 1000
_Find = Callable[[SearchScope, DueMemory | None], Awaitable[list[DueMemory]]]
_Apply = Callable[[Scope, Sequence[str]], Awaitable[int]]


async def sweep(
    ports: Ports, scope: SearchScope | None, *, batch_size: int, dry_run: bool
) -> SweepReceipt:
    """Sweep a user, an organization, or (None) all of them.

    Args:
        ports: Stores.
        scope: Whose memories.
        batch_size: Memories that are looked up and changed at a time.
        dry_run: Only count.
    """
    graph = ports.graph
    now = graph.clock.now()
    since = graph.lifetimes.unused_since(now)

    async def expired(owner: SearchScope, after: DueMemory | None) -> list[DueMemory]:
        return await graph.find_expired(owner, now, after=after, limit=batch_size)

    async def remove(owner: Scope, memory_ids: Sequence[str]) -> int:
        return (await graph.purge_memories(owner, memory_ids, now)).memories

    gone = archived = 0
    async for owner in _owners(ports, scope):
        gone += await _work_off(ports, owner, expired, None if dry_run else remove, batch_size)
        if since is not None:
            archived += await _archive(ports, owner, since, now, batch_size, dry_run=dry_run)
    if not dry_run:
        await graph.drain_outbox()
        if gone or archived:
            _logger.info("swept: %d memories removed, %d archived", gone, archived)
    return SweepReceipt(expired=gone, archived=archived, at=now, dry_run=dry_run)


async def _archive(
    ports: Ports,
    owner: SearchScope,
    since: datetime,
    now: datetime,
    batch_size: int,
    *,
    dry_run: bool,
) -> int:
    graph = ports.graph

    async def disused(of: SearchScope, after: DueMemory | None) -> list[DueMemory]:
        return await graph.find_disused(of, since, now, after=after, limit=batch_size)

    async def archive(of: Scope, memory_ids: Sequence[str]) -> int:
        return len(await graph.archive_memories(of, memory_ids, since, now))

    return await _work_off(ports, owner, disused, None if dry_run else archive, batch_size)


async def _owners(ports: Ports, scope: SearchScope | None) -> AsyncIterator[SearchScope]:
    if scope is not None:
        yield scope
        return
    skip = 0
    while page := await ports.graph.list_organizations(skip=skip, limit=_ORGANIZATIONS):
        for organization in page:
            yield OrganizationScope(organization.org_id)
        skip += len(page)


async def _work_off(
    ports: Ports, owner: SearchScope, find: _Find, apply: _Apply | None, batch_size: int
) -> int:
    """Apply to all that is found, a batch at a time, each user's part in one transaction."""
    done = 0
    after: DueMemory | None = None
    while True:
        page = await find(owner, after)
        if apply is None:
            done += len(page)
        else:
            by_user = sorted(page, key=lambda due: due.user_id)
            for user_id, part in groupby(by_user, key=lambda due: due.user_id):
                scope = Scope(owner.org_id, user_id)
                done += await apply(scope, [due.memory_id for due in part])
            if page:
                await ports.graph.drain_outbox()
        if len(page) < batch_size:
            return done
        after = page[-1]
