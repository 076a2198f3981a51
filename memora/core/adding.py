"""What a text that an application adds becomes: a memory, a version of one, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from memora.core import versions
from memora.core.hashing import content_hash
from memora.core.lifetimes import is_expired
from memora.core.placeholders import neutral
from memora.core.planning import placed
from memora.schema.direct import AddStatus
from memora.schema.models import Memory, SourceRole
from memora.schema.write_plan import EqualGuard, MemoryEnd, MemoryWrite


@dataclass(frozen=True, slots=True)
class Addition:
    """A statement that is to be added, with everything that was said about it.

    Attributes:
        text: As it will be stored, with name placeholders.
    """

    memory_id: str
    text: str = field(repr=False)
    obtained_at: datetime
    agent_id: str | None = None
    interaction_id: str | None = None
    memory_type: str = "fact"
    importance: float = 0.5
    tags: tuple[str, ...] = field(default=(), repr=False)
    entities: tuple[str, ...] = field(default=(), repr=False)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    expires_at: datetime | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """What is written for an addition, and what the receipt says."""

    status: AddStatus
    memory_id: str
    text: str = field(repr=False)
    superseded_ids: tuple[str, ...] = ()
    memories: tuple[MemoryWrite, ...] = ()
    ends: tuple[MemoryEnd, ...] = ()


def duplicate(existing: Memory) -> Added:
    """Write nothing: it is known."""
    return Added(AddStatus.DUPLICATE, existing.memory_id, existing.memory)


def is_hidden(memory: Memory, now: datetime) -> bool:
    """Tell whether reads do not answer with the memory, so that nobody would see it repeated."""
    return memory.archived or is_expired(memory, now)


def shares_its_fate(memory: Memory, addition: Addition) -> bool:
    """Tell whether the memory may become history by the addition.

    What stays must not go with something that expires, and the other way round.
    """
    return (memory.expires_at is None) == (addition.expires_at is None)


def created(addition: Addition, equal: Memory | None, now: datetime) -> Added:
    """Write a new memory.

    Args:
        addition: The statement.
        equal: A current memory of the same text that reads do not show any more: it ends, so that
            one of them is current; None: there is none.
        now: Store time.
    """
    guard = EqualGuard(None if equal is None else equal.memory_id)
    ends: tuple[MemoryEnd, ...] = ()
    if equal is not None:
        over = equal.expires_at if is_expired(equal, now) else max(now, addition.obtained_at)
        ends = (MemoryEnd(equal.memory_id, max(over or now, equal.obtained_at)),)
    return Added(
        AddStatus.CREATED,
        addition.memory_id,
        addition.text,
        memories=(replace(_write(addition), equal=guard),),
        ends=ends,
    )


def superseding(addition: Addition, chain: Sequence[Memory], others: Sequence[Memory]) -> Added:
    """Write a version that replaces the current one, at its place in time.

    One that is older than what is known becomes a past version of it from the start.

    Args:
        addition: The statement.
        chain: All versions of what it replaces, newest first.
        others: Further current memories that it replaces; they end.
    """
    place = versions.place(chain, addition.obtained_at)
    write = placed(_write(addition), place)
    if place.replaces_head is None:
        return Added(AddStatus.CREATED, addition.memory_id, addition.text, memories=(write,))
    replaced = [memory for memory in others if memory.obtained_at <= addition.obtained_at]
    return Added(
        AddStatus.SUPERSEDED,
        addition.memory_id,
        addition.text,
        (place.replaces_head, *(memory.memory_id for memory in replaced)),
        (write,),
        _ends(replaced, addition.obtained_at),
    )


def merged(
    addition: Addition, text: str, chain: Sequence[Memory], others: Sequence[Memory]
) -> Added:
    """Write a version that says what both say, as new as the newest of them.

    Args:
        addition: The statement.
        text: Stored form of the one statement that holds all.
        chain: All versions of what it is merged with, newest first; one of them is current.
        others: Further current memories that it is merged with; they end.
    """
    head = next(version for version in chain if version.is_current)
    parts = [head, *others]
    ends = [part.expires_at for part in parts if part.expires_at is not None]
    at = max(addition.obtained_at, *(part.obtained_at for part in parts))
    whole = replace(
        addition,
        text=text,
        obtained_at=at,
        agent_id=head.agent_id,
        interaction_id=addition.interaction_id or head.interaction_id,
        memory_type=head.memory_type,
        importance=max(addition.importance, *(part.importance for part in parts)),
        tags=_union([*(part.tags for part in parts), addition.tags]),
        entities=_union([*(part.entities for part in parts), addition.entities]),
        metadata={
            key: value
            for source in (*(part.metadata for part in reversed(parts)), addition.metadata)
            for key, value in source.items()
        },
        expires_at=None if addition.expires_at is None else min([addition.expires_at, *ends]),
        pinned=addition.pinned or any(part.pinned for part in parts),
    )
    return Added(
        AddStatus.MERGED,
        addition.memory_id,
        text,
        tuple(part.memory_id for part in parts),
        (placed(_write(whole), versions.place(chain, at)),),
        _ends(others, at),
    )


def _ends(memories: Sequence[Memory], at: datetime) -> tuple[MemoryEnd, ...]:
    return tuple(MemoryEnd(memory.memory_id, at) for memory in memories)


def _union(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for items in lists for item in items))


def _write(addition: Addition) -> MemoryWrite:
    return MemoryWrite(
        memory_id=addition.memory_id,
        chain_id=addition.memory_id,
        text=addition.text,
        obtained_at=addition.obtained_at,
        content_hash=content_hash(neutral(addition.text)),
        agent_id=addition.agent_id,
        interaction_id=addition.interaction_id,
        memory_type=addition.memory_type,
        importance=addition.importance,
        tags=addition.tags,
        entities=addition.entities,
        metadata=addition.metadata,
        expires_at=addition.expires_at,
        pinned=addition.pinned,
        source_role=SourceRole.API.value,
        author=SourceRole.API.value,
    )
