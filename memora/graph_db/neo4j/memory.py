"""Memory versions: reading them, and purging them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from memora._queries import load
from memora.core import versions
from memora.graph_db.base import CONTEXT_REACH, MemoryListing
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j._purge import purge
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.records import Row
from memora.graph_db.neo4j.user import lock_user
from memora.schema.models import Memory
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_Q = load(PACKAGE, "queries/memory.cypher")

# Later than every time, for a page that starts at the newest memory.
_END = 2**63 - 1
# One transaction deletes at most so many; all memories of a big user take several.
_BATCH = 10_000


class MemoryPart(Neo4jBase):
    """Primitives on memories."""

    async def read_memories(self, scope: Scope, memory_ids: Sequence[str]) -> list[Memory]:
        wanted = list(dict.fromkeys(memory_ids))
        found = dict(
            await self._connection.read_records(
                _Q["read_memories"],
                _by_id,
                **owner(scope),
                agent_id=scope.agent_id,
                memory_ids=wanted,
            )
        )
        return [found[memory_id] for memory_id in wanted if memory_id in found]

    async def resolve_memories(
        self, scope: Scope, memory_ids: Sequence[str], as_of: datetime | None
    ) -> dict[str, Memory]:
        wanted = list(dict.fromkeys(memory_ids))
        asked = {**owner(scope), "memory_ids": wanted}
        if as_of is None:
            rows = await self._connection.read_records(_Q["resolve_current"], _by_id, **asked)
        else:
            rows = await self._connection.read_records(
                _Q["resolve_as_of"], _by_id, **asked, as_of=records.micros(as_of)
            )
        found = dict(rows)
        return {memory_id: found[memory_id] for memory_id in wanted if memory_id in found}

    async def read_contexts(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, str]:
        rows = await self._connection.fetch(
            _Q["read_contexts"],
            **owner(scope),
            memory_ids=list(dict.fromkeys(memory_ids)),
            reach=CONTEXT_REACH,
        )
        return {row["id"]: row["content"] for row in rows}

    async def read_chains(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, list[Memory]]:
        wanted = list(dict.fromkeys(memory_ids))
        rows = await self._connection.read_records(
            _Q["read_chains"], _by_ids, **owner(scope), memory_ids=wanted
        )
        chains: dict[str, list[Memory]] = {}
        named: dict[str, str] = {}
        for ids, version in rows:
            chains.setdefault(version.chain_id, []).append(version)
            named.update(dict.fromkeys(ids, version.chain_id))
        ordered = {
            chain_id: versions.newest_first(sorted(chain, key=_by_time, reverse=True))
            for chain_id, chain in chains.items()
        }
        return {memory_id: ordered[named[memory_id]] for memory_id in wanted if memory_id in named}

    async def list_memories(self, scope: SearchScope, listing: MemoryListing) -> list[Memory]:
        return await self._list(scope, listing, None)

    async def list_live_memories(
        self, scope: SearchScope, listing: MemoryListing, now: datetime
    ) -> list[Memory]:
        return await self._list(scope, listing, records.micros(now))

    async def _list(
        self, scope: SearchScope, listing: MemoryListing, live_at: int | None
    ) -> list[Memory]:
        if not isinstance(scope, Scope):
            query = _Q["list_memories_of_organization"]
        elif listing.interaction_id is not None:
            query = _Q["list_memories_of_interaction"]
        elif listing.agent_id is not None:
            query = _Q["list_memories_of_agent"]
        else:
            query = _Q["list_memories"]
        at, memory_id = (_END, "") if listing.after is None else _place(listing.after)
        return await self._connection.read_records(
            query,
            _memory,
            org_id=scope.org_id,
            user_id=scope.user_id if isinstance(scope, Scope) else None,
            agent_id=listing.agent_id,
            interaction_id=listing.interaction_id,
            current_only=listing.current_only,
            standing=None if listing.standing is None else list(listing.standing),
            at=at,
            id=memory_id,
            live_at=live_at,
            skip=listing.skip,
            limit=listing.limit,
        )

    async def find_current_by_hash(
        self, scope: Scope, content_hashes: Collection[str]
    ) -> dict[str, Memory]:
        found = await self._connection.read_records(
            _Q["find_current_by_hash"],
            _memory,
            **owner(scope),
            agent_id=scope.agent_id,
            hashes=sorted(set(content_hashes)),
        )
        return {memory.content_hash: memory for memory in found}

    async def find_tombstones(self, scope: Scope, tombstones: Collection[str]) -> set[str]:
        rows = await self._connection.fetch(
            _Q["find_tombstones"], **owner(scope), marks=sorted(set(tombstones))
        )
        return {row["mark"] for row in rows}

    async def purge_memories(
        self, scope: Scope, memory_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        wanted = None if memory_ids is None else list(dict.fromkeys(memory_ids))
        work = partial(_purge, scope=scope, memory_ids=wanted, now=records.micros(now))
        purged = await self._connection.write(work)
        total = purged
        while wanted is None and purged == _BATCH:
            purged = await self._connection.write(work)
            total += purged
        return DeleteCounts(memories=total)


def _memory(row: Row) -> Memory:
    return records.memory(row["memory"])


def _by_id(row: Row) -> tuple[str, Memory]:
    return row["id"], records.memory(row["memory"])


def _by_ids(row: Row) -> tuple[list[str], Memory]:
    return row["ids"], records.memory(row["memory"])


async def _purge(
    transaction: Transaction, scope: Scope, memory_ids: list[str] | None, now: int
) -> int:
    """Purge the named versions, or up to a batch of all; return how many."""
    salt = await lock_user(transaction, scope)
    if salt is None:
        return 0
    tenant = owner(scope)
    if memory_ids is None:
        rows = await transaction.rows(_Q["pick_memories"], **tenant, batch=_BATCH)
    else:
        rows = await transaction.rows(_Q["pick_named_memories"], **tenant, memory_ids=memory_ids)
    picked = [row["memory_id"] for row in rows]
    if picked:
        await purge(transaction, tenant, picked, salt, now)
        await enqueue(transaction, OutboxOp.SYNC, **tenant, memory_ids=picked, now=now)
    return len(picked)


def _place(after: tuple[datetime, str]) -> tuple[int, str]:
    return records.micros(after[0]), after[1]


def _by_time(version: Memory) -> tuple[datetime, datetime]:
    return version.obtained_at, version.recorded_at
