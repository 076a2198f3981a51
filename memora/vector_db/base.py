"""The vector port: derived, rebuildable search over memories."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Protocol, Self
from uuid import UUID

from memora.core.filters import AnyOf, Condition
from memora.core.hashing import exact_hash
from memora.core.indexing import KEYWORD_FIELDS, NUMBER_FIELDS
from memora.embeddings.base import BaseEmbedder
from memora.encryption import Keyring
from memora.errors import InvalidInputError
from memora.schema.findings import Finding
from memora.schema.index import Hit, IndexDocument, IndexEntry, IndexStamp, ListLimits, QueryHits
from memora.schema.scope import MemorySearchScope, Scope, SearchScope, search_scope
from memora.schema.times import parsed_time
from memora.schema.validation import (
    PAGE,
    QUERIES,
    checked_id,
    checked_int,
    checked_list,
    checked_text,
)
from memora.vector_db.rebuild import Rebuild

__all__ = ["BaseVectorDB", "MemorySearchScope", "PinnedStore"]


class PinnedStore(Protocol):
    """One state of a store that lies in a file, held while the store goes on."""

    async def copy_to(self, path: Path) -> None:
        """Write that state into a new file."""
        ...


class BaseVectorDB(ABC):
    """Dense and lexical search over memories, each inside one tenant.

    Callers use the public methods, which validate and check every hit's owner again; an adapter
    writes the abstract ones. A store is stamped with its embedding model and recipe, and one made
    with another is refused.
    """

    async def __aenter__(self) -> Self:
        await self.setup()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    @abstractmethod
    async def setup(self) -> None:
        """Create what is missing, check the stamp; may be called again at any time.

        Raises:
            SchemaVersionError: The store was made with another model, dimension or recipe, or
                by memora 0.3.
            VectorDBError: The store cannot be used.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release what this object opened; a second call does nothing."""

    async def use_keys(self, keys: Keyring) -> None:  # noqa: B027 - most stores have no use for it
        """Take the keys of the graph that this store follows, before `setup` or at any time later.

        A store that keeps filter values in files of its own encrypts them with the last key. One
        on a server ignores this.
        """

    @abstractmethod
    async def stamp(self) -> IndexStamp | None:
        """Return what the store was made with, or None before `setup`."""

    @abstractmethod
    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        """Insert or replace documents by `memory_id`; on return they are searchable.

        Raises:
            EmbeddingError: The texts could not be embedded; nothing was written.
            VectorDBError: The store failed; repeating the call is safe.
        """

    @abstractmethod
    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        """Answer each query with its dense and its lexical list.

        The engine itself looks at the tenant's points alone, and at those that the conditions let
        through. Lexical IDF is computed over the searched tenant (`scope` without its agent and
        without the conditions).

        Args:
            queries: Texts.
            scope: Whose memories.
            conditions: Further filters.
            limits: Hits per list.
            dense_queries: What the dense lists answer instead, one for each query.
        """

    @abstractmethod
    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        """Delete these vectors of the user; unknown and foreign ids change nothing."""

    @abstractmethod
    async def remove_user(self, org_id: str, user_id: str) -> None:
        """Delete every vector of the user, also from the store's own files and caches."""

    @abstractmethod
    async def remove_organization(self, org_id: str) -> None:
        """Delete every vector of the organization; as above."""

    @abstractmethod
    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        """Return stored vectors in the order of their ids, for doctor and reindex.

        Their payloads are left out; `lookup` has them.

        Args:
            after: Last id of the page before.
            limit: At most that many.
        """

    async def count(self, scope: SearchScope) -> int:
        """Count the vectors of the scope's user or organization; an agent does not narrow.

        This one reads the whole store; a store that can count by owner does better.
        """
        owner = scope.user_id if isinstance(scope, Scope) else None
        found = 0
        after: str | None = None
        while True:
            page = await self.scan(after=after, limit=PAGE)
            found += sum(
                entry.org_id == scope.org_id and owner in {None, entry.user_id} for entry in page
            )
            if len(page) < PAGE:
                return found
            after = page[-1].memory_id

    def forget_texts(self) -> None:  # noqa: B027 - not every store keeps any
        """Drop what this object keeps in memory of texts, such as their vectors."""

    @abstractmethod
    async def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        """Return the vectors of these ids with their payloads, whoever's they are; unordered."""

    @abstractmethod
    async def discard(self, entries: Sequence[IndexEntry]) -> None:
        """Delete vectors as they were seen: with these ids and owners (empty: without an owner).

        One that has another owner by now stays.
        """

    @abstractmethod
    async def inspect(self) -> list[Finding]:
        """Check the store by itself: its schema, its stamp, the length of its vectors.

        Works also where `setup` refuses the store; what it finds must be repaired before vectors
        can be compared.

        Raises:
            SchemaVersionError: The store is newer than this memora, of 0.3, or not memora's.
        """

    @abstractmethod
    async def mend(self) -> None:
        """Make what is missing of the store again and set it up; unusable vectors go.

        A stamp of another model stays: that is for `clear` or a reindex.
        """

    @abstractmethod
    async def clear(self) -> None:
        """Drop all vectors and the stamp, and set up again with this object's model."""

    @abstractmethod
    async def begin_rebuild(self, embedder: BaseEmbedder | None = None) -> Rebuild:
        """Start an empty index beside the one in use; see `Rebuild`.

        The index in use may be of any model and recipe, and this object need not be set up. What
        an earlier rebuild left behind is removed.

        Args:
            embedder: The model of the new index; None: this object's own.

        Raises:
            RebuildRunningError: Somebody is at it.
            EmbeddingError: The model cannot be used.
            VectorDBError: The store failed; the index in use is as it was.
        """

    async def is_unverified(self) -> bool:
        """Tell whether a new index went into use that nobody has compared with the graph since.

        Only of stores that several processes share: see `memora.ops.reindex`.
        """
        return False

    async def mark_verified(self) -> None:
        """Note that the index in use was compared with the graph."""
        return

    @asynccontextmanager
    async def rebuilding(self, embedder: BaseEmbedder | None = None) -> AsyncGenerator[Rebuild]:
        """Hold a rebuild; what was not committed by the end is discarded."""
        staged = await self.begin_rebuild(embedder)
        try:
            yield staged
        finally:
            await staged.discard()

    @asynccontextmanager
    async def pin(self) -> AsyncGenerator[PinnedStore | None]:
        """Hold the present state for a native copy, while writes go on.

        None, as here: the store lies on a server. Vectors can always be made again.
        """
        yield None

    async def replace_with(self, file: Path) -> bool:
        """Become what a native copy holds; the store must be empty.

        Returns:
            False: it stays empty, since the copy was made with another model, or, as here, the
                store does not lie in a file.

        Raises:
            SchemaVersionError: The copy is newer than this memora, or of something else.
        """
        del file
        return False

    async def search_memories(
        self,
        queries: Sequence[str],
        memory_search_scope: MemorySearchScope | str,
        org_id: str,
        user_id: str | None = None,
        agent_id: str | None = None,
        *,
        limit: int = 50,
        lexical_limit: int | None = None,
        conditions: tuple[Condition, ...] = (),
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        """Search with several queries; the answer has one item per query, in order.

        Args:
            queries: At most 16 texts.
            memory_search_scope: `user` or `organization`.
            org_id: The organization.
            user_id: The user; required for the user scope.
            agent_id: Only memories of this agent.
            limit: Hits per list, 1 to 1000.
            lexical_limit: Hits per lexical list; None: as many.
            conditions: Further filters on the fields of `core.indexing`.
            dense_queries: What the dense lists answer instead, one text for each query.

        Raises:
            InvalidInputError: An argument is out of range, or the scope is unknown.
            EmbeddingError: The queries could not be embedded.
            VectorDBError: The store failed.
        """
        scope = search_scope(
            memory_search_scope, org_id, user_id, agent_id, across_agents=agent_id is None
        )
        given = checked_list(queries, "queries", "a list of texts")
        checked_int(len(given), "queries", 0, QUERIES)
        texts = [checked_text(query, f"queries[{i}]") for i, query in enumerate(given)]
        checked_int(limit, "limit", 1, PAGE)
        if lexical_limit is not None:
            checked_int(lexical_limit, "lexical_limit", 1, PAGE)
        if not texts:
            return []
        if not _satisfiable(conditions):
            return [QueryHits() for _ in texts]
        dense = None if dense_queries is None else _checked_dense(dense_queries, texts)
        limits = ListLimits(limit, limit if lexical_limit is None else lexical_limit)
        answers = await self.run_queries(texts, scope, conditions, limits, dense)
        return [
            QueryHits(_checked_hits(answer.dense, scope), _checked_hits(answer.lexical, scope))
            for answer in answers
        ]

    async def search_memory(
        self,
        query: str,
        memory_search_scope: MemorySearchScope | str,
        org_id: str,
        user_id: str | None = None,
        agent_id: str | None = None,
        *,
        limit: int = 50,
        lexical_limit: int | None = None,
        conditions: tuple[Condition, ...] = (),
    ) -> QueryHits:
        """Search with one query; see `search_memories`."""
        answers = await self.search_memories(
            [query],
            memory_search_scope,
            org_id,
            user_id,
            agent_id,
            limit=limit,
            lexical_limit=lexical_limit,
            conditions=conditions,
        )
        return answers[0]

    async def add_memories(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None,
        memory_ids: Sequence[str | UUID],
        memories: Sequence[str],
        obtained_at: datetime | str,
    ) -> None:
        """Insert or replace memories given as texts; `upsert` takes everything else as well.

        Raises:
            InvalidInputError: The lists differ in length, or an argument is malformed.
            EmbeddingError: The texts could not be embedded; nothing was written.
            VectorDBError: The store failed; repeating the call is safe.
        """
        scope = Scope(org_id, user_id, agent_id)
        ids = checked_list(memory_ids, "memory_ids", "a list of ids")
        given = checked_list(memories, "memories", "a list of texts")
        if len(ids) != len(given):
            raise InvalidInputError("memories", f"{len(ids)} texts", got=str(len(given)))
        time = parsed_time(obtained_at, "obtained_at")
        texts = [checked_text(text, f"memories[{i}]") for i, text in enumerate(given)]
        await self.upsert(
            [
                IndexDocument(
                    memory_id=checked_memory_id(str(memory_id)),
                    org_id=scope.org_id,
                    user_id=scope.user_id,
                    agent_id=scope.agent_id,
                    interaction_id=None,
                    dense_text=text,
                    lexical_text=text,
                    text_hash=exact_hash(text),
                    memory_type="fact",
                    obtained_at=time,
                )
                for memory_id, text in zip(ids, texts, strict=True)
            ]
        )

    async def delete_memory(self, memory_id: str, org_id: str, user_id: str) -> None:
        """Delete one vector of the user; see `delete_memories`."""
        await self.delete_memories([memory_id], org_id, user_id)

    async def delete_memories(self, memory_ids: Sequence[str], org_id: str, user_id: str) -> None:
        """Delete vectors of the user; unknown and foreign ids change nothing."""
        scope = Scope(org_id, user_id)
        given = checked_list(memory_ids, "memory_ids", "a list of ids")
        ids = [checked_id(memory_id, "memory_ids") for memory_id in given]
        known = [str(UUID(memory_id)) for memory_id in ids if _is_uuid(memory_id)]
        if known:
            await self.remove(scope, known)

    async def delete_all_user_memories(self, org_id: str, user_id: str) -> None:
        """Delete every vector of the user."""
        scope = Scope(org_id, user_id)
        await self.remove_user(scope.org_id, scope.user_id)

    async def delete_all_organization_memories(self, org_id: str) -> None:
        """Delete every vector of the organization."""
        await self.remove_organization(checked_id(org_id, "org_id"))


def checked_memory_id(memory_id: str) -> str:
    """Return the id in the usual form of a UUID.

    Raises:
        InvalidInputError: It is no UUID; vector stores need one.
    """
    if not _is_uuid(memory_id):
        raise InvalidInputError("memory_id", "a UUID")
    return str(UUID(memory_id))


def _is_uuid(memory_id: str) -> bool:
    try:
        UUID(memory_id)
    except ValueError:
        return False
    return True


def _checked_dense(value: object, texts: Sequence[str]) -> list[str]:
    given = checked_list(value, "dense_queries", "a list of texts")
    if len(given) != len(texts):
        raise InvalidInputError("dense_queries", f"{len(texts)} texts", got=str(len(given)))
    return [checked_text(query, f"dense_queries[{i}]") for i, query in enumerate(given)]


def _satisfiable(conditions: tuple[Condition, ...]) -> bool:
    """Tell whether anything can match, after checking that all filtered fields are indexed.

    Raises:
        InvalidInputError: There is no such field, or not of that kind.
    """
    for condition in conditions:
        fields = KEYWORD_FIELDS if isinstance(condition, AnyOf) else NUMBER_FIELDS
        if condition.field not in fields:
            raise InvalidInputError("conditions", f"on {', '.join(fields)}")
    return all(condition.values for condition in conditions if isinstance(condition, AnyOf))


_ID, _OWNER, _SCORE = itemgetter(0), itemgetter(1, 2, 3), itemgetter(4)


def _checked_hits(hits: Sequence[Hit], scope: SearchScope) -> tuple[Hit, ...]:
    """Keep the hits that the scope admits, best first, ties by id."""
    # Few owners have many hits each.
    foreign = {owner for owner in set(map(_OWNER, hits)) if not scope.admits(*owner)}
    admitted = [hit for hit in hits if _OWNER(hit) not in foreign] if foreign else hits
    by_id = sorted(admitted, key=_ID)
    return tuple(sorted(by_id, key=_SCORE, reverse=True))
