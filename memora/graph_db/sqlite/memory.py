"""Memories: reading versions and chains, and purging them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from memora import _queries
from memora.core import indexing, versions
from memora.core.hashing import tombstone
from memora.graph_db.base import CONTEXT_REACH, MemoryListing
from memora.graph_db.sqlite import _names, records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, rows, values
from memora.graph_db.sqlite._seal import MEMORY, marks
from memora.graph_db.sqlite.records import Row
from memora.schema.index import IndexDocument
from memora.schema.models import Memory, MessageBlock
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_SQL = _queries.load(PACKAGE, "queries/memory.sql")
_READ = _SQL["read"]
_RESOLVE_CURRENT = _SQL["resolve_current"]
_RESOLVE_AS_OF = _SQL["resolve_as_of"]
_CHAINS = _SQL["chains"]
_SOURCES = _SQL["sources"]
_CONTEXTS = _SQL["contexts"]
_PAGE = _SQL["page"]
_PAGE_OF_INTERACTION = _SQL["page_of_interaction"]
_PAGE_OF_ORGANIZATION = _SQL["page_of_organization"]
_PAGE_OF_INDEX = _SQL["page_of_index"]
_CURRENT_BY_HASH = _SQL["current_by_hash"]
_TOMBSTONES = _SQL["tombstones"]
_KNOWN = _SQL["known"]
_SOME = _SQL["some"]
_CHAIN_LINKS = _SQL["chain_links"]
_RELINK = _SQL["relink"]
_SOURCE_HASHES = _SQL["source_hashes"]
_INSERT_TOMBSTONE = _SQL["insert_tombstone"]
_DELETE_SOURCES = _SQL["delete_sources"]
_DELETE = _SQL["delete"]
_SALT = _queries.load(PACKAGE, "queries/user.sql")["salt"]

_END_OF_TIME = 2**63 - 1
_AT_ONCE = 500


class MemoryPart(SQLiteBase):
    """Memories in SQLite."""

    async def read_memories(self, scope: Scope, memory_ids: Sequence[str]) -> list[Memory]:
        ids = records.id_list(dict.fromkeys(memory_ids))

        def work(connection: sqlite3.Connection) -> list[Memory]:
            found = rows(
                connection,
                _READ,
                org_id=scope.org_id,
                user_id=scope.user_id,
                agent_id=scope.agent_id,
                memory_ids=ids,
            )
            return list(_memories(connection, scope.org_id, found).values())

        return await self._store.read(work)

    async def resolve_memories(
        self, scope: Scope, memory_ids: Sequence[str], as_of: datetime | None
    ) -> dict[str, Memory]:
        params: dict[str, Any] = {
            "org_id": scope.org_id,
            "user_id": scope.user_id,
            "memory_ids": records.id_list(dict.fromkeys(memory_ids)),
        }

        def work(connection: sqlite3.Connection) -> dict[str, Memory]:
            if as_of is None:
                found = rows(connection, _RESOLVE_CURRENT, **params)
            else:
                found = rows(connection, _RESOLVE_AS_OF, **params, as_of=records.micros(as_of))
            memories = _memories(connection, scope.org_id, found)
            return {row["wanted_id"]: memories[row["memory_id"]] for row in found}

        return await self._store.read(work)

    async def read_chains(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, list[Memory]]:
        ids = records.id_list(dict.fromkeys(memory_ids))

        def work(connection: sqlite3.Connection) -> dict[str, list[Memory]]:
            found = rows(
                connection, _CHAINS, org_id=scope.org_id, user_id=scope.user_id, memory_ids=ids
            )
            memories = _memories(connection, scope.org_id, found)
            chains: dict[str, list[Memory]] = {}
            for row in found:
                chains.setdefault(row["wanted_id"], []).append(memories[row["memory_id"]])
            return {memory_id: versions.newest_first(chain) for memory_id, chain in chains.items()}

        return await self._store.read(work)

    async def list_memories(self, scope: SearchScope, listing: MemoryListing) -> list[Memory]:
        return await self._store.read(lambda connection: _page(connection, scope, listing, None))

    async def list_live_memories(
        self, scope: SearchScope, listing: MemoryListing, now: datetime
    ) -> list[Memory]:
        return await self._store.read(lambda connection: _page(connection, scope, listing, now))

    async def read_contexts(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, str]:
        return await self._store.read(lambda connection: _contexts(connection, scope, memory_ids))

    async def all_index_documents(self, scope: Scope) -> AsyncIterator[IndexDocument]:
        after = (_END_OF_TIME, "")
        while True:
            page, contexts = await self._store.read(partial(_index_page, scope=scope, after=after))
            for row in page:
                context = contexts.get(row["memory_id"])
                yield indexing.document(records.memory(row, ()), context)
            if len(page) < _AT_ONCE:
                return
            after = (page[-1]["obtained_at"], page[-1]["memory_id"])

    async def find_current_by_hash(
        self, scope: Scope, content_hashes: Collection[str]
    ) -> dict[str, Memory]:
        wanted = dict.fromkeys(content_hashes)

        def work(connection: sqlite3.Connection) -> dict[str, Memory]:
            owner = (scope.org_id, scope.user_id)
            hashes = marks(connection, MEMORY, "content_hash", owner, wanted)
            found = rows(
                connection,
                _CURRENT_BY_HASH,
                org_id=scope.org_id,
                user_id=scope.user_id,
                agent_id=scope.agent_id,
                content_hashes=records.id_list(hashes),
            )
            memories = _memories(connection, scope.org_id, found)
            return {memory.content_hash: memory for memory in memories.values()}

        return await self._store.read(work)

    async def find_tombstones(self, scope: Scope, tombstones: Collection[str]) -> set[str]:
        found = await self._store.read(
            lambda connection: values(
                connection,
                _TOMBSTONES,
                org_id=scope.org_id,
                user_id=scope.user_id,
                marks=records.id_list(tombstones),
            )
        )
        return set(found)

    async def purge_memories(
        self, scope: Scope, memory_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}

        def work(connection: sqlite3.Connection) -> DeleteCounts:
            purged = 0
            while True:
                if memory_ids is None:
                    found = values(connection, _SOME, **owner, limit=_AT_ONCE)
                else:
                    asked = records.id_list(memory_ids)
                    found = values(connection, _KNOWN, **owner, memory_ids=asked)[:_AT_ONCE]
                if not found:
                    return DeleteCounts(memories=purged)
                _bury(connection, scope, found, now)
                purge(connection, scope, found, now)
                purged += len(found)

        counts = await self._store.write(work)
        await self._store.checkpoint()
        return counts


def _contexts(
    connection: sqlite3.Connection, scope: Scope, memory_ids: Sequence[str]
) -> dict[str, str]:
    found = rows(
        connection,
        _CONTEXTS,
        org_id=scope.org_id,
        user_id=scope.user_id,
        memory_ids=records.id_list(dict.fromkeys(memory_ids)),
        reach=CONTEXT_REACH,
    )
    return {row["memory_id"]: row["content"] for row in found if row["content"] is not None}


def _index_page(
    connection: sqlite3.Connection, scope: Scope, after: tuple[int, str]
) -> tuple[list[Row], dict[str, str]]:
    page = rows(
        connection,
        _PAGE_OF_INDEX,
        org_id=scope.org_id,
        user_id=scope.user_id,
        after_time=after[0],
        after_id=after[1],
        limit=_AT_ONCE,
    )
    return page, _contexts(connection, scope, [row["memory_id"] for row in page])


def _page(
    connection: sqlite3.Connection, scope: SearchScope, listing: MemoryListing, now: datetime | None
) -> list[Memory]:
    after_time, after_id = _END_OF_TIME, ""
    if listing.after is not None:
        after_time, after_id = records.micros(listing.after[0]), listing.after[1]
    params: dict[str, Any] = {
        "org_id": scope.org_id,
        "agent_id": listing.agent_id,
        "interaction_id": listing.interaction_id,
        "after_time": after_time,
        "after_id": after_id,
        "current_only": listing.current_only,
        "standing": None if listing.standing is None else records.dumps(listing.standing),
        "now": records.optional_micros(now),
        "skip": listing.skip,
        "limit": listing.limit,
    }
    if isinstance(scope, Scope):
        query = _PAGE if listing.interaction_id is None else _PAGE_OF_INTERACTION
        found = rows(connection, query, **params, user_id=scope.user_id)
    else:
        found = rows(connection, _PAGE_OF_ORGANIZATION, **params)
    return list(_memories(connection, scope.org_id, found).values())


def _memories(
    connection: sqlite3.Connection, org_id: str, found: Sequence[Row]
) -> dict[str, Memory]:
    """Return the memories of rows by id, in order, each once, with their sources."""
    by_id = {row["memory_id"]: row for row in found}
    sources: dict[str, list[MessageBlock]] = {}
    linked = rows(
        connection,
        _SOURCES,
        org_id=org_id,
        memory_ids=records.id_list(by_id),
    )
    for row in linked:
        sources.setdefault(row["memory_id"], []).append(records.message(row))
    return {
        memory_id: records.memory(row, sources.get(memory_id, ()))
        for memory_id, row in by_id.items()
    }


def _bury(
    connection: sqlite3.Connection, scope: Scope, memory_ids: Sequence[str], now: datetime
) -> None:
    """Leave a tombstone for every source of these memories."""
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    salt = values(connection, _SALT, **owner)[0]
    hashes = connection.execute(
        _SOURCE_HASHES, {**owner, "memory_ids": records.id_list(memory_ids)}
    ).fetchall()
    grave = {**owner, "purged_at": records.micros(now)}
    connection.executemany(
        _INSERT_TOMBSTONE,
        ({**grave, "mark": tombstone(salt, prefix, content)} for prefix, content in hashes),
    )


def purge(
    connection: sqlite3.Connection, scope: Scope, memory_ids: Sequence[str], now: datetime
) -> None:
    """Delete these memories of the user, relink their chains, and have the vectors follow."""
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    ids = records.id_list(memory_ids)
    links = rows(connection, _CHAIN_LINKS, **owner, memory_ids=ids)
    change(connection, _DELETE_SOURCES, **owner, memory_ids=ids)
    _names.unlink(connection, scope, memory_ids)
    change(connection, _DELETE, **owner, memory_ids=ids)
    purged = frozenset(memory_ids)
    for _, chain in groupby(links, key=lambda row: row["chain_id"]):
        linked = [versions.Link(row["memory_id"], row["successor_id"]) for row in chain]
        for link in versions.relink(versions.oldest_first(linked), purged):
            change(
                connection,
                _RELINK,
                **owner,
                memory_id=link.memory_id,
                successor_id=link.successor_id,
            )
    enqueue(connection, OutboxOp.SYNC, scope.org_id, scope.user_id, now, memory_ids)
