"""Works a plan through the chains that it touches: guards, and what has to be written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from memora.errors import ConflictError
from memora.graph_db.neo4j.records import Row, micros
from memora.schema.write_plan import MemoryEnd, MemoryWrite, SourceLink


@dataclass(slots=True)
class Version:
    """A memory version's place in its chain.

    Attributes:
        head_of: Its chain while it is the current version; None otherwise.
        obtained_at: Of stored ones.
        is_new: The plan inserts it.
    """

    memory_id: str
    chain_id: str
    successor_id: str | None = None
    predecessor_id: str | None = None
    superseded_at: int | None = None
    head_of: str | None = None
    obtained_at: int | None = None
    is_new: bool = False

    @property
    def properties(self) -> dict[str, str | int | None]:
        """What is stored of it."""
        return {
            "memory_id": self.memory_id,
            "successor_id": self.successor_id,
            "superseded_at": self.superseded_at,
            "head_of": self.head_of,
        }


@dataclass(slots=True)
class Chains:
    """The versions that a plan names, first as stored, then as they will be.

    Writes of one plan see each other: the second version of a chain finds the first one.

    Attributes:
        versions, heads: By memory id, and by chain id.
        known: Chains that have versions.
        changed: Versions that are not as stored.
        synced: Versions that the vector store has to look at again, in order.
    """

    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    heads: dict[str, Version] = field(default_factory=dict[str, Version])
    known: set[str] = field(default_factory=set[str])
    changed: dict[str, Version] = field(default_factory=dict[str, Version])
    synced: dict[str, None] = field(default_factory=dict[str, None])

    @classmethod
    def of(cls, rows: Iterable[Row], known: Iterable[str]) -> Chains:
        """Build from stored versions, and the ids of those chains that have any."""
        chains = cls(known=set(known))
        for row in rows:
            version = Version(
                row["memory_id"],
                row["chain_id"],
                row["successor_id"],
                row["predecessor_id"],
                row["superseded_at"],
                row["head_of"],
                row["obtained_at"],
            )
            chains.versions[version.memory_id] = version
            if version.head_of is not None:
                chains.heads[version.head_of] = version
        return chains

    @property
    def stored(self) -> list[Version]:
        """The stored versions that change."""
        return [version for version in self.changed.values() if not version.is_new]

    @property
    def inserted(self) -> list[Version]:
        """The new versions."""
        return [version for version in self.versions.values() if version.is_new]

    @property
    def links(self) -> list[tuple[str, str]]:
        """The pairs (version, successor) that are new."""
        touched = [*self.stored, *self.inserted]
        return [(v.memory_id, v.successor_id) for v in touched if v.successor_id is not None]

    def insert(self, write: MemoryWrite) -> None:
        """Put a new version where the plan says.

        Raises:
            ConflictError: The neighbours are not neighbours any more, or the head is another.
        """
        if write.memory_id in self.versions:
            raise _conflict(write.memory_id, "a new id", "a known one")
        predecessor = self._neighbour(write.predecessor_id, write.chain_id)
        successor = self._neighbour(write.successor_id, write.chain_id)
        if predecessor is not None and predecessor.successor_id != write.successor_id:
            raise _conflict(predecessor.memory_id, write.successor_id, predecessor.successor_id)
        if predecessor is None and successor is not None and successor.predecessor_id is not None:
            raise _conflict(successor.memory_id, None, successor.predecessor_id)
        if predecessor is None and successor is None and write.chain_id in self.known:
            raise _conflict(write.chain_id, None, "other versions")
        head = self.heads.get(write.chain_id)
        version = Version(
            write.memory_id,
            write.chain_id,
            successor_id=write.successor_id,
            predecessor_id=write.predecessor_id,
            is_new=True,
        )
        if write.superseded_at is not None:
            version.superseded_at = micros(write.superseded_at)
        else:
            self._replace_head(head, version, write)
        if predecessor is not None:
            ended = write.predecessor_superseded_at or write.obtained_at
            self._supersede(predecessor, micros(ended))
            predecessor.successor_id = write.memory_id
        if successor is not None:
            successor.predecessor_id = write.memory_id
        self.versions[write.memory_id] = version
        self.known.add(write.chain_id)
        self.synced[write.memory_id] = None

    def end(self, end: MemoryEnd) -> None:
        """End the current head.

        Raises:
            ConflictError: It is not the current head.
        """
        version = self.versions.get(end.memory_id)
        if version is None or version.head_of is None:
            raise _conflict(end.memory_id, "the current head", "it is not")
        self._supersede(version, micros(end.ended_at))

    def check(self, link: SourceLink) -> None:
        """Check that the version that gains sources is there; what was said before is in its text.

        Raises:
            ConflictError: It is gone: what repeats it is new now.
        """
        for memory_id in (link.memory_id, link.moved_from):
            if memory_id is not None and memory_id not in self.versions:
                raise _conflict(memory_id, memory_id, None)
        self.synced[link.memory_id] = None

    def begin(self, link: SourceLink) -> None:
        """Change the time of a version, and of the end of the one before.

        Raises:
            ConflictError: It has another time or predecessor now.
        """
        begins = link.begins
        if begins is None:
            return
        self.check(link)
        version = self.versions[link.memory_id]
        if version.predecessor_id != begins.predecessor_id:
            raise _conflict(link.memory_id, begins.predecessor_id, version.predecessor_id)
        if version.obtained_at != micros(begins.was):
            raise _conflict(link.memory_id, "its time", "another")
        version.obtained_at = micros(begins.obtained_at)
        self.synced[link.memory_id] = None
        if begins.predecessor_id is not None and begins.predecessor_superseded_at is not None:
            predecessor = self._neighbour(begins.predecessor_id, version.chain_id)
            if predecessor is not None:
                self._supersede(predecessor, micros(begins.predecessor_superseded_at))
                self.synced[predecessor.memory_id] = None

    def _neighbour(self, memory_id: str | None, chain_id: str) -> Version | None:
        if memory_id is None:
            return None
        version = self.versions.get(memory_id)
        if version is None or version.chain_id != chain_id:
            raise _conflict(memory_id, "a version of the chain", "none")
        return version

    def _replace_head(self, head: Version | None, version: Version, write: MemoryWrite) -> None:
        head_id = None if head is None else head.memory_id
        if head_id != write.replaces_head:
            raise _conflict(write.replaces_head or write.chain_id, write.replaces_head, head_id)
        if head is not None and head_id != write.predecessor_id:
            self._supersede(head, micros(write.obtained_at))
        version.head_of = write.chain_id
        self.heads[write.chain_id] = version

    def _supersede(self, version: Version, at: int) -> None:
        if version.superseded_at != at:
            self.synced[version.memory_id] = None
        version.superseded_at = at
        if version.head_of is not None and self.heads.get(version.head_of) is version:
            del self.heads[version.head_of]
        version.head_of = None
        self.changed[version.memory_id] = version


def _conflict(memory_id: str, expected: str | None, actual: str | None) -> ConflictError:
    return ConflictError("memory", memory_id, expected=expected, actual=actual)
