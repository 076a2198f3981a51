"""What taking a source back does to a chain: which versions go, and which only lose their links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from memora.core import authority, versions
from memora.core.hashing import tombstone
from memora.core.versions import Span
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.sources import (
    SourceKind,
    SourceMessage,
    SourceSelector,
    StoredVersion,
    Withdrawal,
)


@dataclass(frozen=True, slots=True)
class Unlinking:
    """A version that stays and loses these source messages.

    Attributes:
        source_role: Its trust without them: nothing that was withdrawn vouches for it any more.
        origin: The message that it counts as obtained from now; None: that stays.
    """

    memory_id: str
    lost: tuple[SourceMessage, ...]
    source_role: str
    origin: SourceMessage | None = None


@dataclass(frozen=True, slots=True)
class Joining:
    """A version that goes because another one says the same, which gets these source messages."""

    memory_id: str
    into: str
    sources: tuple[SourceMessage, ...]


@dataclass(frozen=True, slots=True)
class ChainWithdrawal:
    """What is written to one chain.

    Attributes:
        removed: Versions that go.
        changed: Places and times of versions that stay, where they are others than before.
        restored: Those of them that are current again.
        unlinked: Versions that lose source messages.
        statements: Prefix hash and content hash of every pair of a message of the source and a
            statement read from it: what tombstones are made of.
        joined: Versions among the removed ones that are part of another one again.
    """

    chain_id: str
    removed: tuple[str, ...]
    changed: tuple[Span, ...]
    restored: tuple[str, ...]
    unlinked: tuple[Unlinking, ...]
    statements: tuple[tuple[str, str], ...]
    joined: tuple[Joining, ...] = ()

    @property
    def touched(self) -> tuple[str, ...]:
        """Every version that the vector store has to look at again."""
        return (
            *self.removed,
            *(span.memory_id for span in self.changed),
            *(unlinking.memory_id for unlinking in self.unlinked),
        )

    @property
    def outcome(self) -> Withdrawal:
        """What the caller is told."""
        unlinked = tuple(unlinking.memory_id for unlinking in self.unlinked)
        return Withdrawal(self.removed, self.restored, unlinked)

    def marks(self, salt: str) -> set[str]:
        """Return the tombstones that keep these statements from being extracted again (I12)."""
        return {tombstone(salt, prefix, content) for prefix, content in self.statements}


def decide(chain: Sequence[StoredVersion], selector: SourceSelector) -> ChainWithdrawal:
    """Decide what a chain loses when a source is taken back.

    A version goes when it was obtained from the source, or stated by it, and no message of another
    one states it. One that others state too, or that was made by hand, stays and loses the links.

    Args:
        chain: All versions, from the oldest to the newest.
        selector: The source.
    """
    removed: list[str] = []
    unlinked: list[Unlinking] = []
    statements: list[tuple[str, str]] = []
    for version in chain:
        lost = tuple(source for source in version.sources if _is_of(source, version, selector))
        kept = [source for source in version.sources if source not in lost]
        obtained = is_obtained_from(version, selector)
        # Whoever repeats a planted statement elsewhere must not keep it alive: what messages said
        # goes with the last of them, also where it was obtained from one that went before.
        by_messages = version.interaction_id is not None and version.source_role != "api"
        stated = bool(lost) and by_messages and version.author is None
        if (obtained or stated) and not kept:
            removed.append(version.memory_id)
        elif lost:
            role = trust(kept) if obtained else version.source_role
            unlinked.append(Unlinking(version.memory_id, lost, role))
        statements += [(source.prefix_hash, version.content_hash) for source in lost]
    return rechained(chain, removed, unlinked, statements)


def rechained(
    chain: Sequence[StoredVersion],
    removed: Sequence[str],
    unlinked: Sequence[Unlinking],
    statements: Sequence[tuple[str, str]] = (),
    stored: Sequence[StoredVersion] | None = None,
) -> ChainWithdrawal:
    """Return what is written to a chain from which versions are taken as if never written.

    Args:
        chain: All versions, from the oldest to the newest.
        removed: Versions that go.
        unlinked: Versions that lose source messages.
        statements: As in `ChainWithdrawal`; each counts once.
        stored: The chain as it is stored, where that is another.
    """
    before = chain if stored is None else stored
    known = _spans(before)
    ended = {span.memory_id for span in known if span.superseded_at is not None}
    changed = versions.withdraw(_spans(chain), frozenset(removed), known)
    return ChainWithdrawal(
        chain_id=before[0].chain_id,
        removed=tuple(removed),
        changed=tuple(changed),
        restored=tuple(
            span.memory_id
            for span in changed
            if span.superseded_at is None and span.memory_id in ended
        ),
        unlinked=tuple(unlinked),
        statements=tuple(dict.fromkeys(statements)),
    )


def _spans(chain: Sequence[StoredVersion]) -> list[Span]:
    return [
        Span(each.memory_id, each.obtained_at, each.superseded_at, each.successor_id)
        for each in chain
    ]


def is_obtained_from(version: StoredVersion, selector: SourceSelector) -> bool:
    """Tell whether the source made this version; nothing but its author makes one by hand."""
    return version.author is None and getattr(version, selector.field) == selector.source_id


def cancels(job: ExtractionJob, selector: SourceSelector) -> bool:
    """Tell whether a job would bring in memories of the source."""
    given: Mapping[SourceKind, Any] = {
        SourceKind.INTERACTION: job.interaction_id,
        SourceKind.AGENT: job.agent_id,
        SourceKind.IMPORT: job.params.get("import_id"),
        SourceKind.PROCESS: job.params.get("process_id"),
    }
    return given[selector.kind] == selector.source_id


def cancelled(job: ExtractionJob, now: datetime) -> ExtractionJob:
    """Return the job as closed, with one more attempt than its worker knows of.

    So an answer that comes late is refused, as that of a worker that was overtaken.
    """
    return replace(
        job,
        status=JobStatus.DONE,
        attempts=job.attempts + 1,
        outputs={},
        error="its source was withdrawn",
        lease_until=None,
        updated_at=max(now, job.updated_at + timedelta(microseconds=1)),
    )


def _is_of(source: SourceMessage, version: StoredVersion, selector: SourceSelector) -> bool:
    """Tell whether a source message belongs to the source that is taken back.

    An interaction has one agent and one import, but others may have continued it: for the
    messages that a version was obtained from, what the version itself says is the truth.
    """
    own = source.interaction_id == version.interaction_id
    return getattr(version if own else source, selector.field) == selector.source_id


def first_said(version: StoredVersion, sources: Sequence[SourceMessage]) -> tuple[datetime, str]:
    """Return when, and with which trust, the first of these messages of a version said it."""
    first = min(sources, key=version.said_at)
    talk = [source for source in sources if source.interaction_id == first.interaction_id]
    return version.said_at(first), trust(talk)


def trust(sources: Sequence[SourceMessage]) -> str:
    """Return the trust of a statement that was read in each of these conversations."""
    roles: dict[str, list[str]] = {}
    for source in sources:
        roles.setdefault(source.interaction_id, []).append(source.role)
    return max((authority.least_trusted(each) for each in roles.values()), key=authority.rank)
