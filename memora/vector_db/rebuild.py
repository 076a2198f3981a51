"""The vector port's second half: an index that is filled beside the one in use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from memora.schema.index import IndexDocument, IndexEntry
from memora.schema.scope import OrganizationScope, Scope, SearchScope


@dataclass(frozen=True, slots=True)
class Touched:
    """What was written to the index in use, and may differ in the new one.

    Attributes:
        memories: Ids by their user.
        tenants: Users and organizations that were dropped.
    """

    memories: dict[Scope, set[str]] = field(default_factory=dict[Scope, set[str]])
    tenants: set[SearchScope] = field(default_factory=set[SearchScope])

    @property
    def count(self) -> int:
        """How much there is to look at again, about."""
        return len(self.tenants) + sum(map(len, self.memories.values()))


class Rebuild(ABC):
    """A new index, empty at first, beside the one in use; made by `BaseVectorDB.begin_rebuild`.

    Searches are answered by the index in use, by its own model, until `commit`. What is deleted
    from the store meanwhile is deleted from both; what is written goes to the index in use. Both
    are noted, and whoever fills the new index reads these memories again: `take_touched`.
    """

    def __init__(self) -> None:
        self._touched = Touched()

    def touch(self, scope: Scope, memory_ids: Iterable[str]) -> None:
        """Note a write to memories of a user; for adapters."""
        owner = Scope(scope.org_id, scope.user_id)
        self._touched.memories.setdefault(owner, set()).update(memory_ids)

    def touch_documents(self, documents: Iterable[IndexDocument]) -> None:
        """Note a write of these documents; for adapters."""
        for document in documents:
            self.touch(Scope(document.org_id, document.user_id), [document.memory_id])

    def touch_tenant(self, scope: Scope | OrganizationScope) -> None:
        """Note that a user or an organization was dropped; for adapters."""
        self._touched.tenants.add(scope)

    @property
    def touched(self) -> Touched:
        """What is noted by now."""
        return self._touched

    def take_touched(self) -> Touched:
        """Return what is noted, and start a new note."""
        taken, self._touched = self._touched, Touched()
        return taken

    @abstractmethod
    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        """As `BaseVectorDB.upsert`, on the new index and with its model.

        Raises:
            EmbeddingError: The texts could not be embedded; nothing was written.
            VectorDBError: The store failed, or this rebuild is over.
        """

    @abstractmethod
    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        """As `BaseVectorDB.remove`, on the new index."""

    @abstractmethod
    async def remove_tenant(self, scope: Scope | OrganizationScope) -> None:
        """Delete every vector of the user or organization from the new index."""

    @abstractmethod
    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        """As `BaseVectorDB.scan`, on the new index."""

    @abstractmethod
    async def commit(self) -> None:
        """Put the new index into use, stamp included, and remove the old one.

        The switch is one step: before it every search is answered by the old index and model,
        after it by the new ones. A process that dies during the call leaves one of the two in
        use, whole, and what is left of the other is removed when the store is opened.

        Raises:
            VectorDBError: The store failed, or this rebuild is over.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Remove the new index; after `commit`, or a second time, this does nothing."""
