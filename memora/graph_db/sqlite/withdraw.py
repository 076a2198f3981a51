"""Memories by their source, and taking a source back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, LiteralString

from memora import _queries
from memora.core import withdrawal
from memora.core.versions import oldest_first
from memora.core.withdrawal import ChainWithdrawal, Joining, Unlinking
from memora.graph_db.sqlite import _names, records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, rows, values
from memora.graph_db.sqlite._seal import JOB, sealed
from memora.graph_db.sqlite.records import Row
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.sources import (
    SourceKind,
    SourceMessage,
    SourceSelector,
    StoredVersion,
    Withdrawal,
)
from memora.schema.write_plan import OutboxOp

_SQL = _queries.load(PACKAGE, "queries/withdraw.sql")
_PAGE = _SQL["page"]
_CHAINS = _SQL["chains"]
_VERSIONS = _SQL["versions"]
_SOURCE_MESSAGES = _SQL["source_messages"]
_UNFINISHED_JOBS = _SQL["unfinished_jobs"]
_CHANGE_PLACE = _SQL["change_place"]
_CHANGE_TRUST = _SQL["change_trust"]
_CHANGE_ORIGIN = _SQL["change_origin"]
_UNLINK = _SQL["unlink"]
_MOVE_SOURCE = _queries.load(PACKAGE, "queries/apply.sql")["move_source"]
_MEMORY = _queries.load(PACKAGE, "queries/memory.sql")
_DELETE_SOURCES = _MEMORY["delete_sources"]
_DELETE = _MEMORY["delete"]
_INSERT_TOMBSTONE = _MEMORY["insert_tombstone"]
_SAVE_JOB = _queries.load(PACKAGE, "queries/jobs.sql")["save"]
_SALT = _queries.load(PACKAGE, "queries/user.sql")["salt"]

# Chains that one transaction works through, so that nobody waits long for the writer.
_AT_ONCE = 500


class WithdrawPart(SQLiteBase):
    """What comes from a source, in SQLite."""

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
        ids = await self._store.read(
            lambda connection: values(
                connection,
                _PAGE,
                **_named(scope, selector),
                current_only=current_only,
                now=records.micros(now),
                skip=skip,
                limit=limit,
            )
        )
        return await self.read_memories(Scope(scope.org_id, scope.user_id), ids)

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
        run = self._store.read if dry_run else self._store.write
        total = Withdrawal(cancelled_jobs=tuple(await run(task.cancel_jobs)))
        after: str | None = ""
        while after is not None:
            outcome, after = await run(_Step(task, after))
            total += outcome
        return total


@dataclass(frozen=True, slots=True)
class _Task:
    """One withdrawal."""

    scope: Scope
    selector: SourceSelector
    now: datetime
    leave_tombstones: bool
    dry_run: bool

    def cancel_jobs(self, connection: sqlite3.Connection) -> list[str]:
        """Close the unfinished jobs of the source; before all else, so that none writes later."""
        found = rows(connection, _UNFINISHED_JOBS, **_owner(self.scope))
        jobs = [
            withdrawal.cancelled(job, self.now)
            for job in map(records.job, found)
            if withdrawal.cancels(job, self.selector)
        ]
        if not self.dry_run:
            for job in jobs:
                change(connection, _SAVE_JOB, **sealed(connection, JOB, records.job_fields(job)))
        return [job.job_id for job in jobs]


@dataclass(frozen=True, slots=True)
class _Step:
    """One transaction of a withdrawal: the next chains, each as a whole."""

    task: _Task
    after: str

    def __call__(self, connection: sqlite3.Connection) -> tuple[Withdrawal, str | None]:
        """Work through the next chains; return what that did, and where to go on."""
        task = self.task
        chain_ids = values(
            connection,
            _CHAINS,
            **_named(task.scope, task.selector),
            after=self.after,
            limit=_AT_ONCE,
        )
        decided = [
            withdrawal.decide(chain, task.selector)
            for chain in read_chains(connection, task.scope, chain_ids, _SOURCE_MESSAGES)
        ]
        if not task.dry_run:
            if task.leave_tombstones and decided:
                _bury(connection, task, decided)
            write_chains(connection, task.scope, task.now, decided)
        outcome = sum((each.outcome for each in decided), Withdrawal())
        return outcome, chain_ids[-1] if len(chain_ids) == _AT_ONCE else None


def _owner(scope: Scope) -> dict[str, str]:
    return {"org_id": scope.org_id, "user_id": scope.user_id}


def _named(scope: Scope, selector: SourceSelector) -> dict[str, Any]:
    kinds = dict.fromkeys((f"{kind.value}_id" for kind in SourceKind), None)
    return {**_owner(scope), **kinds, selector.field: selector.source_id}


def read_chains(
    connection: sqlite3.Connection,
    scope: Scope,
    chain_ids: Sequence[str],
    source_messages: LiteralString,
) -> list[list[StoredVersion]]:
    """Return these chains, each from its oldest version to its newest.

    Args:
        connection: The connection.
        scope: Owner.
        chain_ids: The chains.
        source_messages: Query of the messages that versions came from.
    """
    owner = _owner(scope)
    found = rows(connection, _VERSIONS, **owner, chain_ids=records.id_list(chain_ids))
    linked = rows(
        connection,
        source_messages,
        **owner,
        memory_ids=records.id_list(row["memory_id"] for row in found),
    )
    sources: dict[str, list[SourceMessage]] = {}
    for row in linked:
        fields: Row = {**row, "said_at": records.optional_moment(row["said_at"])}
        sources.setdefault(fields.pop("memory_id"), []).append(SourceMessage(**fields))
    return [
        oldest_first([_version(row, sources.get(row["memory_id"], ())) for row in chain])
        for _, chain in groupby(found, key=lambda row: row["chain_id"])
    ]


def _version(row: Row, sources: Sequence[SourceMessage]) -> StoredVersion:
    fields: Row = {
        **row,
        "obtained_at": records.moment(row["obtained_at"]),
        "recorded_at": records.moment(row["recorded_at"]),
        "superseded_at": records.optional_moment(row["superseded_at"]),
        "stated_at": records.optional_moment(row["stated_at"]),
        "pinned": bool(row["pinned"]),
        "archived": bool(row["archived"]),
    }
    return StoredVersion(**fields, sources=tuple(sources))


def _bury(connection: sqlite3.Connection, task: _Task, decided: Sequence[ChainWithdrawal]) -> None:
    owner = _owner(task.scope)
    salt: str = values(connection, _SALT, **owner)[0]
    marks = {mark for each in decided for mark in each.marks(salt)}
    grave = {**owner, "purged_at": records.micros(task.now)}
    connection.executemany(_INSERT_TOMBSTONE, [{**grave, "mark": mark} for mark in marks])


def write_chains(
    connection: sqlite3.Connection,
    scope: Scope,
    now: datetime,
    decided: Sequence[ChainWithdrawal],
) -> None:
    """Change these chains as was decided, and have the vectors follow."""
    owner = _owner(scope)
    ids = [memory_id for each in decided for memory_id in each.removed]
    removed = records.id_list(ids)
    for joining in (joining for each in decided for joining in each.joined):
        _join(connection, scope, joining)
    change(connection, _DELETE_SOURCES, **owner, memory_ids=removed)
    _names.unlink(connection, scope, ids)
    change(connection, _DELETE, **owner, memory_ids=removed)
    for each in decided:
        for span in each.changed:
            change(
                connection,
                _CHANGE_PLACE,
                **owner,
                memory_id=span.memory_id,
                successor_id=span.successor_id,
                superseded_at=records.optional_micros(span.superseded_at),
                obtained_at=records.micros(span.obtained_at),
            )
        for unlinking in each.unlinked:
            _unlink(connection, scope, unlinking)
    touched = [memory_id for each in decided for memory_id in each.touched]
    enqueue(connection, OutboxOp.SYNC, scope.org_id, scope.user_id, now, touched)


def _join(connection: sqlite3.Connection, scope: Scope, joining: Joining) -> None:
    places = {"memory_id": joining.into, "moved_from": joining.memory_id}
    for source in joining.sources:
        change(
            connection,
            _MOVE_SOURCE,
            org_id=scope.org_id,
            **places,
            interaction_id=source.interaction_id,
            position=source.position,
        )


def _unlink(connection: sqlite3.Connection, scope: Scope, unlinking: Unlinking) -> None:
    place = {**_owner(scope), "memory_id": unlinking.memory_id}
    change(connection, _CHANGE_TRUST, **place, source_role=unlinking.source_role)
    for source in unlinking.lost:
        change(
            connection,
            _UNLINK,
            org_id=scope.org_id,
            memory_id=unlinking.memory_id,
            interaction_id=source.interaction_id,
            position=source.position,
        )
    origin = unlinking.origin
    if origin is not None:
        change(
            connection,
            _CHANGE_ORIGIN,
            **place,
            interaction_id=origin.interaction_id,
            agent_id=origin.agent_id,
            import_id=origin.import_id,
            process_id=origin.process_id,
        )
