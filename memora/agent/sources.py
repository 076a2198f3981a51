"""Memories by their source, and taking a source back in one call."""

from __future__ import annotations

import logging

from memora.agent.ports import Ports
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.sources import RollbackReceipt, SourceKind, SourceSelector

_logger = logging.getLogger(__name__)


async def memories_by_source(
    ports: Ports,
    scope: Scope,
    selector: SourceSelector,
    *,
    current_only: bool,
    skip: int,
    limit: int,
) -> list[Memory]:
    """Return a page of the user's memories that come from a source, newest first.

    Raises:
        UserNotFoundError: There is no such user.
    """
    graph = ports.graph
    source = await _resolved(ports, scope, selector)
    found = await graph.list_source_memories(
        scope, source, graph.clock.now(), current_only=current_only, skip=skip, limit=limit
    )
    if not found:
        await graph.get_user(scope.org_id, scope.user_id)
    return await graph.with_names(scope.org_id, found)


async def rollback(
    ports: Ports, scope: Scope, selector: SourceSelector, *, author: str | None, dry_run: bool
) -> RollbackReceipt:
    """Take a source out of the user's memories; what it said is not extracted again.

    Raises:
        UserNotFoundError: There is no such user.
    """
    graph = ports.graph
    await graph.get_user(scope.org_id, scope.user_id)
    source = await _resolved(ports, scope, selector)
    now = graph.clock.now()
    done = await graph.withdraw(scope, source, now, leave_tombstones=True, dry_run=dry_run)
    if not dry_run:
        _logger.info(
            "rolled back a source (%s) of a user: %d memories removed, %d restored, %d unlinked, "
            "%d jobs cancelled",
            source.kind.value,
            *(len(ids) for ids in (done.removed, done.restored, done.unlinked)),
            len(done.cancelled_jobs),
        )
        await graph.drain_outbox()
    return RollbackReceipt(
        source=source,
        at=now,
        removed=done.removed,
        restored=done.restored,
        unlinked=done.unlinked,
        cancelled_jobs=done.cancelled_jobs,
        dry_run=dry_run,
        author=author,
    )


async def _resolved(ports: Ports, scope: Scope, selector: SourceSelector) -> SourceSelector:
    """Return the selector with memora's own id, where an interaction is named by the caller's."""
    if selector.kind is not SourceKind.INTERACTION:
        return selector
    stored = await ports.graph.find_interaction(scope, selector.source_id)
    return selector if stored is None else SourceSelector(selector.kind, stored.interaction_id)
