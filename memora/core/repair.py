"""What repairs a store: decisions over values, shared by all adapters.

Nothing here deletes what cannot be made again. Times are numbers of microseconds, as stored: a
damaged one may lie outside of the calendar.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from memora.core.hashing import tombstone
from memora.core.ids import derived_memory_id, derived_short_id
from memora.core.indexing import payload
from memora.core.messages import EMPTY_HASH, message_hash
from memora.schema.findings import Finding, FindingKind
from memora.schema.index import IndexDocument, IndexEntry
from memora.schema.models import MessageBlock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The calendar of `datetime`, in microseconds since 1970.
FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
# A store time may be that far ahead before it counts as wrong: clocks of machines differ.
AHEAD = timedelta(days=1)
# Leases last minutes, and so does the longest pause between two tries of an outbox entry.
WAIT = timedelta(hours=1)

# What stands for an agent whose record is lost.
LOST_AGENT_LABEL = "deleted agent"
# Metadata field that keeps an external id which a second interaction had.
FORMER_EXTERNAL_ID = "former_external_id"
# Metadata field of an interaction that was made for messages whose places were taken.
RECOVERED_FROM = "recovered_from"


def limits(now: datetime) -> dict[str, int]:
    """Return what the checks compare times with, as parameters of their queries."""
    at = (now - _EPOCH) // _MICROSECOND
    return {
        "first": FIRST,
        "last": LAST,
        "now": at,
        "ahead": min(at + AHEAD // _MICROSECOND, LAST),
        "wait": min(at + WAIT // _MICROSECOND, LAST),
    }


@dataclass(frozen=True, slots=True)
class Version:
    """One version's place in its chain, as stored."""

    memory_id: str
    successor_id: str | None
    obtained_at: int
    superseded_at: int | None


def rebuilt(chain: Sequence[Version]) -> list[Version]:
    """Return the versions of a damaged chain whose place changes, oldest first.

    Each is followed by the next one. A past version keeps the time at which it ended where that
    lies between its own time and its successor's; else it ended when its successor began. Only the
    newest version can be current, and only if it was: nothing older becomes current again (B54).

    Args:
        chain: All versions, in the order in which they were obtained, then recorded.
    """
    changed: list[Version] = []
    for version, later in zip(chain, [*chain[1:], None], strict=True):
        ended = version.superseded_at
        if later is None:
            fixed = replace(
                version,
                successor_id=None,
                superseded_at=None if ended is None else max(ended, version.obtained_at),
            )
        else:
            is_valid = ended is not None and version.obtained_at <= ended <= later.obtained_at
            fixed = replace(
                version,
                successor_id=later.memory_id,
                superseded_at=ended if is_valid else later.obtained_at,
            )
        if fixed != version:
            changed.append(fixed)
    return changed


def in_cycles(successors: Mapping[str, str | None]) -> list[str]:
    """Return the versions of a chain whose successors lead round and round.

    Args:
        successors: Of each version of the chain its successor, which may be in another one.
    """
    leads_out: dict[str, bool] = {}
    for start in successors:
        path: dict[str, None] = {}
        version = start
        while version in successors and version not in leads_out and version not in path:
            path[version] = None
            version = successors[version] or ""
        out = version not in path and leads_out.get(version, True)
        leads_out |= dict.fromkeys(path, out)
    return [version for version, out in leads_out.items() if not out]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a version of a damaged chain goes."""

    user_id: str
    chain_id: str
    version: Version


def straightened(versions: Sequence[tuple[str, Version]], chain_id: str) -> list[Placed]:
    """Return every version of a damaged chain that changes, with the chain it is in then.

    A chain is one user's. Whoever has the version that gave it its name keeps it, else who has the
    oldest; the versions of each other user become a chain of their own.

    Args:
        versions: All versions that carry the chain's id, each with its user, in the order in which
            they were obtained, then recorded.
        chain_id: That id.
    """
    chains: dict[str, list[Version]] = {}
    for user_id, version in versions:
        chains.setdefault(user_id, []).append(version)
    named = [user_id for user_id, version in versions if version.memory_id == chain_id]
    keeper = named[0] if named else next(iter(chains), None)
    changed: list[Placed] = []
    for user_id, chain in chains.items():
        own = chain_id if user_id == keeper else chain[0].memory_id
        placed = {version.memory_id: version for version in rebuilt(chain)}
        changed += [
            Placed(user_id, own, placed.get(version.memory_id, version))
            for version in chain
            if own != chain_id or version.memory_id in placed
        ]
    return changed


def came_back(
    salt: str,
    content_hash: str,
    prefix_hashes: Collection[str],
    recorded_at: int,
    purged_at: Mapping[str, int | None],
) -> bool:
    """Tell whether a statement was stored after it was purged from all its messages (I12).

    Args:
        salt: The user's.
        content_hash: Of the statement.
        prefix_hashes: Of the messages that it comes from.
        recorded_at: When it was stored, in microseconds.
        purged_at: By tombstone when it was made; None: nobody knows, so nothing is said.
    """
    marks = [tombstone(salt, prefix_hash, content_hash) for prefix_hash in prefix_hashes]
    purges = [purged_at.get(mark) for mark in marks]
    return bool(purges) and all(at is not None and at < recorded_at for at in purges)


def fresh_id(kind: str, record_id: str, number: int) -> str:
    """Return the id that the further record of a doubled key gets; the same in every run."""
    derive = derived_memory_id if kind == "Memory" else derived_short_id
    return derive("second record of one key", kind, record_id, str(number))


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an interaction says of its messages, and what is there.

    Attributes:
        found: Number of messages; whole: their positions are 0 to found - 1.
        last_hash: Prefix hash of the last one; empty without any.
    """

    message_count: int
    content_hash: str
    found: int
    whole: bool
    last_hash: str


