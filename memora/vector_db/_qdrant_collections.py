"""The collections of one Qdrant store: which is in use, which is being made, what is left over.

`setup` makes a collection of the store's own name. A reindex makes one of a name that nobody had
before, and then points the alias `<name>-in-use` at it, which the server does in one step; where
there is no such alias, the collection of the store's name is in use. Everybody resolves the alias
when a store is set up and from then on works with the collection itself. So a process that still
has the old model goes on with the old collection, whole, and is told when that is deleted: no
request of it ever reaches vectors of another model.

A collection that is being made carries a lease, which its maker renews. One without a valid lease
that is not in use was left behind, and is deleted by whoever sets the store up next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from memora.core.clock import Clock
from memora.core.ids import new_lease
from memora.core.indexing import KEYWORD_FIELDS, NUMBER_FIELDS
from memora.errors import SchemaVersionError, VectorDBConnectionError, VectorDBError
from memora.schema.index import IndexStamp
from memora.vector_db._encoding import DENSE, LEXICAL
from memora.vector_db._lazy import LazyModule
from memora.vector_db._qdrant_errors import translated

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models
else:
    models = LazyModule("qdrant_client.models")

_logger = logging.getLogger(__name__)

# Version of the collection's layout; a newer one is refused.
_SCHEMA = 1
# Names of vectors that memora 0.3's fastembed mixin gave.
_V03_PREFIX = "fast-"
# After this time without a sign of life a reindex counts as dead.
LEASE = timedelta(seconds=60)
# How often a collection may change under a look at it before that counts as an outage.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """What memora writes into a collection's metadata.

    Attributes:
        of: The store's name, in a collection that a reindex made.
        lease_until: In one that is being made: when its maker counts as dead.
        unverified: Not compared with the graph since it is in use.
    """

    model_id: str
    dimensions: int
    recipe: str
    of: str | None = None
    lease_until: float | None = None
    unverified: bool = False
    schema: int = _SCHEMA

    @property
    def stamp(self) -> IndexStamp:
        """What the vectors were made with."""
        return IndexStamp(self.model_id, self.dimensions, self.recipe)


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as it was found.

    Attributes:
        indexed: Payload fields that have an index.
        dimensions: Length of the vectors that it really takes, whatever the mark says (B23).
    """

    name: str
    mark: Mark
    indexed: frozenset[str]
    dimensions: int

    @property
    def takes(self) -> IndexStamp:
        """The stamp with the length of vectors that the collection really takes."""
        return replace(self.mark.stamp, dimensions=self.dimensions)


