"""Checks the invariants of a store, read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass

from memora.core import repair
from memora.graph_db.base import BaseGraphDB
from memora.schema.findings import Finding, FindingKind
from memora.schema.index import IndexDocument, IndexEntry
from memora.schema.scope import Scope
from memora.schema.validation import PAGE
from memora.schema.write_plan import OutboxOp
from memora.vector_db.base import BaseVectorDB

# How many memories or vectors are compared at a time; no more are held in memory.
_CHUNK = 250


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What doctor found.

    Attributes:
        findings: Violations; none means the store is clean.
        memories: How many memory versions were compared with their vectors.
        vectors: How many vectors were seen.
        pending: Outbox entries that still wait; vectors may lag behind by these.
        complete: Whether everything was checked; not while a finding `blocks`.
    """

    findings: tuple[Finding, ...]
    memories: int
    vectors: int
    pending: int
    complete: bool = True

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


async def diagnose(graph: BaseGraphDB, vector: BaseVectorDB) -> Diagnosis:
    """Check what a store can show: I2 to I6, I10, I12, I13 and I20.

    Stores that are not open are opened, also those that `setup` refuses because they are damaged.
    While outbox entries wait, vectors may be behind; then only what no pending entry explains is
    reported. Beside live writers it may be called at any time: what does not match is looked at
    once more before it counts.

    Raises:
        SchemaVersionError: A store is newer than this memora, of 0.3, or not memora's.
        StoreLockedError: Another process owns the embedded store.
        GraphDBConnectionError, VectorDBConnectionError: A server cannot be reached.
    """
    await graph.open_as_is()
    findings = await graph.inspect()
    findings += await vector.inspect()
    if any(finding.blocks for finding in findings):
        return Diagnosis(tuple(findings), 0, 0, 0, complete=False)
    await vector.setup()
    comparison = _Comparison(graph, vector)
    findings += await comparison.run()
    status = await graph.outbox_status()
    return Diagnosis(tuple(findings), comparison.memories, comparison.vectors, status.pending)


class _Comparison:
    """The vectors against the graph, in two passes of bounded chunks."""

    def __init__(self, graph: BaseGraphDB, vector: BaseVectorDB) -> None:
        self._graph = graph
        self._vector = vector
        self._model_id: str | None = None
        self.memories = 0
        self.vectors = 0

    async def run(self) -> list[Finding]:
        stamp = await self._vector.stamp()
        self._model_id = None if stamp is None else stamp.model_id
        waiting = await _waiting(self._graph)
        found = [finding async for finding in self._of_memories()]
        foreign = {
            finding.record_id
            for finding in found
            if finding.kind is FindingKind.WRONG_TENANT_PAYLOAD
        }
        found += [finding async for finding in self._of_vectors(foreign)]
        suspects = [finding for finding in found if not waiting.explains(finding)]
        return await self._confirmed(suspects) if suspects else []

    async def _of_memories(self) -> AsyncIterator[Finding]:
        """Yield what is wrong with the vectors of all memories."""
        async for scope in every_user(self._graph):
            chunk: list[IndexDocument] = []
            async for document in self._graph.all_index_documents(scope):
                chunk.append(document)
                if len(chunk) == _CHUNK:
                    for finding in await self._compared(chunk):
                        yield finding
                    chunk = []
            for finding in await self._compared(chunk):
                yield finding

    async def _compared(self, documents: Sequence[IndexDocument]) -> list[Finding]:
        self.memories += len(documents)
        if not documents:
            return []
        entries = await self._entries([document.memory_id for document in documents])
        return [
            finding
            for document in documents
            for finding in repair.compared(
                document, entries.get(document.memory_id), self._model_id
            )
        ]

    async def _entries(self, memory_ids: Sequence[str]) -> dict[str, IndexEntry]:
        found = await self._vector.lookup(memory_ids)
        return {entry.memory_id: entry for entry in found}

    async def _of_vectors(self, foreign: Collection[str]) -> AsyncIterator[Finding]:
        """Yield the vectors whose memories do not exist; `foreign` ones are reported already."""
        after: str | None = None
        while True:
            page = await self._vector.scan(after=after, limit=PAGE)
            self.vectors += len(page)
            for entry in await self._orphans(page):
                if entry.memory_id not in foreign:
                    yield repair.orphan(entry)
            if len(page) < PAGE:
                return
            after = page[-1].memory_id

    async def _orphans(self, entries: Sequence[IndexEntry]) -> list[IndexEntry]:
        owned = [entry for entry in entries if entry.org_id and entry.user_id]
        known = await self._graph.known_memories([_key(entry) for entry in owned])
        return [entry for entry in entries if _key(entry) not in known]

    async def _confirmed(self, suspects: Sequence[Finding]) -> list[Finding]:
        """Look at findings again: live writers and the relay may have been at it meanwhile."""
        waiting = await _waiting(self._graph)
        left = [finding for finding in suspects if not waiting.explains(finding)]
        confirmed: list[Finding] = []
        for start in range(0, len(left), _CHUNK):
            chunk = left[start : start + _CHUNK]
            entries = await self._entries([finding.record_id for finding in chunk])
            scopes: dict[Scope, list[str]] = {}
            for finding in chunk:
                if finding.org_id is not None and finding.user_id is not None:
                    scope = Scope(finding.org_id, finding.user_id)
                    scopes.setdefault(scope, []).append(finding.record_id)
            documents = [
                document
                for scope, ids in scopes.items()
                for document in await self._graph.read_index_documents(scope, ids)
            ]
            again = {
                finding
                for document in documents
                for finding in repair.compared(
                    document, entries.get(document.memory_id), self._model_id
                )
            }
            present = {document.memory_id for document in documents}
            confirmed += [
                finding
                for finding in chunk
                if finding in again
                or (finding.kind is FindingKind.ORPHAN_VECTOR and finding.record_id not in present)
            ]
        return confirmed


def _key(entry: IndexEntry) -> tuple[str, str, str]:
    return entry.org_id, entry.user_id, entry.memory_id


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What the outbox still has to do.

    Attributes:
        memories: Ids to be brought to the graph's state.
        dropped: Organization and user whose vectors go; no user: those of the organization.
    """

    memories: set[str]
    dropped: set[tuple[str, str]]

    def explains(self, finding: Finding) -> bool:
        """Tell whether a vector that does not fit is one that will be brought up or dropped."""
        org_id, user_id = finding.org_id or "", finding.user_id or ""
        owners = {(org_id, user_id), (org_id, "")}
        return finding.record_id in self.memories or not owners.isdisjoint(self.dropped)


async def _waiting(graph: BaseGraphDB) -> _Waiting:
    waiting = _Waiting(set(), set())
    after = 0
    while True:
        entries = await graph.list_outbox(after=after, limit=PAGE)
        for entry in entries:
            if entry.dead:
                continue
            waiting.memories.update(entry.memory_ids)
            if entry.op is not OutboxOp.SYNC:
                waiting.dropped.add((entry.org_id, entry.user_id))
        if len(entries) < PAGE:
            return waiting
        after = entries[-1].seq


async def every_user(graph: BaseGraphDB) -> AsyncIterator[Scope]:
    """Yield the scope of every user of every organization."""
    organizations = 0
    while True:
        page = await graph.list_organizations(skip=organizations, limit=PAGE)
        for organization in page:
            users = 0
            while True:
                found = await graph.list_users(organization.org_id, skip=users, limit=PAGE)
                for user in found:
                    yield Scope(user.org_id, user.user_id)
                users += len(found)
                if len(found) < PAGE:
                    break
        organizations += len(page)
        if len(page) < PAGE:
            return
