"""What taking an import back does to chains and conversations: decisions over values."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from memora.core import rejoining, withdrawal
from memora.core.withdrawal import ChainWithdrawal, Unlinking
from memora.errors import ConflictError
from memora.schema.imports import ImportRun, UndoCounts
from memora.schema.jobs import ExtractionJob
from memora.schema.models import Interaction, MessageBlock
from memora.schema.sources import StoredVersion

# What of an interaction an import may change besides its messages.
_TEXTS = ("title", "metadata", "participants")
_TIMES = ("updated_at", "last_activity_at")
_TRANSCRIPT = ("revision", "message_count", "content_hash")


@dataclass(frozen=True, slots=True)
class CutSource:
    """A version that came from a message that is cut, and when that said it, if it is known."""

    memory_id: str
    said_at: datetime | None


@dataclass(frozen=True, slots=True)
class CutMessage:
    """A message that an import's update dropped from a conversation.

    Attributes:
        import_id: Of the import that had written it.
        sources: Versions that came from it.
    """

    message: MessageBlock
    prefix_hash: str
    import_id: str | None
    sources: tuple[CutSource, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation as an import found it.

    Attributes:
        before, after: Its fields before the import's first write, and after its last.
        keep: How many of the messages that it had are still there.
        cut: The others.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    keep: int
    cut: tuple[CutMessage, ...] = ()

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        cut = [
            {
                **each.message.model_dump(mode="json", exclude_none=True),
                "prefix_hash": each.prefix_hash,
                "import_id": each.import_id,
                "memory_ids": [source.memory_id for source in each.sources],
                "said_at": [
                    source.said_at and source.said_at.isoformat() for source in each.sources
                ],
            }
            for each in self.cut
        ]
        return {"before": self.before, "after": self.after, "keep": self.keep, "cut": cut}

    @classmethod
    def from_json(cls, text: str | None) -> Found | None:
        """Return what is stored; None: the import created the conversation."""
        if text is None:
            return None
        fields = json.loads(text)
        if fields.keys() == {"told"}:
            # Builds before kept here what an import that created a conversation made begin earlier.
            return None
        return cls(
            fields["before"], fields["after"], fields["keep"], tuple(map(_cut, fields["cut"]))
        )


def _cut(fields: dict[str, Any]) -> CutMessage:
    prefix_hash, import_id = fields.pop("prefix_hash"), fields.pop("import_id")
    memory_ids, said_at = fields.pop("memory_ids"), fields.pop("said_at", [])
    sources = tuple(
        CutSource(memory_id, at and datetime.fromisoformat(at))
        for memory_id, at in zip_longest(memory_ids, said_at)
    )
    return CutMessage(MessageBlock.model_validate(fields), prefix_hash, import_id, sources)


def found(
    before: Interaction, after: Interaction, keep: int, cut: Sequence[CutMessage] = ()
) -> Found:
    """Return what an import's write to a conversation found.

    Args:
        before: The interaction before the write.
        after: The interaction after it.
        keep: Messages that stayed.
        cut: Messages that went.
    """
    return Found(_fields(before), _fields(after), keep, tuple(cut))


def _fields(interaction: Interaction) -> dict[str, Any]:
    names = {*_TEXTS, *_TIMES, *_TRANSCRIPT}
    return interaction.model_dump(mode="json", include=names)


@dataclass(frozen=True, slots=True)
class Change:
    """One import's part in one conversation.

    Attributes:
        revision: That of the conversation after the import's last write.
        found: What was there before; None: the import created the conversation.
    """

    import_id: str
    interaction_id: str
    revision: int
    found: Found | None

    def to_json(self) -> str | None:
        """Return what was found as it is stored, by every adapter alike."""
        if self.found is None:
            return None
        return json.dumps(self.found.to_fields(), ensure_ascii=False, separators=(",", ":"))


def merged(earlier: Found | None, later: Found | None) -> Found | None:
    """Return what two writes found together, of which the second came after the first."""
    if earlier is None or later is None:
        return None
    # Of what the second cut, only what the first had left was there before both.
    cut = [each for each in later.cut if each.message.msg_position < earlier.keep]
    return Found(earlier.before, later.after, min(earlier.keep, later.keep), (*cut, *earlier.cut))


class Verdict(StrEnum):
    """What becomes of a conversation when an import is taken back."""

    REMOVE = "remove"
    RESTORE = "restore"
    HAND_OVER = "hand_over"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a conversation.

    Attributes:
        heir: Of one that is handed over: the later import that it belongs to now, with all that
            both found; None: it belongs to whoever continued it.
    """

    verdict: Verdict
    heir: Change | None = None


