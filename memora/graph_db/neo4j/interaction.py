"""Interactions and their messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from memora._queries import load
from memora.graph_db.base import SPEAKER_INTERACTIONS, SPEAKER_MESSAGES, StoredMessage
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j._purge import purge
from memora.graph_db.neo4j.apply import cut, owner
from memora.graph_db.neo4j.records import Row
from memora.graph_db.neo4j.user import lock_user
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.validation import MESSAGES
from memora.schema.write_plan import DeleteCounts, OutboxOp

_Q = load(PACKAGE, "queries/interaction.cypher")

# One transaction deletes at most so many messages.
_BATCH = 10_000


class InteractionPart(Neo4jBase):
    """Primitives on interactions and messages."""

    async def find_interaction(self, scope: Scope, interaction_id: str) -> Interaction | None:
        found = await self._connection.read_records(
            _Q["find_interaction"], _interaction, **owner(scope), id=interaction_id
        )
        return found[0] if found else None

    async def list_interactions(self, scope: Scope, *, skip: int, limit: int) -> list[Interaction]:
        return await self._connection.read_records(
            _Q["list_interactions"], _interaction, **owner(scope), skip=skip, limit=limit
        )

    async def read_messages(
        self, scope: Scope, interaction_id: str, start: int, end: int | None
    ) -> list[StoredMessage]:
        return await self._connection.read_records(
            _Q["read_messages"],
            records.stored_message,
            **owner(scope),
            interaction_id=interaction_id,
            start=start,
            end=MESSAGES if end is None else end,
        )

    async def read_prefix_hashes(self, scope: Scope, interaction_id: str) -> list[str]:
        [row] = await self._connection.fetch(
            _Q["read_prefix_hashes"], **owner(scope), interaction_id=interaction_id
        )
        return row["hashes"]

    async def read_speakers(self, scope: Scope) -> list[str]:
        found = await self._connection.fetch(
            _Q["read_speakers"],
            **owner(scope),
            interactions=SPEAKER_INTERACTIONS,
            messages=SPEAKER_MESSAGES,
        )
        return sorted(row["name"] for row in found)

    async def erase_interactions(
        self, scope: Scope, interaction_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        wanted = None if interaction_ids is None else list(dict.fromkeys(interaction_ids))
        total, is_last = DeleteCounts(), False
        while not is_last:
            step, is_last = await self._connection.write(
                partial(_erase, scope=scope, wanted=wanted, now=records.micros(now))
            )
            total += step
        return total


def _interaction(row: Row) -> Interaction:
    return records.interaction(row["interaction"])


async def _erase(
    transaction: Transaction, scope: Scope, wanted: list[str] | None, now: int
) -> tuple[DeleteCounts, bool]:
    """Erase as many interactions as one transaction takes; of a longer one, its end.

    Every step leaves valid interactions, so a repetition goes on where one was interrupted.

    Returns:
        What went, and whether that was all.
    """
    if await lock_user(transaction, scope) is None:
        return DeleteCounts(), True
    tenant = owner(scope)
    if wanted is None:
        rows = await transaction.rows(_Q["pick_interactions"], **tenant, batch=_BATCH)
    else:
        rows = await transaction.rows(
            _Q["pick_named_interactions"], **tenant, interaction_ids=wanted, batch=_BATCH
        )
    picked: list[str] = []
    left = _BATCH
    for row in rows:
        if row["message_count"] > left:
            break
        picked.append(row["interaction_id"])
        left -= row["message_count"]
    if rows and not picked:
        place = {**tenant, "interaction_id": rows[0]["interaction_id"]}
        keep = rows[0]["message_count"] - _BATCH
        deleted, sourced = await cut(transaction, place, keep, now)
        if sourced:
            await enqueue(transaction, OutboxOp.SYNC, **tenant, memory_ids=sourced, now=now)
        return DeleteCounts(messages=deleted), False
    if not picked:
        return DeleteCounts(), True
    found = await transaction.rows(_Q["obtained_in"], **tenant, interaction_ids=picked)
    memories = [row["memory_id"] for row in found]
    found = await transaction.rows(_Q["sourced_from"], **tenant, interaction_ids=picked)
    changed = list(dict.fromkeys([*memories, *(row["memory_id"] for row in found)]))
    if memories:
        await purge(transaction, tenant, memories, None, now)
    [row] = await transaction.rows(_Q["erase_interactions"], **tenant, interaction_ids=picked)
    if changed:
        await enqueue(transaction, OutboxOp.SYNC, **tenant, memory_ids=changed, now=now)
    is_last = len(picked) == len(rows) < _BATCH
    counts = DeleteCounts(row["interactions"], row["messages"], len(memories), jobs=row["jobs"])
    return counts, is_last
