"""Rebuilds the vector store from the graph."""

from __future__ import annotations

from collections.abc import Callable

from memora.graph_db.base import BaseGraphDB
from memora.ops.doctor import every_user
from memora.schema.index import IndexDocument
from memora.vector_db.base import BaseVectorDB

BATCH = 500
Progress = Callable[[int], None]


async def reindex(
    graph: BaseGraphDB,
    vector: BaseVectorDB,
    on_progress: Progress | None = None,
) -> int:
    """Drop all vectors and make them again, with the store's own model; no language model is asked.

    What is written meanwhile is in the outbox and follows after.

    Args:
        graph: The graph store.
        vector: The vector store.
        on_progress: Called with the number of memories done so far.

    Returns:
        How many memories were indexed.
    """
    await graph.outbox_status()  # a graph that cannot be read must not cost the vectors
    await vector.clear()
    done = 0
    batch: list[IndexDocument] = []
    async for scope in every_user(graph):
        async for document in graph.all_index_documents(scope):
            batch.append(document)
            if len(batch) == BATCH:
                done = await _flush(vector, batch, done, on_progress)
    return await _flush(vector, batch, done, on_progress)


async def _flush(
    vector: BaseVectorDB,
    batch: list[IndexDocument],
    done: int,
    on_progress: Progress | None,
) -> int:
    if batch:
        await vector.upsert(batch)
    done += len(batch)
    batch.clear()
    if on_progress is not None:
        on_progress(done)
    return done