def recounted(transcript: Transcript) -> tuple[int, str] | None:
    """Return count and hash as they must be, or None when that cannot be known.

    One of the two may be wrong: the other one then says that no message is lost.
    """
    count_fits = transcript.message_count == transcript.found
    hash_fits = transcript.content_hash == transcript.last_hash
    if not transcript.whole or not (count_fits or hash_fits):
        return None
    return transcript.found, transcript.last_hash


@dataclass(frozen=True, slots=True)
class SeenMessage:
    """A stored message; `key` is the store's own name of it."""

    key: str
    message: MessageBlock
    prefix_hash: str

    def hash_after(self, before: str) -> str:
        """Return its prefix hash where it follows a message of that hash."""
        block = self.message
        return message_hash(before, block.role, block.content, block.name, block.data)


def surplus(messages: Sequence[SeenMessage], content_hash: str) -> list[SeenMessage]:
    """Return the messages that share their places with others, as a transcript of their own.

    Of two messages at one place, the one that the hashes after it were made with belongs to the
    interaction (B26).

    Args:
        messages: All messages of an interaction by position; equal ones in any stable order.
        content_hash: What the interaction says is the last one's.
    """
    places: dict[int, list[SeenMessage]] = {}
    for message in messages:
        places.setdefault(message.message.msg_position, []).append(message)
    kept: set[str] = set()
    after: SeenMessage | None = None
    for position in sorted(places, reverse=True):
        here = places[position]
        fitting = [
            message
            for message in here
            if (
                message.prefix_hash == content_hash
                if after is None
                else after.hash_after(message.prefix_hash) == after.prefix_hash
            )
        ]
        after = (fitting or here)[0]
        kept.add(after.key)
    others: list[SeenMessage] = []
    before = EMPTY_HASH
    for message in messages:
        if message.key not in kept:
            before = message.hash_after(before)
            others.append(replace(message, prefix_hash=before))
    return others


# Vectors


def compared(
    document: IndexDocument, entry: IndexEntry | None, model_id: str | None
) -> list[Finding]:
    """Return what is wrong with the vector of a memory."""

    def found(kind: FindingKind, detail: str) -> Finding:
        return Finding("I5", document.memory_id, detail, kind, document.org_id, document.user_id)

    if entry is None:
        return [found(FindingKind.MISSING_VECTOR, "no vector")]
    wanted = payload(document)
    owners = {
        (entry.org_id, entry.user_id),
        (entry.payload.get("org_id"), entry.payload.get("user_id")),
    }
    findings: list[Finding] = []
    if owners != {(document.org_id, document.user_id)}:
        kind = FindingKind.WRONG_TENANT_PAYLOAD
        findings.append(found(kind, "the vector has another owner"))
    if {entry.text_hash, entry.payload.get("text_hash")} != {document.text_hash}:
        findings.append(found(FindingKind.STALE_TEXT_HASH, "the vector is of another text"))
    if entry.model_id != model_id:
        findings.append(found(FindingKind.MODEL_MISMATCH, "the vector is of another model"))
    fields = _different(wanted, entry.payload) - {"org_id", "user_id", "text_hash"}
    if fields:
        detail = f"the vector has other filter values: {', '.join(sorted(fields))}"
        findings.append(found(FindingKind.STALE_PAYLOAD, detail))
    if not findings and not entry.searchable:
        findings.append(
            found(FindingKind.MISSING_VECTOR, "the engine does not have the vector as it is stored")
        )
    return findings


