"""Vectors in a Qdrant collection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from memora.core.filters import AnyOf, Condition
from memora.core.indexing import KEYWORD_FIELDS, NUMBER_FIELDS
from memora.embeddings.base import BaseEmbedder, SparseEncoder, SparseVector
from memora.errors import SchemaVersionError, VectorDBError
from memora.schema.findings import Finding, FindingKind
from memora.schema.index import IndexDocument, IndexEntry, IndexStamp, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.vector_db._encoding import (
    DENSE,
    HIT_FIELDS,
    LEXICAL,
    MANY_TIES,
    TIES,
    EncodedDocument,
    EncodedQuery,
    Encoder,
    answers,
    check_stamp,
    ends_in_tie,
    other_model,
)
from memora.vector_db._lazy import LazyModule
from memora.vector_db._qdrant_errors import translated
from memora.vector_db.base import BaseVectorDB

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models
else:
    models = LazyModule("qdrant_client.models")

_logger = logging.getLogger(__name__)

COLLECTION = "memory_collection_v0_4"
# The first server that computes IDF over a filtered part of the collection.
_MIN_SERVER = (1, 19)
# Version of the collection's layout; a newer one is refused.
_SCHEMA = 1
# The client builds and parses JSON on the event loop: about 5 ms for so many points.
_BATCH = 64
_DELETE_BATCH = 1000
# Names of vectors that memora 0.3's fastembed mixin gave.
_V03_PREFIX = "fast-"


class QdrantDB(BaseVectorDB):
    """Memories in a collection of a Qdrant server, 1.19 or newer.

    Args:
        async_client: A client of a server, or one in local mode for tests.
        collection_name: The collection, made by `setup` and never by a write.
        embed_models_cache_dir: Not used; it is the embedder's business since 0.4.
        enable_logging: Print the library's log on standard error.
        embedder: None stands for the offline default.
        lexical: None stands for BM25 in English.
        owns_client: `close` closes the client too; otherwise who made it does.

    Example:
        ```python
        from qdrant_client import AsyncQdrantClient

        vectors = QdrantDB(AsyncQdrantClient(url="http://localhost:6333"))
        ```
    """

    def __init__(
        self,
        async_client: AsyncQdrantClient,
        collection_name: str = COLLECTION,
        embed_models_cache_dir: str = "./cache",  # noqa: ARG002 - the signature of memora 0.3
        enable_logging: bool = False,  # noqa: FBT001, FBT002 - as above
        *,
        embedder: BaseEmbedder | None = None,
        lexical: SparseEncoder | None = None,
        owns_client: bool = False,
    ) -> None:
        self.async_client = async_client
        self.collection_name = collection_name
        self._encoder = Encoder(embedder, lexical)
        self._owns_client = owns_client
        if enable_logging:
            from memora._logging import enable_console  # noqa: PLC0415 - on request only

            enable_console()

    async def setup(self) -> None:
        wanted = await self._encoder.stamp()
        if not self._is_local:
            await self._check_server()
        if not await self._exists():
            await self._create(wanted)
        info = await self._info()
        check_stamp(self._store, self._stamp_of(info), wanted)
        check_stamp(self._store, _takes(info, wanted), wanted)
        if not self._is_local:
            await self._create_indexes(set(info.payload_schema))

    async def close(self) -> None:
        await self._encoder.close()
        if self._owns_client:
            with translated():
                await self.async_client.close()

    async def stamp(self) -> IndexStamp | None:
        return self._stamp_of(await self._info()) if await self._exists() else None

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        encoded = await self._encoder.documents(documents)
        encoded.sort(key=_owner)
        for start in range(0, len(encoded), _BATCH):
            batch = encoded[start : start + _BATCH]
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
                await self.async_client.batch_update_points(
                    self.collection_name, operations, wait=True
                )

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limit: int,
    ) -> list[QueryHits]:
        encoded = await self._encoder.queries(queries)
        found = await self._ask(_requests(encoded, scope, conditions, limit + TIES))
        tied = [i for i, points in enumerate(found) if ends_in_tie(points, limit)]
        if tied:
            more = _requests(encoded, scope, conditions, limit + MANY_TIES)
            answered = await self._ask([more[i] for i in tied])
            for i, points in zip(tied, answered, strict=True):
                found[i] = points
        return answers(encoded, found, limit)

    async def _ask(self, requests: list[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        with translated():
            found = await self.async_client.query_batch_points(self.collection_name, requests)
        return [response.points for response in found]

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        for start in range(0, len(memory_ids), _DELETE_BATCH):
            ids: list[models.ExtendedPointId] = list(memory_ids[start : start + _DELETE_BATCH])
            await self._delete(
                models.Filter(must=[*_owners(scope), models.HasIdCondition(has_id=ids)])
            )

    async def remove_user(self, org_id: str, user_id: str) -> None:
        await self._delete(_tenant(Scope(org_id, user_id)))

    async def remove_organization(self, org_id: str) -> None:
        await self._delete(_tenant(OrganizationScope(org_id)))

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        model_id = self._stamp_of(await self._info()).model_id
        with translated():
            # A page starts at the id it is given, which may be gone by now.
            records, _ = await self.async_client.scroll(
                self.collection_name,
                limit=limit + 1,
                offset=after,
                with_payload=["org_id", "user_id", "text_hash"],
            )
        entries = [
            replace(_entry(record, model_id), payload={})
            for record in records
            if record.id != after
        ]
        return entries[:limit]

    async def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        model_id = self._stamp_of(await self._info()).model_id
        with translated():
            records = await self.async_client.retrieve(
                self.collection_name, list(memory_ids), with_payload=True
            )
        return [_entry(record, model_id) for record in records]

    async def discard(self, entries: Sequence[IndexEntry]) -> None:
        for owner, group in groupby(sorted(entries, key=_seen_owner), key=_seen_owner):
            ids: list[models.ExtendedPointId] = [entry.memory_id for entry in group]
            must: list[models.Condition] = [models.HasIdCondition(has_id=ids)]
            for field, value in zip(("org_id", "user_id"), owner, strict=True):
                nobodys = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
                must.append(_match(field, value) if value else nobodys)
            await self._delete(models.Filter(must=must))

    async def inspect(self) -> list[Finding]:
        if not await self._exists():
            return []
        wanted = await self._encoder.stamp()
        info = await self._info()
        stamp = self._stamp_of(info)
        if stamp == wanted:
            stamp = _takes(info, wanted)
        if stamp != wanted:
            return [other_model(stamp, wanted)]
        if self._is_local:
            return []
        return [
            Finding("I5", "vectors", f"no index on {field}", FindingKind.HALF_MIGRATION)
            for field in (*KEYWORD_FIELDS, *NUMBER_FIELDS)
            if field not in info.payload_schema
        ]

    async def mend(self) -> None:
        if not any(finding.blocks for finding in await self.inspect()):
            await self.setup()

    async def clear(self) -> None:
        if await self._exists():
            # Raises for a collection that is not memora's, or that memora 0.3 made.
            self._stamp_of(await self._info())
            with translated():
                await self.async_client.delete_collection(self.collection_name)
        await self.setup()

    @property
    def _store(self) -> str:
        return f"Qdrant collection {self.collection_name!r}"

    @property
    def _is_local(self) -> bool:
        """Whether the client works without a server: it has no indexes then, and warns of them."""
        options = self.async_client.init_options
        return options.get("location") == ":memory:" or options.get("path") is not None

    async def _check_server(self) -> None:
        with translated():
            version = (await self.async_client.info()).version
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if numbers < _MIN_SERVER:
            minimum = ".".join(map(str, _MIN_SERVER))
            reason = f"the server is Qdrant {version}; memora needs {minimum} or newer"
            raise VectorDBError("qdrant", f"{reason}, which computes IDF within a tenant")

    async def _exists(self) -> bool:
        with translated():
            return await self.async_client.collection_exists(self.collection_name)

    async def _info(self) -> models.CollectionInfo:
        with translated():
            return await self.async_client.get_collection(self.collection_name)

    async def _create(self, stamp: IndexStamp) -> None:
        try:
            with translated():
                await self.async_client.create_collection(
                    self.collection_name,
                    vectors_config={
                        DENSE: models.VectorParams(
                            size=stamp.dimensions, distance=models.Distance.COSINE
                        )
                    },
                    sparse_vectors_config={
                        LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)
                    },
                    # Every search names its tenant: a graph per tenant, and none over all of them.
                    hnsw_config=models.HnswConfigDiff(payload_m=16, m=0),
                    metadata={
                        "memora": {
                            "schema": _SCHEMA,
                            "model_id": stamp.model_id,
                            "dimensions": stamp.dimensions,
                            "recipe": stamp.recipe,
                        }
                    },
                )
        except VectorDBError:
            # Two processes may set up at the same time; the slower one checks what is there.
            if not await self._exists():
                raise
        else:
            _logger.info("created %s", self._store)

    async def _create_indexes(self, present: set[str]) -> None:
        for field in KEYWORD_FIELDS:
            schema = models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD,
                is_tenant=field == "org_id",
                enable_hnsw=field in {"org_id", "user_id"},
            )
            await self._create_index(field, schema, present)
        for field in NUMBER_FIELDS:
            schema = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)
            await self._create_index(field, schema, present)

    async def _create_index(
        self,
        field: str,
        schema: models.KeywordIndexParams | models.FloatIndexParams,
        present: set[str],
    ) -> None:
        if field not in present:
            with translated():
                await self.async_client.create_payload_index(
                    self.collection_name, field, field_schema=schema, wait=True
                )

    def _stamp_of(self, info: models.CollectionInfo) -> IndexStamp:
        """Read the stamp of a collection.

        Raises:
            SchemaVersionError: The collection is not memora's, of 0.3, or of a later version.
        """
        vectors = info.config.params.vectors
        names = list(vectors) if isinstance(vectors, dict) else []
        mark = (info.config.metadata or {}).get("memora")
        if not isinstance(mark, dict):
            of_v03 = any(name.startswith(_V03_PREFIX) for name in names)
            raise SchemaVersionError(
                self._store,
                found="a collection of memora 0.3" if of_v03 else "one that memora did not make",
                supported="collections that its setup() made; choose another collection_name",
            )
        fields = cast("dict[str, Any]", mark)
        if fields["schema"] != _SCHEMA:
            raise SchemaVersionError(
                self._store, found=f"layout {fields['schema']}", supported=f"layout {_SCHEMA}"
            )
        return IndexStamp(fields["model_id"], fields["dimensions"], fields["recipe"])

    async def _delete(self, selected: models.Filter) -> None:
        with translated():
            await self.async_client.delete(
                self.collection_name,
                points_selector=models.FilterSelector(filter=selected),
                wait=True,
                ordering=models.WriteOrdering.STRONG,
            )


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
    limit: int,
) -> list[models.QueryRequest]:
    """Build one request per list, in the order of the queries, dense before lexical."""
    agent = [] if scope.agent_id is None else [_match("agent_id", scope.agent_id)]
    selected = models.Filter(must=[*_owners(scope), *agent, *map(_condition, conditions)])
    within_tenant = models.SearchParams(idf=models.IdfCorpusParams(corpus=_tenant(scope)))
    requests: list[models.QueryRequest] = []
    for query in queries:
        asked: list[tuple[list[float] | models.SparseVector, str, models.SearchParams | None]] = []
        if query.dense:
            asked.append((query.dense, DENSE, None))
        if query.lexical:
            asked.append((_sparse(query.lexical), LEXICAL, within_tenant))
        requests += [
            models.QueryRequest(
                query=vector,
                using=name,
                filter=selected,
                params=params,
                limit=limit,
                with_payload=list(HIT_FIELDS),
            )
            for vector, name, params in asked
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
        payload=fields,
    )


def _seen_owner(entry: IndexEntry) -> tuple[str, str]:
    return entry.org_id, entry.user_id


def _takes(info: models.CollectionInfo, stamp: IndexStamp) -> IndexStamp:
    """Return the stamp with the length of vectors that the collection really takes (B23)."""
    vectors = info.config.params.vectors
    dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
    return replace(stamp, dimensions=0 if dense is None else dense.size)