class Collections:
    """Finds, makes, switches and deletes collections.

    Args:
        client: Of the server, or in local mode.
        name: The store's name.
        clock: Decides which lease is valid.
    """

    def __init__(self, client: AsyncQdrantClient, name: str, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.name = name
        self.alias = f"{name}-in-use"

    @property
    def store(self) -> str:
        """The store, in words."""
        return f"Qdrant collection {self.name!r}"

    @property
    def is_local(self) -> bool:
        """Whether the client works without a server: it has no indexes then, and warns of them."""
        options = self._client.init_options
        return options.get("location") == ":memory:" or options.get("path") is not None

    async def find(self) -> Collection | None:
        """Return the collection in use, or None where there is none.

        Raises:
            SchemaVersionError: It is not memora's, of 0.3, or of a later version.
            VectorDBError: The server failed.
        """
        for _ in range(_TRIES):
            pointed_at = await self._pointed_at()
            name = pointed_at or self.name
            with translated():
                if await self._client.collection_exists(name):
                    return await self._look_at(name)
            # A reindex may have ended since, and deleted the collection of this name.
            if pointed_at is None and await self._pointed_at() is None:
                return None
        raise VectorDBConnectionError("qdrant", "the collection in use keeps changing")

    async def others(self, in_use: str | None) -> list[Collection]:
        """Return all collections of this store but the one in use."""
        with translated():
            listed = await self._client.get_collections()
        found: list[Collection] = []
        for name in sorted(description.name for description in listed.collections):
            if name != in_use and (name == self.name or name.startswith(f"{self.name}-")):
                try:
                    collection = await self._look_at(name)
                except VectorDBConnectionError:
                    raise
                except (SchemaVersionError, VectorDBError):
                    continue  # somebody else's, or gone by now
                if self.name in (collection.name, collection.mark.of):
                    found.append(collection)
        return found

    def is_alive(self, collection: Collection) -> bool:
        """Tell whether somebody is making this collection."""
        until = collection.mark.lease_until
        return until is not None and until > self._clock.now().timestamp()

    async def remove(self, collections: Iterable[Collection]) -> None:
        """Delete collections."""
        for collection in collections:
            with translated():
                await self._client.delete_collection(collection.name)
            _logger.info("deleted the collection %s", collection.name)

    async def remove_leftovers(self, in_use: str | None) -> None:
        """Delete what reindexes left behind, and what they replaced."""
        others = await self.others(in_use)
        await self.remove(other for other in others if not self.is_alive(other))

    async def create_first(self, stamp: IndexStamp) -> None:
        """Make the collection of the store's name, unless somebody else does at this moment."""
        made = await self._create(self.name, Mark(**asdict(stamp)))
        in_use = await self._pointed_at()
        if made and in_use is not None:
            # A reindex ended between the look and the making.
            with translated():
                await self._client.delete_collection(self.name)

    def next(self, stamp: IndexStamp) -> Collection:
        """Return a collection to be made and filled, under a name that nobody had before."""
        mark = Mark(**asdict(stamp), of=self.name, lease_until=self._lease(), unverified=True)
        name = f"{self.name}-{new_lease()[:12]}"
        return Collection(name, mark, frozenset(), stamp.dimensions)

    async def create(self, collection: Collection) -> None:
        """Make a collection, still without indexes."""
        await self._create(collection.name, collection.mark)

    async def renew(self, collection: Collection) -> None:
        """Show that a collection is still being made."""
        await self._write_mark(collection.name, replace(collection.mark, lease_until=self._lease()))

    async def end_lease(self, collection: Collection) -> None:
        """Note that a collection is no longer being made."""
        await self._write_mark(collection.name, replace(collection.mark, lease_until=None))

    async def mark_verified(self, collection: Collection) -> None:
        """Note that a collection was compared with the graph."""
        mark = replace(collection.mark, lease_until=None, unverified=False)
        await self._write_mark(collection.name, mark)

    async def put_into_use(self, name: str) -> None:
        """Point the alias at a collection, in one step."""
        remove = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.alias))
        create = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=name, alias_name=self.alias)
        )
        with translated():
            await self._client.update_collection_aliases([remove, create])

    async def create_indexes(self, collection: Collection) -> None:
        """Index what is filtered by; local mode has no indexes."""
        if self.is_local:
            return
        for field in KEYWORD_FIELDS:
            schema = models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD,
                is_tenant=field == "org_id",
                enable_hnsw=field in {"org_id", "user_id"},
            )
            await self._create_index(collection, field, schema)
        for field in NUMBER_FIELDS:
            schema = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)
            await self._create_index(collection, field, schema)

    async def _create_index(
        self,
        collection: Collection,
        field: str,
        schema: models.KeywordIndexParams | models.FloatIndexParams,
    ) -> None:
        if field not in collection.indexed:
            with translated():
                await self._client.create_payload_index(
                    collection.name, field, field_schema=schema, wait=True
                )

    async def _create(self, name: str, mark: Mark) -> bool:
        """Make a collection; False when there is one of this name."""
        try:
            with translated():
                await self._client.create_collection(
                    name,
                    vectors_config={
                        DENSE: models.VectorParams(
                            size=mark.dimensions, distance=models.Distance.COSINE
                        )
                    },
                    sparse_vectors_config={
                        LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)
                    },
                    # Every search names its tenant: a graph per tenant, and none over all of them.
                    hnsw_config=models.HnswConfigDiff(payload_m=16, m=0),
                    metadata={"memora": asdict(mark)},
                )
        except VectorDBError:
            # Two processes may set up at the same time; the slower one takes what is there.
            with translated():
                if not await self._client.collection_exists(name):
                    raise
            return False
        _logger.info("created the collection %s", name)
        return True

    async def _write_mark(self, name: str, mark: Mark) -> None:
        with translated():
            await self._client.update_collection(name, metadata={"memora": asdict(mark)})

    def _lease(self) -> float:
        return (self._clock.now() + LEASE).timestamp()

    async def _pointed_at(self) -> str | None:
        with translated():
            listed = await self._client.get_aliases()
        names = (
            found.collection_name for found in listed.aliases if found.alias_name == self.alias
        )
        return next(names, None)

    async def _look_at(self, name: str) -> Collection:
        with translated():
            info = await self._client.get_collection(name)
        vectors = info.config.params.vectors
        dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
        length = 0 if dense is None else dense.size
        return Collection(name, self._mark_of(info), frozenset(info.payload_schema), length)

    def _mark_of(self, info: models.CollectionInfo) -> Mark:
        vectors = info.config.params.vectors
        names = list(vectors) if isinstance(vectors, dict) else []
        written = (info.config.metadata or {}).get("memora")
        if not isinstance(written, dict):
            of_v03 = any(name.startswith(_V03_PREFIX) for name in names)
            raise SchemaVersionError(
                self.store,
                found="a collection of memora 0.3" if of_v03 else "one that memora did not make",
                supported="collections that its setup() made; choose another collection_name",
            )
        fields = cast("dict[str, Any]", written)
        if fields["schema"] != _SCHEMA:
            raise SchemaVersionError(
                self.store, found=f"layout {fields['schema']}", supported=f"layout {_SCHEMA}"
            )
        return Mark(
            fields["model_id"],
            fields["dimensions"],
            fields["recipe"],
            fields.get("of"),
            fields.get("lease_until"),
            fields.get("unverified", False),
        )
