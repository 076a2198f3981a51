"""Where memories come from, and what taking a source back did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from memora.errors import InvalidInputError
from memora.schema.validation import checked_id, kind_of


class SourceKind(StrEnum):
    """What a source of memories can be."""

    INTERACTION = "interaction"
    AGENT = "agent"
    IMPORT = "import"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class SourceSelector:
    """One source: an interaction, or all that an agent, an import or a process brought in.

    A memory comes from it when it was obtained in it, or has a source message in it. A message of
    the interaction that a memory was obtained in counts as that memory's own source; a message of
    any other interaction counts as a source of the agent, import or process of that interaction.
    A version that was made by hand was not obtained anywhere: it comes from its author.
    """

    kind: SourceKind
    source_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_id", checked_id(self.source_id, self.field))

    @property
    def field(self) -> str:
        """Name of the field that holds the source, on memories and interactions alike."""
        return f"{self.kind.value}_id"

    @classmethod
    def of(
        cls,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
    ) -> SourceSelector:
        """Return the selector for the one argument that is given.

        Raises:
            InvalidInputError: None is given, or several are.
        """
        named = {
            SourceKind.INTERACTION: interaction_id,
            SourceKind.AGENT: agent_id,
            SourceKind.IMPORT: import_id,
            SourceKind.PROCESS: process_id,
        }
        given = [(kind, source_id) for kind, source_id in named.items() if source_id is not None]
        if len(given) != 1:
            fields = ", ".join(f"{kind.value}_id" for kind in named)
            raise InvalidInputError("source", f"exactly one of {fields}", got=f"{len(given)}")
        return cls(*given[0])

    @classmethod
    def parse(cls, text: object, field: str = "source") -> SourceSelector:
        """Return the selector that `interaction:ID`, `agent:ID` and so on stand for.

        Raises:
            InvalidInputError: The text is not of this form.
        """
        kinds = [kind.value for kind in SourceKind]
        kind, _colon, source_id = text.partition(":") if isinstance(text, str) else ("", "", "")
        if not source_id.strip() or kind not in kinds:
            shapes = ", ".join(f"{name}:ID" for name in kinds)
            got = kind_of(text) if not isinstance(text, str) else "another text"
            raise InvalidInputError(field, f"one of {shapes}", got=got)
        return cls(SourceKind(kind), source_id)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.source_id}"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What taking a source out of a user's memories did (or, as a trial, would do).

    Attributes:
        removed: Versions that came from this source alone; their text and vectors are gone.
        restored: Versions that are current again.
        unlinked: Versions that stay, because they also come from elsewhere or were made by hand,
            and have lost their links to messages of this source.
        cancelled_jobs: Extractions of this source that were not done.
    """

    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    unlinked: tuple[str, ...] = ()
    cancelled_jobs: tuple[str, ...] = ()

    def __add__(self, other: Withdrawal) -> Withdrawal:
        return Withdrawal(
            self.removed + other.removed,
            self.restored + other.restored,
            self.unlinked + other.unlinked,
            self.cancelled_jobs + other.cancelled_jobs,
        )


@dataclass(frozen=True, slots=True)
class RollbackReceipt:
    """What a rollback did; ids only, so it may be kept.

    Attributes:
        source: What was rolled back.
        at: Store time of the rollback.
        removed, restored, unlinked, cancelled_jobs: As in `Withdrawal`.
        dry_run: Nothing was written: this is what a rollback would do.
        author: Who asked for it.
    """

    source: SourceSelector
    at: datetime
    removed: tuple[str, ...]
    restored: tuple[str, ...]
    unlinked: tuple[str, ...]
    cancelled_jobs: tuple[str, ...]
    dry_run: bool = False
    author: str | None = None


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """A message that a version came from.

    Attributes:
        agent_id, import_id, process_id: Those of its interaction.
        said_at: When it said so; None: not known.
    """

    interaction_id: str
    position: int
    role: str
    prefix_hash: str
    agent_id: str | None = None
    import_id: str | None = None
    process_id: str | None = None
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version as far as decisions need it: its place, and where it comes from.

    Attributes:
        stated_at, stated_role: When, and by whom, it was stated where it was obtained, if another
            message said it before; None: that is its time and role.
    """

    memory_id: str
    chain_id: str
    obtained_at: datetime
    recorded_at: datetime
    superseded_at: datetime | None
    successor_id: str | None
    source_role: str
    content_hash: str
    interaction_id: str | None = None
    agent_id: str | None = None
    import_id: str | None = None
    process_id: str | None = None
    author: str | None = None
    pinned: bool = False
    archived: bool = False
    stated_at: datetime | None = None
    stated_role: str | None = None
    sources: tuple[SourceMessage, ...] = ()

    def said_at(self, source: SourceMessage) -> datetime:
        """Return when a message said it; one of which that is not known said it at first."""
        return max(source.said_at or self.obtained_at, self.obtained_at)
