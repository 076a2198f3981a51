"""One Qdrant Edge shard: the engine's own calls, all of them blocking and holding the GIL."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memora.core.filters import AnyOf, Condition
from memora.core.indexing import KEYWORD_FIELDS, NUMBER_FIELDS
from memora.embeddings.base import SparseVector
from memora.errors import StoreLockedError, VectorDBError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope, SearchScope
from memora.vector_db._encoding import (
    DENSE,
    HIT_FIELDS,
    LEXICAL,
    TIES,
    EncodedQuery,
    answers,
)
from memora.vector_db._lazy import LazyModule
from memora.vector_db._rows import StoredPoint

if TYPE_CHECKING:
    import qdrant_edge as edge
else:
    edge = LazyModule("qdrant_edge")

# Up to so many memories of a tenant all queries of a call go to the engine together; above, one
# batch would hold the GIL for too long.
_TOGETHER = 20_000

# Earlier ones lose after a crash what was not flushed.
_MIN_ENGINE = (0, 9)


def engine() -> str:
    """Return name and version of the engine.

    Raises:
        VectorDBError: It is not installed, or too old.
    """
    try:
        found = version("qdrant-edge-py")
        import_module("qdrant_edge")
    except ImportError as error:
        reason = (
            "qdrant-edge-py cannot be imported; on platforms without a wheel of it (Windows on "
            "ARM, 32-bit systems) use Neo4j and Qdrant instead of the embedded store"
        )
        raise VectorDBError("embedded", reason) from error
    if tuple(int(part) for part in found.split(".")[:2]) < _MIN_ENGINE:
        raise VectorDBError("embedded", f"qdrant-edge-py {found} is too old: 0.9 is needed")
    return f"qdrant-edge-py {found}"


class Shard:
    """A loaded shard; used by one thread at a time.

    Attributes:
        change: Number of the last change that it has applied.
        flushed: Number of the last change that is certainly on disk.
        waiting: Points and removals that are not.
    """

    def __init__(self, shard: edge.EdgeShard, change: int) -> None:
        self._shard = shard
        self.change = change
        self.flushed = change
        self.waiting = 0

    @classmethod
    def create(cls, path: Path, dimensions: int) -> Shard:
        """Make an empty shard in a folder that is not there yet."""
        path.mkdir(mode=0o700, parents=True)
        with translated():
            shard = edge.EdgeShard.create(str(path), _config(dimensions))
            for field in KEYWORD_FIELDS:
                index = edge.KeywordIndexParams(is_tenant=field == "org_id")
                shard.update(edge.UpdateOperation.create_field_index(field, index))
            for field in NUMBER_FIELDS:
                index = edge.FloatIndexParams()
                shard.update(edge.UpdateOperation.create_field_index(field, index))
        return cls(shard, 0)

    @classmethod
    def load(cls, path: Path, change: int) -> Shard:
        """Load a shard, replaying its write-ahead log.

        Args:
            path: Its folder.
            change: The last change that is certainly in it.

        Raises:
            StoreLockedError: Another process, or another object of this one, has it open.
            VectorDBError: It is damaged.
        """
        try:
            with translated():
                return cls(edge.EdgeShard.load(str(path)), change)
        except VectorDBError as error:
            if "WouldBlock" in error.reason:
                raise StoreLockedError(str(path), None) from error
            raise

    def apply(self, removed: Sequence[str], points: Sequence[StoredPoint], upto: int) -> None:
        """Delete, then insert or replace; repeating it changes nothing."""
        with translated():
            if removed:
                self._shard.update(edge.UpdateOperation.delete_points(list(removed)))
            if points:
                self._shard.update(edge.UpdateOperation.upsert_points(list(map(_point, points))))
        self.change = upto
        self.waiting += len(removed) + len(points)

    def remove_tenant(self, scope: SearchScope) -> None:
        """Delete all points of the tenant."""
        with translated():
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(_tenant(scope)))

    def search(
        self,
        queries: Sequence[EncodedQuery],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limit: int,
    ) -> list[QueryHits]:
        """Answer each query with its two lists."""
        requests = _requests(queries, scope, conditions, limit + TIES)
        with translated():
            if self._is_large(scope):
                found = [self._shard.query(request) for request in requests]
            else:
                found = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return answers(queries, found, limit)

    def count(self) -> int:
        """Return the exact number of points."""
        with translated():
            return self._shard.count(edge.CountRequest())

    def flush(self) -> None:
        """Write everything to disk."""
        with translated():
            self._shard.flush()
        self.flushed = self.change
        self.waiting = 0

    def optimize(self) -> None:
        """Drop the space of deleted points."""
        with translated():
            self._shard.optimize()

    def close(self) -> None:
        """Flush and release the files."""
        with translated():
            self._shard.close()

    def _is_large(self, scope: SearchScope) -> bool:
        # Estimates, which take microseconds; the total first, because it needs no filter.
        if self._shard.count(edge.CountRequest(exact=False)) <= _TOGETHER:
            return False
        count = self._shard.count(edge.CountRequest(exact=False, filter=_tenant(scope)))
        return count > _TOGETHER


def _config(dimensions: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(size=dimensions, distance=edge.Distance.Cosine)},
        sparse_vectors={LEXICAL: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        # No graph: exact search is fast enough, and building one takes minutes at 100,000 points.
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        max_search_threads=1,
    )


def _point(point: StoredPoint) -> edge.Point:
    vectors: edge.Vector = {DENSE: point.dense, LEXICAL: _sparse(point.lexical)}
    return edge.Point(point.memory_id, vectors, point.payload)


def _sparse(vector: SparseVector) -> edge.SparseVector:
    return edge.SparseVector(list(vector.indices), list(vector.values))


def _equals(field: str, value: str) -> edge.FieldCondition:
    return edge.FieldCondition(field, match=edge.MatchValue(value))


def _owners(scope: SearchScope) -> list[edge.FieldCondition]:
    owners = [_equals("org_id", scope.org_id)]
    return [*owners, _equals("user_id", scope.user_id)] if isinstance(scope, Scope) else owners


def _tenant(scope: SearchScope) -> edge.Filter:
    """Filter the whole tenant, without the scope's agent."""
    return edge.Filter(must=[*_owners(scope)])


