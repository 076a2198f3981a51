"""Parts a version where something else turns out to have been said between its sources.

A statement, then another, then the first one again are three versions. Told in another order, the
first is one version with two sources until the other one comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from memora.core import authority, withdrawal
from memora.core.hashing import content_hash
from memora.core.placeholders import neutral
from memora.schema.models import Memory
from memora.schema.sources import SourceMessage, StoredVersion
from memora.schema.write_plan import Beginning, MemoryWrite, SourceLink, SourceRef


@dataclass(frozen=True, slots=True)
class Parted:
    """What a version becomes, and what is written for it.

    Attributes:
        chain: As it is then, newest first; both parts say the same, one right after the other.
        parts: Both, as they are stored then.
        write: The part that is new.
        links: Its sources, and the new time of the other part, if that is the later one.
    """

    chain: list[Memory]
    parts: tuple[StoredVersion, StoredVersion]
    write: MemoryWrite
    links: tuple[SourceLink, ...]


def part(
    chain: Sequence[Memory],
    stored: StoredVersion,
    at: datetime,
    source_role: str,
    memory_id: str,
    *,
    may_begin: bool,
) -> Parted | None:
    """Part a version at a time, for what else was said then.

    The version stays itself on the side on which it was stated where it was obtained; the other
    side is a new version, obtained from its first message.

    Args:
        chain: All versions, newest first.
        stored: The version that held at that time.
        at: The time.
        source_role: Who said something else then: who says the same again must be trusted as much.
        memory_id: Id of the new part.
        may_begin: Whether the version's own time may change by this plan.

    Returns:
        None: nobody says the statement again after that time, or nobody who may.
    """
    [place] = [n for n, each in enumerate(chain) if each.memory_id == stored.memory_id]
    version, below = chain[place], chain[place + 1] if place + 1 < len(chain) else None
    cut = _cut(version, stored, at)
    if cut is None or authority.rank(cut.role) < authority.rank(source_role):
        return None
    if cut.is_late:
        if not may_begin:
            return None
        older, newer = memory_id, version.memory_id
        write, links = _new_before(version, below, stored, cut, memory_id)
    else:
        older, newer = version.memory_id, memory_id
        write, links = _new_after(version, stored, cut, memory_id)
    first = {"memory_id": older, "superseded_at": cut.again, "superseded_by": newer}
    then = {"memory_id": newer, "obtained_at": cut.again, "source_role": cut.role}
    halves = [version.model_copy(update=then), version.model_copy(update=first)]
    stated_at = stored.stated_at if cut.is_late else None
    parts = (
        replace(stored, memory_id=older, sources=cut.early),
        replace(
            stored,
            memory_id=newer,
            obtained_at=cut.again,
            stated_at=stated_at,
            sources=cut.late,
        ),
    )
    return Parted([*chain[:place], *halves, *chain[place + 1 :]], parts, write, links)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The two sides of a version.

    Attributes:
        early, late: The messages on each side.
        is_late: Whether the version was stated on the later side where it was obtained.
        again, role: When the later side begins, and who says it then.
    """

    early: tuple[SourceMessage, ...]
    late: tuple[SourceMessage, ...]
    is_late: bool
    again: datetime
    role: str


def _cut(version: Memory, stored: StoredVersion, at: datetime) -> _Cut | None:
    """Cut a version at a time; None: it stays whole."""
    until = version.superseded_at
    late = tuple(
        source
        for source in stored.sources
        if at < stored.said_at(source) and (until is None or stored.said_at(source) < until)
    )
    early = tuple(source for source in stored.sources if source not in late)
    stated_at = stored.stated_at or version.obtained_at
    is_late = stated_at > at
    # What was put away is not brought back, and no side is without anybody who says it.
    if not late or (not early if is_late else version.archived):
        return None
    again, role = withdrawal.first_said(stored, late)
    if is_late and stated_at <= again:
        again, role = stated_at, stored.stated_role or version.source_role
    return _Cut(early, late, is_late, again, role)


def _new_before(
    version: Memory, below: Memory | None, stored: StoredVersion, cut: _Cut, memory_id: str
) -> tuple[MemoryWrite, tuple[SourceLink, ...]]:
    """Return what makes the earlier side a version of its own, after the one below it."""
    before = (below.memory_id, below.superseded_at) if below else (None, None)
    write = replace(
        _write(version, stored, cut.early, memory_id),
        predecessor_id=before[0],
        predecessor_superseded_at=before[1],
        successor_id=version.memory_id,
        superseded_at=cut.again,
    )
    begins = Beginning(cut.again, version.obtained_at, cut.role, *before)
    links = (_moved(cut.early, version, memory_id), SourceLink(version.memory_id, (), begins))
    return write, links


def _new_after(
    version: Memory, stored: StoredVersion, cut: _Cut, memory_id: str
) -> tuple[MemoryWrite, tuple[SourceLink, ...]]:
    """Return what makes the later side a version of its own."""
    is_head = version.superseded_at is None
    write = replace(
        _write(version, stored, cut.late, memory_id),
        obtained_at=cut.again,
        source_role=cut.role,
        predecessor_id=version.memory_id,
        predecessor_superseded_at=cut.again,
        successor_id=version.superseded_by,
        superseded_at=version.superseded_at,
        replaces_head=version.memory_id if is_head else None,
    )
    return write, (_moved(cut.late, version, memory_id),)


def _write(
    version: Memory, stored: StoredVersion, sources: Sequence[SourceMessage], memory_id: str
) -> MemoryWrite:
    """Return a version that says the same, obtained from the first of these messages."""
    first = min(sources, key=stored.said_at)
    own = first.interaction_id == version.interaction_id
    origin = version if own else first
    return MemoryWrite(
        memory_id=memory_id,
        chain_id=version.chain_id,
        text=version.memory,
        obtained_at=version.obtained_at,
        content_hash=content_hash(neutral(version.memory)),
        agent_id=origin.agent_id,
        interaction_id=origin.interaction_id,
        memory_type=version.memory_type,
        importance=version.importance,
        tags=tuple(version.tags),
        entities=tuple(version.entities),
        relations=tuple(version.relations),
        metadata=dict(version.metadata),
        expires_at=version.expires_at,
        pinned=version.pinned,
        source_role=version.source_role,
        confidence=version.confidence if own else None,
        external_id=version.external_id if own else None,
        import_id=origin.import_id,
        process_id=origin.process_id,
    )


def _moved(sources: Sequence[SourceMessage], version: Memory, memory_id: str) -> SourceLink:
    places = tuple(
        SourceRef(source.interaction_id, source.position, source.prefix_hash, source.said_at)
        for source in sources
    )
    return SourceLink(memory_id, places, moved_from=version.memory_id)
