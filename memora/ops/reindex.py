"""Rebuilds the vector store from the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memora.errors import VectorDBError
from memora.graph_db.base import BaseGraphDB
from memora.ops.doctor import every_user
from memora.schema.write_plan import OutboxEntry
from memora.vector_db.base import BaseVectorDB

# Memories per outbox entry, and entries that are worked off together.
CHUNK = 100
ENTRIES = 16
Progress = Callable[[int], None]


async def reindex(
    graph: BaseGraphDB,
    vector: BaseVectorDB,
    on_progress: Progress | None = None,
) -> int:
    """Drop all vectors and make them again, with the store's own model; no language model is asked.

    The work is put into the outbox before anything is dropped: a reindex that is interrupted goes
    on with the next drain, and what is written or deleted meanwhile is seen as it is by then.

    Args:
        graph: The graph store.
        vector: The vector store.
        on_progress: Called with the number of memories done so far.

    Returns:
        How many memories were indexed.

    Raises:
        VectorDBError: The vector store failed; what is left stays in the outbox.
    """
    await _enqueue_all(graph)
    await vector.clear()
    done = 0

    def count(entries: Sequence[OutboxEntry]) -> None:
        nonlocal done
        done += sum(len(entry.memory_ids) for entry in entries)
        if on_progress is not None:
            on_progress(done)

    handle = graph.with_vector_db(vector)
    report = await handle.drain_outbox(limit=ENTRIES, on_applied=count)
    if report.error is not None:
        raise VectorDBError("reindex", f"{report.failed} outbox entries wait: {report.error}")
    return done


async def _enqueue_all(graph: BaseGraphDB) -> None:
    async for scope in every_user(graph):
        chunk: list[str] = []
        async for document in graph.all_index_documents(scope):
            chunk.append(document.memory_id)
            if len(chunk) == CHUNK:
                await graph.enqueue_sync(scope, chunk, graph.clock.now())
                chunk = []
        if chunk:
            await graph.enqueue_sync(scope, chunk, graph.clock.now())
