"""Version chains: where a new version goes, what is current, and what taking versions out leaves.

A chain is ordered by `obtained_at`. A version is valid from its `obtained_at` to its
`superseded_at`; the head is the one without. At most one version is the head; a chain whose head
was deleted or retracted has none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from memora.schema.models import Memory


class _Linked(Protocol):
    """A version that names its successor."""

    @property
    def memory_id(self) -> str: ...
    @property
    def successor_id(self) -> str | None: ...


_L = TypeVar("_L", bound=_Linked)


def oldest_first(chain: Sequence[_L]) -> list[_L]:
    """Order the versions of a chain by their links.

    Times alone leave versions of one moment undecided, and so does the order in which they were
    stored: one of them may have begun later before. A damaged chain, which doctor reports, stays
    as it is given.
    """
    by_id = {version.memory_id: version for version in chain}
    followed = {version.successor_id for version in chain}
    version = next((each for each in chain if each.memory_id not in followed), None)
    ordered: dict[str, _L] = {}
    while version is not None and version.memory_id not in ordered:
        ordered[version.memory_id] = version
        version = by_id.get(version.successor_id or "")
    return list(ordered.values() if len(ordered) == len(chain) else chain)


def newest_first(chain: Sequence[Memory]) -> list[Memory]:
    """Order memories by their links, as `oldest_first`, but from the newest to the oldest.

    Args:
        chain: All versions; a damaged chain stays as it is given.
    """
    by_id = {version.memory_id: version for version in chain}
    links = [Link(version.memory_id, version.superseded_by) for version in reversed(chain)]
    return [by_id[link.memory_id] for link in reversed(oldest_first(links))]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a new version of a chain goes; the fields are `MemoryWrite`'s."""

    chain_id: str
    predecessor_id: str | None
    predecessor_superseded_at: datetime | None
    successor_id: str | None
    superseded_at: datetime | None
    replaces_head: str | None


def place(chain: Sequence[Memory], obtained_at: datetime) -> Placement:
    """Decide where a version obtained at that time goes in an existing chain.

    A version as new as the newest one, or newer, becomes the head; an older one goes below the
    first newer version and is a past version from the start. Inserted into the time of a version
    that ended before its successor began, it ends there too: the gap of a purge stays a gap.

    Args:
        chain: All versions, newest first (as `graph.get_user_memory_history` returns them).
        obtained_at: Time of the new version.
    """
    newer = [version for version in chain if version.obtained_at > obtained_at]
    below = [version for version in chain if version.obtained_at <= obtained_at]
    predecessor = below[0] if below else None
    successor = newer[-1] if newer else None
    head = next((version for version in chain if version.is_current), None)
    ended = predecessor.superseded_at if predecessor else None
    superseded_at = None if successor is None else successor.obtained_at
    if superseded_at is not None and ended is not None and obtained_at < ended:
        superseded_at = min(superseded_at, ended)
    return Placement(
        chain_id=chain[0].chain_id,
        predecessor_id=predecessor.memory_id if predecessor else None,
        predecessor_superseded_at=min(ended or obtained_at, obtained_at) if predecessor else None,
        successor_id=successor.memory_id if successor else None,
        superseded_at=superseded_at,
        replaces_head=head.memory_id if head and successor is None else None,
    )


def version_at(chain: Sequence[Memory], as_of: datetime | None) -> Memory | None:
    """Return the version that is current (`as_of` None) or was current at that time.

    Args:
        chain: All versions, newest first.
        as_of: A time of the conversation.
    """
    for version in chain:
        if as_of is None:
            if version.is_current:
                return version
        elif version.obtained_at <= as_of and (
            version.superseded_at is None or as_of < version.superseded_at
        ):
            return version
    return None


@dataclass(frozen=True, slots=True)
class Link:
    """One version's place in its chain, as far as deleting needs it."""

    memory_id: str
    successor_id: str | None


def relink(chain: Sequence[Link], purged: Collection[str]) -> list[Link]:
    """Return the changed links of the versions that remain when `purged` are taken out.

    Times do not change: the gap that a purged version leaves stays a gap, so no older version
    becomes current again, today or `as_of` any time.

    Args:
        chain: Versions from the oldest to the newest.
        purged: Ids that go.
    """
    remaining = [link for link in chain if link.memory_id not in purged]
    changed: list[Link] = []
    for index, link in enumerate(remaining):
        follower = remaining[index + 1].memory_id if index + 1 < len(remaining) else None
        if link.successor_id != follower and (
            link.successor_id is None or link.successor_id in purged
        ):
            changed.append(Link(link.memory_id, follower))
    return changed


@dataclass(frozen=True, slots=True)
class Span:
    """One version's place in its chain and the time for which it is valid."""

    memory_id: str
    obtained_at: datetime
    superseded_at: datetime | None
    successor_id: str | None


def withdraw(
    chain: Sequence[Span], removed: Collection[str], stored: Sequence[Span] | None = None
) -> list[Span]:
    """Return the changed versions of a chain from which `removed` are taken as if never written.

    Unlike a purge this leaves no gap: a version whose time was cut short by a removed one gets
    that one's time back, and so is current again where the removed one was. What ended before, or
    ended the removed one (a retraction, a purge), still ends there.

    Args:
        chain: Versions from the oldest to the newest.
        removed: Ids that go.
        stored: The chain as it is stored, where that is another.
    """
    remaining: list[Span] = []
    for span in chain:
        if span.memory_id not in removed:
            remaining.append(span)
        elif remaining and remaining[-1].superseded_at == span.obtained_at:
            remaining[-1] = replace(remaining[-1], superseded_at=span.superseded_at)
    followers = [*(span.memory_id for span in remaining[1:]), None]
    linked = [
        replace(span, successor_id=follower)
        for span, follower in zip(remaining, followers, strict=False)
    ]
    known = set(chain if stored is None else stored)
    return [span for span in linked if span not in known]
