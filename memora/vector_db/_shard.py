"""One Qdrant Edge shard: the engine's own calls, all of them blocking and holding the GIL."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from memora.core.filters import AnyOf, Condition, Range
from memora.core.indexing import KEYWORD_FIELDS, NEVER, NUMBER_FIELDS
from memora.embeddings.base import SparseVector
from memora.errors import StoreLockedError, VectorDBError
from memora.schema.index import ListLimits, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.vector_db._encoding import (
    DENSE,
    HIT_FIELDS,
    LEXICAL,
    MANY_TIES,
    TIES,
    EncodedQuery,
    Owned,
    ScoredPoint,
    answers,
    best,
    ends_in_tie,
    wanted_of,
)
from memora.vector_db._lazy import LazyModule
from memora.vector_db._shard_calls import StoredPoint

if TYPE_CHECKING:
    import numpy as np
    import qdrant_edge as edge
else:
    np = LazyModule("numpy")
    edge = LazyModule("qdrant_edge")

# Up to so many memories of a tenant all queries of a call go to the engine together; above, one
# batch would hold the GIL for too long.
_TOGETHER = 20_000

# Earlier ones lose after a crash what was not flushed.
_MIN_ENGINE = (0, 9)

# So many points that a range excludes, or this share of the tenant's, are taken out of the answers
# instead: the engine finds points by one condition from its index, and checks every other one on
# each of them, which takes four times as long.
_FEW = 100
_FEW_SHARE = 0.01
# Owners of so many hits are kept, which takes some megabytes.
_KNOWN = 10_000

# From so many users on it does not matter who has points in the shard.
_SEVERAL = 2

# What the payload of a point looks like; a shard of another layout is filled again.
_LAYOUT = 3
# Every payload index costs a dozen disk flushes when it is made, and each one holds the GIL. So
# the keyword fields share one, of terms; a user of an organization is one of them.
_OWNER_FIELDS = ("org_id", "user_id")
_TERMS = "terms"
_AS_TERMS = tuple(field for field in KEYWORD_FIELDS if field != "user_id")
_KEPT = (*HIT_FIELDS, *NUMBER_FIELDS)
# The index keeps values of up to 15 bytes in place, and allocates every longer one for every point.
_TERM_CHARS = 15
# An index takes 100 bytes of memory for each number, so that a point leaves out what most have.
_USUAL: dict[str, float] = {
    "importance": 0.5,
    "archived": 0.0,
    "expires_at": NEVER,
}


def engine() -> str:
    """Return name and version of the engine, and of what memora stores in it.

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
    return f"qdrant-edge-py {found}, layout {_LAYOUT}"


