"""Memories by their source, and taking a source back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from memora._queries import load
from memora.core import withdrawal
from memora.core.versions import oldest_first
from memora.core.withdrawal import ChainWithdrawal
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.records import Row, micros, optional_micros
from memora.graph_db.neo4j.user import lock_user
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.sources import SourceMessage, SourceSelector, StoredVersion, Withdrawal
from memora.schema.write_plan import OutboxOp

_Q = load(PACKAGE, "queries/withdraw.cypher")
_READ_PLACES = _Q["read_places"]
_MEMORY = load(PACKAGE, "queries/memory.cypher")
_MOVE_SOURCES = load(PACKAGE, "queries/apply.cypher")["move_sources"]
_JOBS = load(PACKAGE, "queries/jobs.cypher")

# Chains that one transaction works through.
_AT_ONCE = 500


class WithdrawPart(Neo4jBase):
    """What comes from a source."""

    async def list_source_memories(
        self,
        scope: Scope,
        selector: SourceSelector,
        now: datetime,
        *,
        current_only: bool,
        skip: int,
        limit: int,
    ) -> list[Memory]:
        return await self._connection.read_records(
            _Q["list_source_memories"],
            _memory,
            **_named(scope, selector),
            current_only=current_only,
            now=micros(now),
            skip=skip,
            limit=limit,
        )

    async def withdraw(
        self,
        scope: Scope,
        selector: SourceSelector,
        now: datetime,
        *,
        leave_tombstones: bool,
        dry_run: bool = False,
    ) -> Withdrawal:
        task = _Task(scope, selector, now, leave_tombstones=leave_tombstones, dry_run=dry_run)
        run = self._connection.read if dry_run else self._connection.write
        total = Withdrawal(cancelled_jobs=tuple(await run(task.cancel_jobs)))
        after: str | None = ""
        while after is not None:
            outcome, after = await run(_Step(task, after))
            total += outcome
        return total


def _memory(row: Row) -> Memory:
    return records.memory(row["memory"])


def _named(scope: Scope, selector: SourceSelector) -> dict[str, Any]:
    return {**owner(scope), "field": selector.field, "source_id": selector.source_id}


@dataclass(frozen=True, slots=True)
class _Task:
    """One withdrawal; its parts run in transactions that may be tried again."""

    scope: Scope
    selector: SourceSelector
    now: datetime
    leave_tombstones: bool
    dry_run: bool

    async def cancel_jobs(self, transaction: Transaction) -> list[str]:
        """Close the unfinished jobs of the source; before all else, so that none writes later."""
        tenant = owner(self.scope)
        if not self.dry_run:
            if await lock_user(transaction, self.scope) is None:
                return []
            await transaction.rows(_Q["lock_unfinished_jobs"], **tenant)
        found = await transaction.rows(_Q["read_unfinished_jobs"], **tenant)
        jobs = [
            withdrawal.cancelled(job, self.now)
            for job in (records.job(row["job"]) for row in found)
            if withdrawal.cancels(job, self.selector)
        ]
        if not self.dry_run:
            for job in jobs:
                await transaction.rows(
                    _JOBS["save_job"],
                    org_id=job.org_id,
                    user_id=job.user_id,
                    job_id=job.job_id,
                    attempts=job.attempts,
                    job=records.job_properties(job),
                )
        return [job.job_id for job in jobs]


@dataclass(frozen=True, slots=True)
class _Step:
    """One transaction of a withdrawal: the next chains, each as a whole."""

    task: _Task
    after: str

    async def __call__(self, transaction: Transaction) -> tuple[Withdrawal, str | None]:
        """Work through the next chains; return what that did, and where to go on."""
        task = self.task
        salt: str | None = None
        if not task.dry_run:
            salt = await lock_user(transaction, task.scope)
            if salt is None:
                return Withdrawal(), None
        found = await transaction.rows(
            _Q["chains_of_source"],
            **_named(task.scope, task.selector),
            after=self.after,
            limit=_AT_ONCE,
        )
        chain_ids = [row["chain_id"] for row in found]
        chains = await read_chains(transaction, task.scope, chain_ids, _READ_PLACES)
        decided = [withdrawal.decide(chain, task.selector) for chain in chains]
        if salt is not None and decided:
            if task.leave_tombstones:
                marks = {mark for each in decided for mark in each.marks(salt)}
                await transaction.rows(
                    _MEMORY["bury"],
                    **owner(task.scope),
                    marks=sorted(marks),
                    now=micros(task.now),
                )
            await write_chains(transaction, task.scope, task.now, decided)
        outcome = sum((each.outcome for each in decided), Withdrawal())
        return outcome, chain_ids[-1] if len(chain_ids) == _AT_ONCE else None


async def read_chains(
    transaction: Transaction, scope: Scope, chain_ids: Sequence[str], read_places: LiteralString
) -> list[list[StoredVersion]]:
    """Return these chains, each from its oldest version to its newest.

    Args:
        transaction: The transaction.
        scope: Owner.
        chain_ids: The chains.
        read_places: Query of their versions, with the messages that these came from.
    """
    rows = await transaction.rows(read_places, **owner(scope), chain_ids=list(chain_ids))
    chains: dict[str, list[StoredVersion]] = {}
    for row in rows:
        version = _version(row)
        chains.setdefault(version.chain_id, []).append(version)
    return [oldest_first(chains[chain_id]) for chain_id in sorted(chains)]


def _version(row: Row) -> StoredVersion:
    fields: dict[str, Any] = {
        **row["version"],
        "obtained_at": records.moment(row["version"]["obtained_at"]),
        "recorded_at": records.moment(row["version"]["recorded_at"]),
        "superseded_at": records.optional_moment(row["version"]["superseded_at"]),
        "stated_at": records.optional_moment(row["version"]["stated_at"]),
    }
    sources = tuple(map(_source, row["sources"]))
    return StoredVersion(**fields, sources=sources)


def _source(row: Row) -> SourceMessage:
    fields: Row = {**row, "said_at": records.optional_moment(row["said_at"])}
    return SourceMessage(**fields)


async def write_chains(
    transaction: Transaction, scope: Scope, now: datetime, decided: Sequence[ChainWithdrawal]
) -> None:
    """Change these chains as was decided, and have the vectors follow."""
    tenant = owner(scope)
    moved = [
        {
            "memory_id": joining.into,
            "moved_from": joining.memory_id,
            "interaction_id": source.interaction_id,
            "position": source.position,
        }
        for each in decided
        for joining in each.joined
        for source in joining.sources
    ]
    if moved:
        await transaction.rows(_MOVE_SOURCES, **tenant, links=moved)
    removed = [memory_id for each in decided for memory_id in each.removed]
    await transaction.rows(_MEMORY["delete_memories"], **tenant, memory_ids=removed)
    versions = [
        {
            "memory_id": span.memory_id,
            "successor_id": span.successor_id,
            "superseded_at": optional_micros(span.superseded_at),
            "obtained_at": micros(span.obtained_at),
            "head_of": each.chain_id if span.superseded_at is None else None,
        }
        for each in decided
        for span in each.changed
    ]
    await transaction.rows(_Q["change_places"], **tenant, versions=versions)
    unlinked = [
        {
            "memory_id": unlinking.memory_id,
            "source_role": unlinking.source_role,
            "lost": [
                {"interaction_id": source.interaction_id, "position": source.position}
                for source in unlinking.lost
            ],
        }
        for each in decided
        for unlinking in each.unlinked
    ]
    await transaction.rows(_Q["unlink"], **tenant, unlinked=unlinked)
    origins = [
        {
            "memory_id": unlinking.memory_id,
            "interaction_id": unlinking.origin.interaction_id,
            "agent_id": unlinking.origin.agent_id,
            "import_id": unlinking.origin.import_id,
            "process_id": unlinking.origin.process_id,
        }
        for each in decided
        for unlinking in each.unlinked
        if unlinking.origin is not None
    ]
    if origins:
        await transaction.rows(_Q["change_origins"], **tenant, origins=origins)
    touched = dict.fromkeys(memory_id for each in decided for memory_id in each.touched)
    if touched:
        await enqueue(transaction, OutboxOp.SYNC, **tenant, memory_ids=touched, now=micros(now))
