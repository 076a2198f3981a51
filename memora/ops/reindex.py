"""Makes all vectors again from the graph, beside those in use, also with another model.

How nothing is lost, and nothing comes back, while others write:

1. **Filling.** `_bring_up` compares what the graph says with what the new index holds, and writes
   the difference: the first time that is everything, every further time what changed meanwhile. It
   is repeated until little was left to do. Embedding is done outside of every lock.
2. **Writes of this process** reach the vector store by draining only. The store notes what a drain
   touches (`Rebuild.take_touched`), and deletes from both indexes. A note says "read this again",
   not what was written: a page that was read before a delete and written after it is put right by
   the note of that delete.
3. **The switch** happens while no drain of this process runs. What is noted by then is read again
   from the graph, which takes a moment, and then the new index goes into use in one step. An entry
   that was drained before is in the graph and noted; one that is drained later goes to the new
   index. So at the switch the new index holds all that the old one held of the present graph.
4. **Writes of other processes** (Neo4j with Qdrant) are not noted here. They go to the old
   collection, which the switch deletes; from then on a process of the old model is refused and
   its entries stay in the outbox, and one of the same model follows to the new collection. So an
   entry that only the old collection got was acknowledged before the deletion, and its change of
   the graph was committed before that. `verify` compares after the deletion: it sees every such
   change, and enqueues what differs. Until then such a memory may be missing from searches, as
   between any commit and its drain. That this comparison is still to be made is part of the new
   collection's stamp, so that a process that dies before it leaves it to the next one that opens
   the store.

A process that dies before the switch leaves the old index in use, one that dies after it the new
one; leftovers of the other are removed when the store is opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from memora.core import indexing
from memora.embeddings.base import BaseEmbedder
from memora.graph_db.base import BaseGraphDB
from memora.ops.doctor import every_user
from memora.schema.index import IndexDocument, IndexEntry
from memora.schema.scope import OrganizationScope, Scope
from memora.schema.validation import PAGE
from memora.vector_db.base import BaseVectorDB
from memora.vector_db.rebuild import Rebuild, Touched

# Memories that are embedded together, and that an outbox entry names.
CHUNK = 256
# So many may be left for the time in which this process drains nothing.
_FEW = 64
# Where others write faster than this one embeds, it has to end all the same: see the fourth point.
_PASSES = 5
Progress = Callable[[int], None]


async def reindex(
    graph: BaseGraphDB,
    vector: BaseVectorDB,
    on_progress: Progress | None = None,
    *,
    embedder: BaseEmbedder | None = None,
) -> int:
    """Make all vectors again and put them into use at once; no language model is asked.

    Searches are answered by the old index until then. Whatever ends this early leaves the old
    index as it is.

    Args:
        graph: The graph store.
        vector: The vector store; it may be of another model than its embedder, and not set up.
        on_progress: Called with the number of memories done so far.
        embedder: The new model; None: the vector store's own.

    Returns:
        How many memories were indexed.

    Raises:
        RebuildRunningError: Another reindex of this store is running.
        EmbeddingError: The model failed.
        VectorDBError: The vector store failed.
    """
    done = 0

    def count(new: int) -> None:
        nonlocal done
        done += new
        if on_progress is not None:
            on_progress(done)

    async with vector.rebuilding(embedder) as staged:
        await _bring_up(graph, staged, count)
        for _ in range(_PASSES):
            dropped = len(staged.touched.tenants)
            differed = await _bring_up(graph, staged, _nobody)
            # A listing of users may skip some while others go.
            if differed <= _FEW and len(staged.touched.tenants) == dropped:
                break
        for _ in range(_PASSES):
            if staged.touched.count <= _FEW:
                break
            await _read_again(graph, staged, staged.take_touched())
        async with graph.without_drains():
            await _read_again(graph, staged, staged.take_touched())
            await staged.commit()
    await verify(graph, vector)
    return done


async def verify(graph: BaseGraphDB, vector: BaseVectorDB) -> None:
    """Finish the last step of a reindex where it is still to be done; else do nothing.

    What differs between graph and vectors is put into the outbox.
    """
    if not await vector.is_unverified():
        return
    entries = await _entries(vector)
    async for documents in _differing(graph, entries):
        await _enqueue(graph, [(d.org_id, d.user_id, d.memory_id) for d in documents])
    await _enqueue(graph, [(e.org_id, e.user_id, e.memory_id) for e in entries.values()])
    await vector.mark_verified()


def _nobody(_done: int) -> None:
    """Nobody is told."""


async def _bring_up(graph: BaseGraphDB, staged: Rebuild, told: Progress) -> int:
    """Bring the new index to the graph's state; return how many memories differed."""
    entries = await _entries(staged)
    written = 0
    async for documents in _differing(graph, entries):
        await staged.upsert(documents)
        written += len(documents)
        told(len(documents))
    # Users that were deleted while they were listed may shift others out of the listing: what is
    # left over is looked up before it is called gone.
    left: dict[Scope, set[str]] = {}
    for entry in entries.values():
        left.setdefault(Scope(entry.org_id, entry.user_id), set()).add(entry.memory_id)
    await _read_again(graph, staged, Touched(left))
    return written + len(entries)


