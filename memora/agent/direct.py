"""Changes of single memories by hand: every one is a version, an end, or a purge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from memora.agent.ports import Ports
from memora.agent.threads import EACH, off_loop
from memora.core import planning, versions
from memora.errors import ConflictError, MemoryNotFoundError, MemoryUpdateError
from memora.schema.direct import DeleteReceipt
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.validation import TAGS
from memora.schema.write_plan import WritePlan
from memora.text.entities import recognise

_TRIES = 8
_Change = Callable[[Sequence[Memory]], WritePlan | None]


async def update_memory(
    ports: Ports, scope: Scope, memory_id: str, content: str, author: str | None
) -> Memory:
    """Give a statement a new text as a new version at the head of its chain.

    Raises:
        MemoryNotFoundError: The user has no such memory.
        MemoryUpdateError: The statement was retracted or its head deleted.
        ConflictError: Others changed it again and again in the meantime.
    """
    text = planning.storable(content, scope)

    def change(chain: Sequence[Memory]) -> WritePlan | None:
        head = versions.version_at(chain, None)
        if head is None:
            raise MemoryUpdateError(memory_id, "it has no current version; revert it first")
        if head.memory == text:
            return None
        return _next_version(ports, scope, chain, head, text, author)

    return await _changed(ports, scope, memory_id, change, len(text))


async def revert_memory(ports: Ports, scope: Scope, memory_id: str, author: str | None) -> Memory:
    """Make the text of one version current again, as a new version.

    Raises:
        MemoryNotFoundError: The user has no such memory.
        ConflictError: Others changed it again and again in the meantime.
    """

    def change(chain: Sequence[Memory]) -> WritePlan | None:
        wanted = next(version for version in chain if version.memory_id == memory_id)
        head = versions.version_at(chain, None)
        if head is not None and head.memory == wanted.memory:
            return None
        return _next_version(ports, scope, chain, wanted, wanted.memory, author)

    return await _changed(ports, scope, memory_id, change)


async def retract_memory(ports: Ports, scope: Scope, memory_id: str, at: datetime | None) -> Memory:
    """End a statement without a successor; its history stays. Retracting twice changes nothing.

    Args:
        ports: Stores.
        scope: Owner.
        memory_id: Any version of the statement.
        at: Conversation time from which it no longer holds; None: now.

    Raises:
        MemoryNotFoundError: The user has no such memory.
        ConflictError: Others changed it again and again in the meantime.
    """

    def change(chain: Sequence[Memory]) -> WritePlan | None:
        head = versions.version_at(chain, None)
        if head is None:
            return None
        now = ports.graph.clock.now()
        return planning.ended(scope, head, max(at or now, head.obtained_at), now)

    return await _changed(ports, scope, memory_id, change)


async def delete_memory(ports: Ports, scope: Scope, memory_id: str) -> DeleteReceipt:
    """Purge one version; see `graph.delete_user_memory`."""
    counts = await ports.graph.delete_user_memory(scope.org_id, scope.user_id, memory_id)
    deleted = counts.memories > 0
    return DeleteReceipt(status="deleted" if deleted else "not_found", deleted=deleted)


def _next_version(
    ports: Ports,
    scope: Scope,
    chain: Sequence[Memory],
    template: Memory,
    text: str,
    author: str | None,
) -> WritePlan:
    now = ports.graph.clock.now()
    write = planning.manual_version(
        template,
        chain,
        ports.graph.ids.memory(),
        text,
        max(now, chain[0].obtained_at),
        author,
        _names_in(template, text),
    )
    return WritePlan(scope, now, memories=(write,))


def _names_in(template: Memory, text: str) -> list[str] | None:
    """Return what a version with this text mentions; names that the old text had go with it."""
    if text == template.memory:
        return None
    old = set(recognise(template.memory))
    kept = [name for name in template.entities if name not in old]
    return list(dict.fromkeys([*kept, *recognise(text, kept)]))[:TAGS]


async def _changed(
    ports: Ports, scope: Scope, memory_id: str, change: _Change, new_size: int = 0
) -> Memory:
    """Apply what `change` plans for the chain as it is; again if somebody was quicker."""
    for _attempt in range(_TRIES):
        chains = await ports.graph.read_chains(scope, [memory_id])
        if memory_id not in chains:
            raise MemoryNotFoundError(memory_id)
        chain = chains[memory_id]
        size = new_size + sum(EACH + len(version.memory) for version in chain)
        plan = await off_loop(size, change, chain)
        if plan is not None:
            try:
                await ports.graph.apply(plan)
            except ConflictError as error:
                if error.record != "memory":
                    raise
                continue
            await ports.graph.drain_outbox()
        history = await ports.graph.get_user_memory_history(scope.org_id, scope.user_id, memory_id)
        return versions.version_at(history, None) or history[0]
    raise ConflictError("memory", memory_id)
