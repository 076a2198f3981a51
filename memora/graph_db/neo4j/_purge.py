"""Takes memory versions out of their chains, inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memora._queries import load
from memora.core.hashing import tombstone
from memora.core.versions import Link, oldest_first, relink
from memora.graph_db.neo4j._base import PACKAGE, Transaction

_Q = load(PACKAGE, "queries/memory.cypher")


async def purge(
    transaction: Transaction,
    tenant: dict[str, Any],
    memory_ids: Sequence[str],
    salt: str | None,
    now: int,
) -> None:
    """Delete versions that exist, and link what remains of their chains.

    Args:
        transaction: The transaction, which holds the user's lock.
        tenant: `org_id` and `user_id`.
        memory_ids: The versions.
        salt: Given: leave a tombstone for every source message.
        now: The time of the tombstones, in microseconds.
    """
    rows = await transaction.rows(_Q["links_of_chains"], **tenant, memory_ids=memory_ids)
    chains: dict[str, list[Link]] = {}
    for row in rows:
        chains.setdefault(row["chain_id"], []).append(Link(row["memory_id"], row["successor_id"]))
    if salt is not None:
        sources = await transaction.rows(_Q["sources_of"], **tenant, memory_ids=memory_ids)
        marks = {tombstone(salt, row["prefix_hash"], row["content_hash"]) for row in sources}
        await transaction.rows(_Q["bury"], **tenant, marks=sorted(marks), now=now)
    # Nobody may get the purged ones' successors while they are there.
    await transaction.rows(_Q["delete_memories"], **tenant, memory_ids=memory_ids)
    gone = set(memory_ids)
    links = [
        {"memory_id": link.memory_id, "successor_id": link.successor_id}
        for chain in chains.values()
        for link in relink(oldest_first(chain), gone)
    ]
    if links:
        await transaction.rows(_Q["relink"], **tenant, links=links)
