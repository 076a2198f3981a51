"""What a collection holds and how it is asked: memora's documents and queries in Qdrant's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from memora.core.filters import AnyOf, Condition
from memora.core.indexing import fingerprint
from memora.embeddings.base import SparseVector
from memora.schema.index import IndexEntry, ListLimits, QueryHits
from memora.schema.scope import Scope, SearchScope
from memora.vector_db._encoding import (
    DENSE,
    HIT_FIELDS,
    LEXICAL,
    MANY_TIES,
    TIES,
    EncodedDocument,
    EncodedQuery,
    Encoder,
    Owned,
    ScoredPoint,
    answers,
    best,
    ends_in_tie,
    wanted_of,
)
from memora.vector_db._lazy import LazyModule
from memora.vector_db._qdrant_errors import translated

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models
else:
    models = LazyModule("qdrant_client.models")

# The client builds and parses JSON on the event loop: about 5 ms for so many points.
_BATCH = 64
_DELETE_BATCH = 1000


class Points:
    """The points of one collection, and what encodes them.

    Args:
        client: Of the server, or in local mode.
        name: The collection itself, never an alias: what an alias means changes with a reindex,
            and vectors of this encoder must not meet those of another.
        encoder: The one that the collection was made with.
    """

    def __init__(self, client: AsyncQdrantClient, name: str, encoder: Encoder) -> None:
        self._client = client
        self.name = name
        self.encoder = encoder

    async def upsert(self, encoded: Sequence[EncodedDocument]) -> None:
        """Insert or replace."""
        ordered = sorted(encoded, key=_owner)
        for start in range(0, len(ordered), _BATCH):
            batch = ordered[start : start + _BATCH]
            operations = [
                # Another owner's point of the same id is left alone.
                models.UpsertOperation(
                    upsert=models.PointsList(
                        points=[_point(document) for document in group],
                        update_filter=_tenant(Scope(*owner)),
                    )
                )
                for owner, group in groupby(batch, key=_owner)
            ]
            with translated():
                await self._client.batch_update_points(self.name, operations, wait=True)

    async def search(
        self,
        queries: Sequence[EncodedQuery],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
    ) -> list[QueryHits]:
        """Answer each query with its two lists."""
        wanted = wanted_of(queries, limits)
        found = await self._ask(_requests(queries, scope, conditions, limits, TIES))
        tied = [i for i, points in enumerate(found) if ends_in_tie(points, wanted[i])]
        if tied:
            more = _requests(queries, scope, conditions, limits, MANY_TIES)
            answered = await self._ask([more[i] for i in tied])
            for i, points in zip(tied, answered, strict=True):
                found[i] = points
        ranked = [best(points, limit, _key) for points, limit in zip(found, wanted, strict=True)]
        owned = {
            key: Owned.of(key, point.payload or {})
            for points in found
            for point in points
            for key in (_key(point),)
        }
        return answers(queries, ranked, owned)

    async def _ask(self, requests: list[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        with translated():
            found = await self._client.query_batch_points(self.name, requests)
        return [response.points for response in found]

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        """Delete points of a user."""
        for start in range(0, len(memory_ids), _DELETE_BATCH):
            ids: list[models.ExtendedPointId] = list(memory_ids[start : start + _DELETE_BATCH])
            await self._delete(
                models.Filter(must=[*_owners(scope), models.HasIdCondition(has_id=ids)])
            )

    async def remove_tenant(self, scope: SearchScope) -> None:
        """Delete all points of a tenant."""
        await self._delete(_tenant(scope))

    async def count(self, scope: SearchScope) -> int:
        """Count the points of a tenant."""
        with translated():
            found = await self._client.count(self.name, count_filter=_tenant(scope), exact=True)
        return found.count

    async def scan(self, after: str | None, limit: int, model_id: str) -> list[IndexEntry]:
        """Return stored points in the order of their ids."""
        with translated():
            # A page starts at the id it is given, which may be gone by now.
            records, _ = await self._client.scroll(
                self.name, limit=limit + 1, offset=after, with_payload=True
            )
        entries = [_entry(record, model_id) for record in records if record.id != after]
        return entries[:limit]

    async def lookup(self, memory_ids: Sequence[str], model_id: str) -> list[IndexEntry]:
        """Return points with their payloads."""
        with translated():
            records = await self._client.retrieve(self.name, list(memory_ids), with_payload=True)
        return [
            replace(_entry(record, model_id), payload=record.payload or {}) for record in records
        ]

    async def discard(self, entries: Sequence[IndexEntry]) -> None:
        """Delete points as they were seen: with these owners, or with none."""
        for owner, group in groupby(sorted(entries, key=_seen_owner), key=_seen_owner):
            ids: list[models.ExtendedPointId] = [entry.memory_id for entry in group]
            must: list[models.Condition] = [models.HasIdCondition(has_id=ids)]
            for field, value in zip(("org_id", "user_id"), owner, strict=True):
                nobodys = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
                must.append(_match(field, value) if value else nobodys)
            await self._delete(models.Filter(must=must))

    async def _delete(self, selected: models.Filter) -> None:
        with translated():
            await self._client.delete(
                self.name,
                points_selector=models.FilterSelector(filter=selected),
                wait=True,
                ordering=models.WriteOrdering.STRONG,
            )


def _seen_owner(entry: IndexEntry) -> tuple[str, str]:
    return entry.org_id, entry.user_id


def _owner(document: EncodedDocument) -> tuple[str, str]:
    return document.org_id, document.user_id


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(vector.indices), values=list(vector.values))


def _point(document: EncodedDocument) -> models.PointStruct:
    return models.PointStruct(
        id=document.memory_id,
        vector={DENSE: document.dense.tolist(), LEXICAL: _sparse(document.lexical)},
        payload=document.payload,
    )


def _key(point: ScoredPoint) -> str:
    return str(point.id)


def _match(field: str, *values: str) -> models.FieldCondition:
    one = models.MatchValue(value=values[0]) if len(values) == 1 else None
    return models.FieldCondition(key=field, match=one or models.MatchAny(any=list(values)))


def _owners(scope: SearchScope) -> list[models.Condition]:
    owners: list[models.Condition] = [_match("org_id", scope.org_id)]
    return [*owners, _match("user_id", scope.user_id)] if isinstance(scope, Scope) else owners


def _tenant(scope: SearchScope) -> models.Filter:
    """Filter the whole tenant, without the scope's agent."""
    return models.Filter(must=_owners(scope))