def _different(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> set[str]:
    return {name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name)}


def orphan(entry: IndexEntry) -> Finding:
    """Return the finding of a vector whose memory does not exist."""
    return Finding(
        "I6",
        entry.memory_id,
        "a vector without a memory",
        FindingKind.ORPHAN_VECTOR,
        entry.org_id or None,
        entry.user_id or None,
    )


# Order and words


class Phase(StrEnum):
    """When a finding is repaired; the phases follow each other in this order."""

    STRUCTURE = "structure"
    RECORDS = "records"
    UNIQUENESS = "uniqueness"
    INDEX = "index"
    OUTBOX = "outbox"
    VECTORS = "vectors"
    NEVER = "never"


_CHAIN = "rebuild the chain of versions in the order of their times"
_SYNC = "make the vector again from the memory"
_ACTIONS: dict[FindingKind, tuple[Phase, str]] = {
    FindingKind.ORPHAN_VECTOR: (Phase.VECTORS, "drop the vector"),
    FindingKind.MISSING_VECTOR: (Phase.VECTORS, _SYNC),
    FindingKind.STALE_TEXT_HASH: (Phase.VECTORS, _SYNC),
    FindingKind.STALE_PAYLOAD: (Phase.VECTORS, _SYNC),
    FindingKind.WRONG_TENANT_PAYLOAD: (
        Phase.VECTORS,
        "drop the vector, and make it again for the memory's owner",
    ),
    FindingKind.MODEL_MISMATCH: (Phase.INDEX, "make the vectors again with this store's model"),
    FindingKind.FORK: (Phase.RECORDS, _CHAIN),
    FindingKind.GAP: (Phase.RECORDS, _CHAIN),
    FindingKind.TWO_HEADS: (Phase.RECORDS, f"{_CHAIN}; only the newest version can be current"),
    FindingKind.CYCLE: (Phase.RECORDS, _CHAIN),
    FindingKind.DAMAGED_CHAIN: (Phase.RECORDS, _CHAIN),
    FindingKind.DANGLING_AGENT: (
        Phase.RECORDS,
        "put the agent back as a deleted one, under a neutral label",
    ),
    FindingKind.DUPLICATE_KEY: (
        Phase.RECORDS,
        "leave the key to the older record; the younger one keeps it as metadata, or gets another",
    ),
    FindingKind.TOMBSTONE_VIOLATION: (Phase.RECORDS, "end the statement; its history stays"),
    FindingKind.CLOCK_REGRESSION: (
        Phase.RECORDS,
        "move the time to the nearest one that is possible",
    ),
    FindingKind.STRAY_SOURCE: (Phase.RECORDS, "drop the link to a message that is not there"),
    FindingKind.STRAY_MENTION: (
        Phase.RECORDS,
        "drop the link or name, and make what follows from the memory again",
    ),
    FindingKind.MISSING_MENTION: (Phase.RECORDS, "link the memory to what it names again"),
    FindingKind.STUCK_OUTBOX: (Phase.OUTBOX, "make the work due again"),
    FindingKind.DAMAGED_TRANSCRIPT: (
        Phase.RECORDS,
        "count the messages again where none is lost; else a backup is needed",
    ),
    FindingKind.MISSING_OWNER: (Phase.NEVER, "nothing: a backup is needed"),
    FindingKind.INCOMPLETE_RECORD: (Phase.NEVER, "nothing: a backup is needed"),
}
_OF_VECTORS = {FindingKind.MODEL_MISMATCH, FindingKind.STALE_PAYLOAD}
_MAKE = "make what is missing again, empty where it is a table"


def phase(finding: Finding) -> Phase:
    """Return when the finding is repaired.

    Tables come before everything else, since nothing can be read without them; indexes and stamps
    after the records that they would refuse.
    """
    if finding.kind is FindingKind.HALF_MIGRATION:
        if finding.invariant == "I5":
            return Phase.INDEX
        return Phase.STRUCTURE if finding.blocks else Phase.UNIQUENESS
    if finding.kind in _OF_VECTORS:
        # What keeps the index from being opened goes before the rest is compared.
        return Phase.INDEX if finding.blocks else Phase.VECTORS
    return _ACTIONS[finding.kind][0]


def action(finding: Finding) -> str:
    """Return in words what repairs the finding."""
    return _MAKE if finding.kind is FindingKind.HALF_MIGRATION else _ACTIONS[finding.kind][1]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that can be repaired, in the order in which that is done."""
    place = {name: number for number, name in enumerate(Phase)}
    able = [finding for finding in findings if phase(finding) is not Phase.NEVER]
    return sorted(able, key=lambda finding: place[phase(finding)])
