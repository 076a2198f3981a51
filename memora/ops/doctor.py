"""Checks the invariants of a store, read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from memora.graph_db.base import BaseGraphDB, Finding
from memora.schema.index import IndexDocument, IndexEntry
from memora.schema.scope import Scope
from memora.schema.validation import PAGE
from memora.schema.write_plan import OutboxOp
from memora.vector_db.base import BaseVectorDB


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What doctor found.

    Attributes:
        findings: Violations; none means the store is clean.
        memories: How many memory versions were checked.
        vectors: How many vectors were checked.
        pending: Outbox entries that still wait; vectors may lag behind by these.
    """

    findings: tuple[Finding, ...]
    memories: int
    vectors: int
    pending: int

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


async def diagnose(graph: BaseGraphDB, vector: BaseVectorDB) -> Diagnosis:
    """Check I1 to I6, I10, I13 and I20: the graph by itself, then vectors against it.

    While outbox entries wait, vectors may be behind; then only what no pending entry explains is
    reported as I5.
    """
    findings = await graph.inspect()
    stamp = await vector.stamp()
    model_id = None if stamp is None else stamp.model_id
    status = await graph.outbox_status()
    waiting = await _waiting(graph)
    vectors = {entry.memory_id: entry async for entry in _entries(vector)}
    total = len(vectors)
    memories = 0
    async for document in _documents(graph):
        memories += 1
        entry = vectors.pop(document.memory_id, None)
        if document.memory_id not in waiting.memories:
            findings += _compare(document, entry, model_id)
    for entry in vectors.values():
        if not waiting.will_remove(entry):
            findings.append(Finding("I6", entry.memory_id, "a vector without a memory"))
    if status.dead:
        findings.append(Finding("I5", "outbox", f"{status.dead} entries were given up"))
    return Diagnosis(tuple(findings), memories, total, status.pending)


def _compare(
    document: IndexDocument, entry: IndexEntry | None, model_id: str | None
) -> list[Finding]:
    if entry is None:
        return [Finding("I5", document.memory_id, "no vector")]
    findings: list[Finding] = []
    if (entry.org_id, entry.user_id) != (document.org_id, document.user_id):
        findings.append(Finding("I5", document.memory_id, "the vector has another owner"))
    if entry.text_hash != document.text_hash:
        findings.append(Finding("I5", document.memory_id, "the vector is of another text"))
    if entry.model_id != model_id:
        findings.append(Finding("I5", document.memory_id, "the vector is of another model"))
    return findings


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What the outbox still has to do.

    Attributes:
        memories: Ids to be brought to the graph's state.
        dropped: Organization and user whose vectors go; no user: those of the organization.
    """

    memories: set[str]
    dropped: set[tuple[str, str]]

    def will_remove(self, entry: IndexEntry) -> bool:
        """Tell whether a vector without a memory is one that goes."""
        owners = {(entry.org_id, entry.user_id), (entry.org_id, "")}
        return entry.memory_id in self.memories or not owners.isdisjoint(self.dropped)


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


async def _entries(vector: BaseVectorDB) -> AsyncIterator[IndexEntry]:
    after: str | None = None
    while True:
        page = await vector.scan(after=after, limit=PAGE)
        for entry in page:
            yield entry
        if len(page) < PAGE:
            return
        after = page[-1].memory_id


async def _documents(graph: BaseGraphDB) -> AsyncIterator[IndexDocument]:
    async for scope in every_user(graph):
        async for document in graph.all_index_documents(scope):
            yield document


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