def _condition(condition: Condition) -> models.FieldCondition:
    if isinstance(condition, AnyOf):
        return _match(condition.field, *condition.values)
    return models.FieldCondition(
        key=condition.field,
        range=models.Range(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte),
    )


def _requests(
    queries: Sequence[EncodedQuery],
    scope: SearchScope,
    conditions: tuple[Condition, ...],
    limits: ListLimits,
    more: int,
) -> list[models.QueryRequest]:
    """Build one request per list, in the order of the queries, dense before lexical.

    Args:
        queries: What is asked.
        scope: Where.
        conditions: Further filters.
        limits: Hits per list.
        more: Further hits of every list.
    """
    agent = [] if scope.agent_id is None else [_match("agent_id", scope.agent_id)]
    selected = models.Filter(must=[*_owners(scope), *agent, *map(_condition, conditions)])
    within_tenant = models.SearchParams(idf=models.IdfCorpusParams(corpus=_tenant(scope)))
    requests: list[models.QueryRequest] = []
    for query in queries:
        asked: list[
            tuple[list[float] | models.SparseVector, str, models.SearchParams | None, int]
        ] = []
        if query.dense:
            asked.append((query.dense, DENSE, None, limits.dense))
        if query.lexical:
            asked.append((_sparse(query.lexical), LEXICAL, within_tenant, limits.lexical))
        requests += [
            models.QueryRequest(
                query=vector,
                using=name,
                filter=selected,
                params=params,
                limit=limit + more,
                with_payload=list(HIT_FIELDS),
            )
            for vector, name, params, limit in asked
        ]
    return requests


def _entry(record: models.Record, model_id: str) -> IndexEntry:
    fields = record.payload or {}
    return IndexEntry(
        memory_id=str(record.id),
        org_id=fields.get("org_id", ""),
        user_id=fields.get("user_id", ""),
        text_hash=fields.get("text_hash", ""),
        model_id=model_id,
        fingerprint=fingerprint(fields),
    )
