"""Erases a user or an organization from both stores, and proves it with a receipt."""

from __future__ import annotations

from memora.errors import VectorDBError
from memora.graph_db.base import BaseGraphDB
from memora.schema.erasure import ErasureReceipt, GraphErasure, VectorErasure, subject_hash_of
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import DeleteCounts
from memora.vector_db.base import BaseVectorDB


async def erase(graph: BaseGraphDB, vector: BaseVectorDB, scope: SearchScope) -> ErasureReceipt:
    """Erase the scope's user or organization; again finishes what is left.

    The graph goes first, in whose last transaction the drop of the vectors is queued: whatever
    happens afterwards, they follow.

    Args:
        graph: The graph store.
        vector: The vector store.
        scope: Whose data; an agent does not narrow.

    Raises:
        GraphDBError: The graph store failed; repeat the call.
    """
    started = graph.clock.now()
    before = await _count(vector, scope)
    if isinstance(scope, Scope):
        erased = await graph.erase_user(scope, started)
    else:
        erased = await graph.erase_organization(scope.org_id, started)
    handle = graph.with_vector_db(vector)
    report = await handle.drain_outbox()
    left, vectors = await graph.count_records(scope), await _count(vector, scope)
    if report.error is None and (left.outbox_entries or vectors):
        # The drop waits for its next try, or is done and something came after it.
        await graph.enqueue_drop(scope, graph.clock.now())
        await handle.drain_outbox()
        left, vectors = await graph.count_records(scope), await _count(vector, scope)
    scrubbed = await graph.scrub()
    vector.forget_texts()
    reason = _reason(left, vectors, scrubbed=scrubbed)
    user_id = scope.user_id if isinstance(scope, Scope) else None
    salt = graph.ids.short()
    return ErasureReceipt(
        subject="organization" if user_id is None else "user",
        subject_hash=subject_hash_of(salt, scope.org_id, user_id),
        salt=salt,
        started_at=started,
        finished_at=graph.clock.now(),
        graph=GraphErasure(erased, left, scrubbed),
        vectors=VectorErasure(
            reachable=vectors is not None,
            erased=None if before is None or vectors is None else max(0, before - vectors),
            left=vectors,
        ),
        complete=reason is None,
        reason=reason,
    )


async def _count(vector: BaseVectorDB, scope: SearchScope) -> int | None:
    try:
        return await vector.count(scope)
    except VectorDBError:
        return None


def _reason(left: DeleteCounts, vectors: int | None, *, scrubbed: bool) -> str | None:
    if left.total > left.outbox_entries:
        return "somebody writes to it again; repeat the erasure"
    if vectors is None:
        return "the vector store cannot be reached; its drop waits in the outbox"
    if left.outbox_entries or vectors:
        return "vectors are still dropped, or held by another worker; repeat the erasure"
    if not scrubbed:
        return "a long read keeps deleted records in the store's log; repeat the erasure"
    return None