async def _entries(index: BaseVectorDB | Rebuild) -> dict[str, IndexEntry]:
    entries: dict[str, IndexEntry] = {}
    after: str | None = None
    while True:
        page = await index.scan(after=after, limit=PAGE)
        entries.update((entry.memory_id, entry) for entry in page)
        if len(page) < PAGE:
            return entries
        after = page[-1].memory_id


async def _differing(
    graph: BaseGraphDB, entries: dict[str, IndexEntry]
) -> AsyncIterator[list[IndexDocument]]:
    """Yield what an index lacks, in chunks; what stays in `entries` is not in the graph."""
    chunk: list[IndexDocument] = []
    async for scope in every_user(graph):
        async for document in graph.all_index_documents(scope):
            if not _is_same(document, entries.pop(document.memory_id, None)):
                chunk.append(document)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _is_same(document: IndexDocument, entry: IndexEntry | None) -> bool:
    return entry is not None and entry.fingerprint == indexing.fingerprint(
        indexing.payload(document)
    )


async def _read_again(graph: BaseGraphDB, staged: Rebuild, touched: Touched) -> None:
    """Bring memories of the new index to the state that they have in the graph by now."""
    for tenant in touched.tenants:
        await staged.remove_tenant(tenant)
    for tenant in touched.tenants:
        async for scope in _users_of(graph, tenant):
            async for chunk in _chunks(graph.all_index_documents(scope)):
                await staged.upsert(chunk)
    for scope, ids in touched.memories.items():
        ordered = sorted(ids)
        for start in range(0, len(ordered), CHUNK):
            wanted = ordered[start : start + CHUNK]
            present = await graph.read_index_documents(scope, wanted)
            await staged.upsert(present)
            gone = set(wanted) - {document.memory_id for document in present}
            if gone:
                await staged.remove(scope, sorted(gone))


async def _users_of(graph: BaseGraphDB, tenant: Scope | OrganizationScope) -> AsyncIterator[Scope]:
    if isinstance(tenant, Scope):
        yield tenant
        return
    users = 0
    while True:
        page = await graph.list_users(tenant.org_id, skip=users, limit=PAGE)
        for user in page:
            yield Scope(user.org_id, user.user_id)
        users += len(page)
        if len(page) < PAGE:
            return


async def _chunks(documents: AsyncIterator[IndexDocument]) -> AsyncIterator[list[IndexDocument]]:
    chunk: list[IndexDocument] = []
    async for document in documents:
        chunk.append(document)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _enqueue(graph: BaseGraphDB, memories: Sequence[tuple[str, str, str]]) -> None:
    """Put a sync of these (organization, user, memory) into the outbox."""
    wanted: dict[Scope, list[str]] = {}
    for org_id, user_id, memory_id in memories:
        wanted.setdefault(Scope(org_id, user_id), []).append(memory_id)
    for scope, ids in wanted.items():
        for start in range(0, len(ids), CHUNK):
            await graph.enqueue_sync(scope, ids[start : start + CHUNK], graph.clock.now())
