"""What is left of a chain when some of what was said is taken back: when its versions begin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from memora.core import authority, withdrawal
from memora.core.withdrawal import Joining, Unlinking
from memora.schema.sources import StoredVersion


def begun(
    stored: Sequence[StoredVersion], unlinked: Mapping[str, Unlinking]
) -> list[StoredVersion]:
    """Return a chain whose versions begin when what is left says it first.

    Args:
        stored: All versions, from the oldest to the newest.
        unlinked: What versions lose, by memory id; with `origin` also what they were obtained from.
    """
    chain = list(stored)
    for place in reversed(range(len(chain))):
        version = chain[place]
        following = chain[place + 1] if place + 1 < len(chain) else None
        was = stored[place + 1].obtained_at if following else None
        begins = _beginning(version, unlinked.get(version.memory_id))
        if begins is None and following is not None and was == version.obtained_at:
            begins = _with_next(version, following)
        if begins is None:
            continue
        at, role = begins
        if version.superseded_at is not None and at > version.superseded_at:
            continue
        chain[place] = replace(version, obtained_at=at, source_role=role)
        if place and chain[place - 1].superseded_at == version.obtained_at:
            chain[place - 1] = replace(chain[place - 1], superseded_at=at)
    return chain


def _beginning(version: StoredVersion, loses: Unlinking | None) -> tuple[datetime, str] | None:
    """Return when and by whom a version is stated that loses its beginning; None: it keeps it."""
    if loses is None:
        return None
    kept = [source for source in version.sources if source not in loses.lost]
    if loses.origin is not None:
        return withdrawal.first_said(version, kept)[0], loses.source_role
    if version.stated_at is None or version.stated_role is None:
        return None
    if all(version.said_at(source) > version.obtained_at for source in loses.lost):
        return None
    own = (version.stated_at, version.stated_role)
    first = withdrawal.first_said(version, kept) if kept else own
    return min(own, first, key=lambda begins: begins[0])


def _with_next(version: StoredVersion, following: StoredVersion) -> tuple[datetime, str] | None:
    """Return the beginning of a version that was said before only as the next one was."""
    if version.stated_at is None or version.stated_role is None:
        return None
    if following.obtained_at == version.obtained_at:
        return None
    if version.stated_at <= following.obtained_at:
        return version.stated_at, version.stated_role
    return following.obtained_at, following.source_role


def rejoined(
    chain: Sequence[StoredVersion], removed: Collection[str]
) -> tuple[list[StoredVersion], list[Joining]]:
    """Return what is left of a chain, with versions that only removed ones parted made one again.

    Of two such versions that one stays which was recorded first.

    Args:
        chain: All versions, from the oldest to the newest.
        removed: Ids that go.
    """
    left: list[StoredVersion] = []
    joined: list[Joining] = []
    is_gap = False
    for version in chain:
        before = left[-1] if left else None
        if version.memory_id in removed:
            if before is not None and before.superseded_at == version.obtained_at:
                left[-1] = replace(before, superseded_at=version.superseded_at)
            is_gap = True
            continue
        if is_gap and before is not None and _is_one(before, version):
            one, joining = _joined(before, version)
            left[-1] = one
            joined.append(joining)
        else:
            left.append(version)
        is_gap = False
    return left, joined


def _is_one(before: StoredVersion, version: StoredVersion) -> bool:
    """Tell whether the second would have been a source of the first, and nobody changed either."""
    return (
        before.content_hash == version.content_hash
        and before.superseded_at == version.obtained_at
        and before.author is None
        and version.author is None
        and (before.pinned, before.archived) == (version.pinned, version.archived)
        and authority.rank(version.source_role) <= authority.rank(before.source_role)
    )


def _joined(before: StoredVersion, version: StoredVersion) -> tuple[StoredVersion, Joining]:
    first_is_older = before.recorded_at <= version.recorded_at
    one, other = (before, version) if first_is_older else (version, before)
    sources = tuple(source for source in other.sources if source not in one.sources)
    whole = replace(
        one,
        obtained_at=before.obtained_at,
        source_role=before.source_role,
        superseded_at=version.superseded_at,
        sources=(*one.sources, *sources),
    )
    return whole, Joining(other.memory_id, one.memory_id, sources)