def _condition(condition: Condition) -> edge.FieldCondition:
    if isinstance(condition, AnyOf):
        return edge.FieldCondition(condition.field, match=edge.MatchAny(list(condition.values)))
    return edge.FieldCondition(
        condition.field,
        range=edge.RangeFloat(
            gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte
        ),
    )


def _requests(
    queries: Sequence[EncodedQuery],
    scope: SearchScope,
    conditions: tuple[Condition, ...],
    limit: int,
) -> list[edge.QueryRequest]:
    """Build one request per list, in the order of the queries, dense before lexical."""
    agent = [] if scope.agent_id is None else [_equals("agent_id", scope.agent_id)]
    selected = edge.Filter(must=[*_owners(scope), *agent, *map(_condition, conditions)])
    within_tenant = edge.SearchParams(idf=edge.IdfParams(corpus=_tenant(scope)))
    requests: list[edge.QueryRequest] = []
    for query in queries:
        asked: list[tuple[Any, edge.SearchParams | None]] = []
        if query.dense:
            asked.append((edge.Query.Nearest(query.dense, using=DENSE), None))
        if query.lexical:
            nearest = edge.Query.Nearest(_sparse(query.lexical), using=LEXICAL)
            asked.append((nearest, within_tenant))
        requests += [
            edge.QueryRequest(
                limit,
                query=nearest,
                filter=selected,
                params=params,
                with_payload=list(HIT_FIELDS),
            )
            for nearest, params in asked
        ]
    return requests


@contextmanager
def translated() -> Generator[None]:
    """Turn what the engine raises into memora's errors: plain `Exception`, and Rust panics."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise VectorDBError("embedded", f"the engine failed: {str(error)[:200]}") from error