class Shard:
    """A loaded shard; used by one thread at a time.

    Attributes:
        change: Number of the last change that it has applied.
        flushed: Number of the last change that is certainly on disk.
        waiting: Points and removals that are not.
        applied: Points that were written through this object; what they exceed the points that
            are there by may still be readable in its files.
    """

    def __init__(self, shard: edge.EdgeShard, change: int) -> None:
        self._shard = shard
        self._known: dict[int, Owned] = {}
        self._users = self._some_users()
        self.change = change
        self.flushed = change
        self.waiting = 0
        self.applied = 0

    @classmethod
    def create(cls, path: Path, dimensions: int) -> Shard:
        """Make an empty shard in a folder that is not there yet."""
        path.mkdir(mode=0o700, parents=True)
        with translated():
            shard = edge.EdgeShard.create(str(path), _config(dimensions))
            terms = edge.KeywordIndexParams()
            shard.update(edge.UpdateOperation.create_field_index(_TERMS, terms))
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

    def delete(self, memory_ids: Sequence[str]) -> None:
        """Delete points; those that are not there change nothing."""
        for memory_id in memory_ids:
            self._known.pop(UUID(memory_id).int, None)
        with translated():
            self._shard.update(edge.UpdateOperation.delete_points(list(memory_ids)))
        self.waiting += len(memory_ids)

    def apply(self, points: Sequence[StoredPoint], upto: int) -> None:
        """Insert or replace points; the shard then is at change `upto`."""
        if points:
            self._expect(points)
            with translated():
                self._shard.update(edge.UpdateOperation.upsert_points(list(map(_point, points))))
            self._learn(points)
        self.change = upto
        self.waiting += len(points)
        self.applied += len(points)

    def _expect(self, points: Sequence[StoredPoint]) -> None:
        """Forget what may change, and note for good that somebody else has points here."""
        for point in points:
            self._known.pop(UUID(point.memory_id).int, None)
            if len(self._users) < _SEVERAL:
                self._users.add(_user_of(point.payload))

    def _learn(self, points: Sequence[StoredPoint]) -> None:
        """Note whose the points are that came."""
        if len(self._known) + len(points) > _KNOWN:
            self._known.clear()
        for point in points[-_KNOWN:]:
            owned = Owned.of(point.memory_id, point.payload)
            self._known[UUID(point.memory_id).int] = owned

    def _some_users(self) -> set[str]:
        """Return the users that have points here, or several of them."""
        users: set[str] = set()
        with translated():
            while len(users) < _SEVERAL:
                others = edge.Filter(must_not=[_has(user) for user in users])
                request = edge.ScrollRequest(limit=1, filter=others, with_payload=[*_OWNER_FIELDS])
                found, _next = self._shard.scroll(request)
                if not found:
                    break
                users.add(_user_of(found[0].payload or {}))
        return users

    def _is_all_of(self, scope: SearchScope) -> bool:
        """Tell whether every point is the tenant's, so that nothing is left to filter by it."""
        return isinstance(scope, Scope) and self._users == {
            _user_value(scope.org_id, scope.user_id)
        }

    def search(
        self,
        queries: Sequence[EncodedQuery],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
    ) -> list[QueryHits]:
        """Answer each query with its two lists."""
        conditions, excluded = self._without_ranges(scope, conditions)
        wanted = wanted_of(queries, limits)
        # Lexical scores tie often, and here a longer list costs next to nothing, a second call as
        # much as the first: it would bring no more than this one.
        longer = ListLimits(limits.dense + TIES, limits.lexical + MANY_TIES)
        is_all = self._is_all_of(scope)
        requests = _requests(queries, scope, conditions, longer, is_all=is_all)
        found = self._ask(scope, requests, excluded)
        longest = ListLimits(limits.dense + MANY_TIES, limits.lexical + MANY_TIES)
        ends = zip(found, wanted, wanted_of(queries, longest), strict=True)
        tied = [
            i
            for i, (points, limit, most) in enumerate(ends)
            if requests[i].limit < most and ends_in_tie(points, limit)
        ]
        if tied:
            more = _requests(queries, scope, conditions, longest, is_all=is_all)
            again = self._ask(scope, [more[i] for i in tied], excluded)
            for i, points in zip(tied, again, strict=True):
                found[i] = points
        ranked = [best(points, limit, _key) for points, limit in zip(found, wanted, strict=True)]
        return answers(queries, ranked, self._owned(ranked))

    def _owned(self, ranked: Sequence[Sequence[tuple[int, float]]]) -> dict[int, Owned]:
        """Return whose these hits are: reading that costs more than the search does."""
        if len(self._known) > _KNOWN:
            self._known.clear()
        keys = {key for hits in ranked for key, _score in hits}
        new = [str(UUID(int=key)) for key in keys if key not in self._known]
        for memory_id, payload in self.payloads(new, HIT_FIELDS).items() if new else ():
            self._known[UUID(memory_id).int] = Owned.of(memory_id, payload)
        return self._known

    def _without_ranges(
        self, scope: SearchScope, conditions: tuple[Condition, ...]
    ) -> tuple[tuple[Condition, ...], frozenset[UUID]]:
        """Return conditions, and the ids that they leave in beside those that were given.

        Every point has every number, so that a range excludes what the opposite ones hold.
        """
        ranges = [condition for condition in conditions if isinstance(condition, Range)]
        opposites = [opposite for condition in ranges for opposite in _opposites(condition)]
        excluded: set[UUID] = set()
        if opposites:
            anyone = (_condition(opposite, scope.org_id) for opposite in opposites)
            others = edge.Filter(must=[_owner(scope)], should=[*anyone])
            with translated():
                few = max(_FEW, int(self._estimate(edge.Filter(must=[_owner(scope)])) * _FEW_SHARE))
                if self._estimate(others) > few:
                    return conditions, frozenset()
                request = edge.ScrollRequest(limit=few + 1, filter=others, with_payload=False)
                found, _next = self._shard.scroll(request)
            if len(found) > few:
                return conditions, frozenset()
            excluded = {record.id for record in found if isinstance(record.id, UUID)}
        kept = tuple(condition for condition in conditions if not isinstance(condition, Range))
        return kept, frozenset(excluded)

    def _ask(
        self,
        scope: SearchScope,
        requests: Sequence[_Request],
        excluded: frozenset[UUID],
    ) -> list[list[edge.ScoredPoint]]:
        built = [request.build(len(excluded)) for request in requests]
        with translated():
            if self._is_large(scope):
                found = [self._shard.query(request) for request in built]
            else:
                found = self._shard.query_batch(edge.QueryBatchRequest(built))
        if not excluded:
            return found
        return [
            [point for point in points if point.id not in excluded][: request.limit]
            for request, points in zip(requests, found, strict=True)
        ]

    def page(self, after: str | None, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Return ids and owners in the order of the ids."""
        with translated():
            # A page starts at the id it is given.
            request = edge.ScrollRequest(
                offset=after, limit=limit + 1, with_payload=list(_OWNER_FIELDS)
            )
            found, _next = self._shard.scroll(request)
        page = [(str(record.id), dict(record.payload or {})) for record in found]
        return [item for item in page if item[0] != after][:limit]

    def payloads(
        self, memory_ids: Sequence[str], fields: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the payloads of these points by id, or only these fields of them."""
        wanted = True if fields is None else list(fields)
        with translated():
            found = self._shard.retrieve(list(memory_ids), with_payload=wanted, with_vector=False)
        return {str(record.id): dict(record.payload or {}) for record in found}

    def count(self, scope: SearchScope | None = None) -> int:
        """Return the exact number of points, of a tenant or of all."""
        with translated():
            selected = None if scope is None else edge.Filter(must=[_owner(scope)])
            return self._shard.count(edge.CountRequest(filter=selected))

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
        # The total first, because it needs no filter.
        if self._estimate(None) <= _TOGETHER:
            return False
        return self._estimate(edge.Filter(must=[_owner(scope)])) > _TOGETHER

    def _estimate(self, selected: edge.Filter | None) -> int:
        """Count about, in microseconds."""
        return self._shard.count(edge.CountRequest(exact=False, filter=selected))


def _config(dimensions: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(size=dimensions, distance=edge.Distance.Cosine)},
        sparse_vectors={LEXICAL: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        # No graph: exact search is fast enough, and building one takes minutes at 100,000 points.
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        max_search_threads=1,
    )


def _point(point: StoredPoint) -> edge.Point:
    indices = np.frombuffer(point.lexical_indices, "<u4").tolist()
    lexical = edge.SparseVector(indices, np.frombuffer(point.lexical_values, "<f4").tolist())
    dense: list[float] = np.frombuffer(point.dense, "<f4").tolist()
    vectors: edge.Vector = {DENSE: dense, LEXICAL: lexical}
    return edge.Point(point.memory_id, vectors, stored(point.payload))


def stored(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a point: owner, numbers, and terms for everything else."""
    kept = {
        field: payload[field]
        for field in _KEPT
        if field in payload and payload[field] != _USUAL.get(field)
    }
    terms = [_user_of(payload)]
    for field in _AS_TERMS:
        value = payload.get(field, [])
        values = cast("list[str]", value) if isinstance(value, list) else [value]
        terms += [_term(field, value) for value in values]
    return kept | {_TERMS: terms}


def _user_of(payload: dict[str, Any]) -> str:
    return _user_value(payload["org_id"], payload["user_id"])


def _user_value(org_id: str, user_id: str) -> str:
    """Return what stands for a user: no two users share it, of whatever organizations."""
    return _short(f"{len(org_id)}:{org_id}:{user_id}")


def _term(field: str, value: str) -> str:
    return _short(f"{field}={value}")


def _short(text: str) -> str:
    """Return 88 bits of a hash as text."""
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=11).digest())[:_TERM_CHARS].decode()


def _sparse(vector: SparseVector) -> edge.SparseVector:
    return edge.SparseVector(list(vector.indices), list(vector.values))


def _has(*terms: str) -> edge.FieldCondition:
    match = edge.MatchValue(terms[0]) if len(terms) == 1 else edge.MatchAny(list(terms))
    return edge.FieldCondition(_TERMS, match=match)


def _owner(scope: SearchScope) -> edge.FieldCondition:
    """Return the condition that holds for the whole tenant, without the scope's agent."""
    if isinstance(scope, OrganizationScope):
        return _has(_term("org_id", scope.org_id))
    return _has(_user_value(scope.org_id, scope.user_id))


def _any_of(condition: AnyOf, org_id: str) -> edge.FieldCondition:
    if condition.field == "user_id":
        return _has(*(_user_value(org_id, value) for value in condition.values))
    return _has(*(_term(condition.field, value) for value in condition.values))


def _condition(condition: Condition, org_id: str) -> edge.FieldCondition | edge.Filter:
    if isinstance(condition, AnyOf):
        return _any_of(condition, org_id)
    field = condition.field
    bounds = edge.RangeFloat(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
    within = edge.FieldCondition(field, range=bounds)
    if field in _USUAL and _holds(condition, _USUAL[field]):
        return edge.Filter(should=[within, edge.IsEmptyCondition(field)])
    return within


def _holds(condition: Range, number: float) -> bool:
    return (
        (condition.gt is None or number > condition.gt)
        and (condition.gte is None or number >= condition.gte)
        and (condition.lt is None or number < condition.lt)
        and (condition.lte is None or number <= condition.lte)
    )


def _opposites(condition: Range) -> list[Range]:
    """Return ranges one of which holds where this one does not."""
    field = condition.field
    opposites = (
        None if condition.gt is None else Range(field, lte=condition.gt),
        None if condition.gte is None else Range(field, lt=condition.gte),
        None if condition.lt is None else Range(field, gte=condition.lt),
        None if condition.lte is None else Range(field, gt=condition.lte),
    )
    return [opposite for opposite in opposites if opposite is not None]


def _key(point: ScoredPoint) -> int:
    return point.id.int


@dataclass(frozen=True, slots=True)
class _Request:
    """One list that is asked for."""

    nearest: Any
    selected: edge.Filter | None
    params: edge.SearchParams | None
    limit: int

    def build(self, more: int) -> edge.QueryRequest:
        """Return it as the engine takes it, for a list that is longer by `more`."""
        return edge.QueryRequest(
            self.limit + more, query=self.nearest, filter=self.selected, params=self.params
        )


def _requests(
    queries: Sequence[EncodedQuery],
    scope: SearchScope,
    conditions: tuple[Condition, ...],
    limits: ListLimits,
    *,
    is_all: bool,
) -> list[_Request]:
    """Build one request per list, in the order of the queries, dense before lexical.

    Args:
        queries: What is asked.
        scope: Where.
        conditions: Further filters.
        limits: Hits per list.
        is_all: Whether there are no points but the tenant's, so that the engine need not choose.
    """
    if scope.agent_id is not None:
        conditions = (AnyOf("agent_id", (scope.agent_id,)), *conditions)
    asked = [_condition(condition, scope.org_id) for condition in conditions]
    must = [*asked] if is_all else [_owner(scope), *asked]
    selected = edge.Filter(must=[*must]) if must else None
    # Always of the tenant's points: those of the whole shard count removed ones as well.
    corpus = edge.IdfParams(corpus=edge.Filter(must=[_owner(scope)]))
    within_tenant = edge.SearchParams(idf=corpus)
    requests: list[_Request] = []
    for query in queries:
        if query.dense:
            dense = edge.Query.Nearest(query.dense, using=DENSE)
            requests.append(_Request(dense, selected, None, limits.dense))
        if query.lexical:
            lexical = edge.Query.Nearest(_sparse(query.lexical), using=LEXICAL)
            requests.append(_Request(lexical, selected, within_tenant, limits.lexical))
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