def settle(
    own: Change,
    others: Sequence[Change],
    interaction: Interaction,
    writers: Collection[str | None],
) -> Settlement:
    """Decide what becomes of a conversation when an import is taken back.

    One that the import created goes, and one that it updated is as before. But who continues a
    conversation states all of it, so the transcript that others have continued since is theirs.

    Args:
        own: The import's part.
        others: The parts of other imports.
        interaction: The conversation as it is.
        writers: Imports that wrote the messages from where `own` began; None: somebody else did.
    """
    if set(writers) <= {own.import_id}:
        if own.found is None:
            return Settlement(Verdict.REMOVE)
        if interaction.revision == own.revision:
            return Settlement(Verdict.RESTORE)
    later = [each for each in others if each.revision > own.revision]
    if None in writers or not later:
        return Settlement(Verdict.HAND_OVER)
    heir = min(later, key=lambda each: each.revision)
    heir = replace(heir, found=merged(own.found, heir.found))
    return Settlement(Verdict.HAND_OVER, heir)


def restored(interaction: Interaction, given: Found) -> dict[str, Any]:
    """Return the fields that a conversation gets back; times are times again.

    What somebody has changed since without touching the messages stays as it is.
    """
    now = _fields(interaction)
    fields = {name: given.before[name] for name in _TRANSCRIPT}
    for name in _TEXTS:
        changed = now[name] != given.after[name]
        fields[name] = now[name] if changed else given.before[name]
    is_touched = now["updated_at"] != given.after["updated_at"]
    for name in _TIMES:
        fields[name] = datetime.fromisoformat((now if is_touched else given.before)[name])
    return fields


def decide(stored: Sequence[StoredVersion], import_id: str) -> ChainWithdrawal:
    """Decide what a chain loses when an import is taken back.

    The import's versions go, but for those that another message states too: they stay, as obtained
    there. No other version goes, whatever it came from. Those that stay begin when what is left
    says it first, and what only the import came between is one version again.

    Args:
        stored: All versions, from the oldest to the newest; `import_id` of a source message is that
            of the import which wrote the message.
        import_id: The import.
    """
    removed: list[str] = []
    unlinked: dict[str, Unlinking] = {}
    for version in stored:
        lost = tuple(source for source in version.sources if source.import_id == import_id)
        kept = [source for source in version.sources if source not in lost]
        obtained = version.author is None and version.import_id == import_id
        role, origin = version.source_role, None
        if obtained and not kept:
            removed.append(version.memory_id)
            continue
        if obtained:
            role, origin = withdrawal.trust(kept), min(kept, key=version.said_at)
        if obtained or lost:
            unlinked[version.memory_id] = Unlinking(version.memory_id, lost, role, origin)
    begun = rejoining.begun(stored, unlinked)
    left, joined = rejoining.rejoined(begun, removed)
    gone = [*removed, *(each.memory_id for each in joined)]
    roles = {version.memory_id: version.source_role for version in stored}
    for memory_id, role in ((version.memory_id, version.source_role) for version in left):
        if role != roles[memory_id]:
            known = unlinked.get(memory_id) or Unlinking(memory_id, (), role)
            unlinked[memory_id] = replace(known, source_role=role)
    still = [each for each in unlinked.values() if each.memory_id not in gone]
    return replace(withdrawal.rechained(left, gone, still, stored=stored), joined=tuple(joined))


def counts_in(
    chain: Sequence[StoredVersion], import_id: str, interaction_ids: Collection[str]
) -> bool:
    """Tell whether a chain is counted with these conversations, and so with no others."""
    places = [
        *(version.interaction_id for version in chain if version.import_id == import_id),
        *(
            source.interaction_id
            for version in chain
            for source in version.sources
            if source.import_id == import_id
        ),
    ]
    return min((place for place in places if place), default=None) in interaction_ids


def counted(done: ChainWithdrawal) -> UndoCounts:
    """Return what a chain adds to the receipt."""
    return UndoCounts(
        memories=len(done.removed),
        restored=len(done.restored),
        unlinked=sum(bool(each.lost) for each in done.unlinked),
    )


def bounded(conversations: Sequence[tuple[str, int]], messages: int) -> list[str]:
    """Return the first conversations that together have no more messages, but at least one.

    Args:
        conversations: Ids and numbers of messages.
        messages: How many one transaction may hold.
    """
    picked: list[str] = []
    for interaction_id, size in conversations:
        messages -= size
        if picked and messages < 0:
            break
        picked.append(interaction_id)
    return picked


def taken(wanted: ImportRun, known: ImportRun) -> ConflictError:
    """Return the error for an import that cannot begin under an id that is known."""
    own = wanted.user_id == known.user_id
    actual = known.status.value if own else "a taken one"
    return ConflictError("import", wanted.import_id, expected="a free id", actual=actual)


def belongs(job: ExtractionJob, import_id: str) -> bool:
    """Tell whether a job brings in memories of the import."""
    return job.params.get("import_id") == import_id
