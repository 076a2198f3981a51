"""Imports as records, and taking one back."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial

from memora import _queries
from memora.core import undoing
from memora.core.undoing import Found, Settlement, Verdict
from memora.errors import ConflictError, ImportNotFoundError, UserNotFoundError
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, one, rows, values
from memora.graph_db.sqlite._imports import put_change, stored_change
from memora.graph_db.sqlite._seal import INTERACTION, MESSAGE, sealed
from memora.graph_db.sqlite.records import Row, dumps, micros, optional_micros
from memora.graph_db.sqlite.withdraw import read_chains, write_chains
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus, UndoCounts
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.sources import StoredVersion
from memora.schema.write_plan import OutboxOp

_SQL = _queries.load(PACKAGE, "queries/imports.sql")
_BEGIN = _SQL["begin"]
_NOTE = _SQL["note"]
_FINISH = _SQL["finish"]
_FIND = _SQL["find"]
_PAGE = _SQL["page"]
_PAGE_OF_USER = _SQL["page_of_user"]
_MARK = _SQL["mark"]
_SOME_CONVERSATIONS = _SQL["some_conversations"]
_CHANGES = _SQL["changes"]
_CHAINS = _SQL["chains"]
_SOURCE_MESSAGES = _SQL["source_messages"]
_WRITERS = _SQL["writers"]
_JOBS = _SQL["jobs"]
_DELETE_JOB = _SQL["delete_job"]
_LEAVE_INTERACTION = _SQL["leave_interaction"]
_UNDONE = _SQL["undone"]
_HAND_OVER_MESSAGES = _SQL["hand_over_messages"]
_HAND_OVER_INTERACTION = _SQL["hand_over_interaction"]
_DELETE_CHANGE = _SQL["delete_change"]
_RESTORE_INTERACTION = _SQL["restore_interaction"]
_RESTORE_SOURCE = _SQL["restore_source"]
_COUNT_KEYS = _SQL["count_keys"]
_DELETE_KEYS = _SQL["delete_keys"]
_USER_EXISTS = _queries.load(PACKAGE, "queries/user.sql")["find"]
_INTERACTION = _queries.load(PACKAGE, "queries/interaction.sql")
_FIND_INTERACTION = _INTERACTION["find"]
_PREFIX_HASHES = _INTERACTION["prefix_hashes"]
_DELETE_SOURCES = _INTERACTION["delete_sources"]
_DELETE_MESSAGES = _INTERACTION["delete_messages"]
_DELETE_JOBS = _INTERACTION["delete_jobs"]
_DELETE_CHANGES = _INTERACTION["delete_import_changes"]
_DELETE_INTERACTION = _INTERACTION["delete"]
_APPLY = _queries.load(PACKAGE, "queries/apply.sql")
_CUT_SOURCES = _APPLY["cut_sources"]
_CUT_MESSAGES = _APPLY["cut_messages"]
_INSERT_MESSAGE = _APPLY["insert_message"]

# What one transaction takes back: conversations, their messages (but always one conversation), and
# the chains that are decided on together.
_CONVERSATIONS = 100
_MESSAGES = 1000
_CHAINS_AT_ONCE = 500
_KEYS = 2000


class ImportPart(SQLiteBase):
    """Imports in SQLite."""

    async def begin_import(self, run: ImportRun) -> ImportRun:
        def work(connection: sqlite3.Connection) -> ImportRun:
            if one(connection, _USER_EXISTS, org_id=run.org_id, user_id=run.user_id) is None:
                raise UserNotFoundError(run.user_id)
            fields = {
                "org_id": run.org_id,
                "import_id": run.import_id,
                "user_id": run.user_id,
                "agent_id": run.agent_id,
                "process_id": run.process_id,
                "started_at": micros(run.started_at),
            }
            begun = change(connection, _BEGIN, **fields)
            [row] = rows(connection, _FIND, org_id=run.org_id, import_id=run.import_id)
            if not begun:
                raise undoing.taken(run, records.import_run(row))
            return records.import_run(row)

        return await self._store.write(work)

    async def note_import(self, scope: Scope, import_id: str, counts: ImportCounts) -> None:
        place = {**_owner(scope), "import_id": import_id}

        def work(connection: sqlite3.Connection) -> None:
            if not change(connection, _NOTE, **place, **asdict(counts)):
                status = _own(connection, scope, import_id).status
                raise ConflictError(
                    "import", import_id, expected="a running one", actual=status.value
                )

        await self._store.write(work)

    async def finish_import(
        self, scope: Scope, import_id: str, status: ImportStatus, now: datetime
    ) -> None:
        place = {**_owner(scope), "import_id": import_id}
        await self._store.write(
            lambda connection: change(
                connection, _FINISH, **place, status=status.value, now=micros(now)
            )
        )

    async def find_import(self, org_id: str, import_id: str) -> ImportRun | None:
        row = await self._store.read(
            lambda connection: one(connection, _FIND, org_id=org_id, import_id=import_id)
        )
        return None if row is None else records.import_run(row)

    async def list_imports(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[ImportRun]:
        page = {"org_id": org_id, "skip": skip, "limit": limit}

        def work(connection: sqlite3.Connection) -> list[Row]:
            if user_id is None:
                return rows(connection, _PAGE, **page)
            return rows(connection, _PAGE_OF_USER, **page, user_id=user_id)

        return [records.import_run(row) for row in await self._store.read(work)]

    async def read_origins(
        self, scope: Scope, chain_ids: Collection[str]
    ) -> dict[str, StoredVersion]:
        wanted = sorted(set(chain_ids))
        chains = await self._store.read(
            lambda connection: read_chains(connection, scope, wanted, _SOURCE_MESSAGES)
        )
        return {version.memory_id: version for chain in chains for version in chain}

    async def undo_import(
        self, scope: Scope, import_id: str, now: datetime, *, dry_run: bool = False
    ) -> UndoCounts:
        undo = _Undo(scope, import_id, now, dry_run=dry_run)
        run = self._store.read if dry_run else self._store.write
        await run(undo.begin)
        total = UndoCounts()
        after: str | None = ""
        while after is not None:
            counts, after = await run(partial(undo.step, after=after))
            total += counts
        if dry_run:
            return total + UndoCounts(idempotency_keys=await run(undo.count_keys))
        gone = _KEYS
        while gone == _KEYS:
            gone = await run(undo.delete_keys)
            total += UndoCounts(idempotency_keys=gone)
        await run(undo.end)
        return total


def _owner(scope: Scope) -> dict[str, str]:
    return {"org_id": scope.org_id, "user_id": scope.user_id}


def _own(connection: sqlite3.Connection, scope: Scope, import_id: str) -> ImportRun:
    """Return the user's import.

    Raises:
        ImportNotFoundError: There is none.
    """
    row = one(connection, _FIND, org_id=scope.org_id, import_id=import_id)
    if row is None or row["user_id"] != scope.user_id:
        raise ImportNotFoundError(import_id)
    return records.import_run(row)


@dataclass(frozen=True, slots=True)
class _Undo:
    """One undo."""

    scope: Scope
    import_id: str
    now: datetime
    dry_run: bool

    @property
    def place(self) -> dict[str, str]:
        """Owner and import, as queries take them."""
        return {**_owner(self.scope), "import_id": self.import_id}

    def begin(self, connection: sqlite3.Connection) -> None:
        """Mark the import, so that nothing more is written under it."""
        run = _own(connection, self.scope, self.import_id)
        if not self.dry_run and run.status is not ImportStatus.UNDONE:
            self._mark(connection, ImportStatus.UNDOING)

    def end(self, connection: sqlite3.Connection) -> None:
        """Note that all is done."""
        self._mark(connection, ImportStatus.UNDONE)

    def _mark(self, connection: sqlite3.Connection, status: ImportStatus) -> None:
        change(connection, _MARK, **self.place, status=status.value, now=micros(self.now))

    def count_keys(self, connection: sqlite3.Connection) -> int:
        """Return how many idempotency keys the import has."""
        return values(connection, _COUNT_KEYS, **self.place)[0]

    def delete_keys(self, connection: sqlite3.Connection) -> int:
        """Delete some of them; return how many."""
        return change(connection, _DELETE_KEYS, **self.place, limit=_KEYS)

    def step(self, connection: sqlite3.Connection, after: str) -> tuple[UndoCounts, str | None]:
        """Settle the next conversations; return what that did, and where to go on."""
        found = rows(
            connection, _SOME_CONVERSATIONS, **self.place, after=after, limit=_CONVERSATIONS
        )
        picked = undoing.bounded(
            [(row["interaction_id"], row["message_count"]) for row in found], _MESSAGES
        )
        if not picked:
            return UndoCounts(), None
        total = self._take_back(connection, picked)
        for interaction_id in picked:
            total += self._settle(connection, interaction_id)
        is_last = len(picked) == len(found) < _CONVERSATIONS
        return total, None if is_last else picked[-1]

    # Chains

    def _take_back(self, connection: sqlite3.Connection, picked: Sequence[str]) -> UndoCounts:
        """Take the import out of the chains that it touched in these conversations."""
        chain_ids = values(
            connection, _CHAINS, **self.place, interaction_ids=records.id_list(picked)
        )
        total = UndoCounts()
        for start in range(0, len(chain_ids), _CHAINS_AT_ONCE):
            some = chain_ids[start : start + _CHAINS_AT_ONCE]
            chains = [
                chain
                for chain in read_chains(connection, self.scope, some, _SOURCE_MESSAGES)
                if not self.dry_run or undoing.counts_in(chain, self.import_id, picked)
            ]
            decided = [undoing.decide(chain, self.import_id) for chain in chains]
            if not self.dry_run:
                write_chains(connection, self.scope, self.now, decided)
            total = sum(map(undoing.counted, decided), total)
        return total

    # Conversations

    def _settle(self, connection: sqlite3.Connection, interaction_id: str) -> UndoCounts:
        place = {**_owner(self.scope), "interaction_id": interaction_id}
        [row] = rows(connection, _FIND_INTERACTION, **place)
        interaction = records.interaction(row)
        changes = [stored_change(each) for each in rows(connection, _CHANGES, **place)]
        [own] = [each for each in changes if each.import_id == self.import_id]
        others = [each for each in changes if each is not own]
        keep = 0 if own.found is None else own.found.keep
        writers = values(connection, _WRITERS, **place, keep=keep)
        settlement = undoing.settle(own, others, interaction, writers)
        jobs = self._jobs(connection, place)
        if settlement.verdict is Verdict.REMOVE:
            return self._remove(connection, place)
        if not self.dry_run:
            for job_id in jobs:
                change(connection, _DELETE_JOB, **_owner(self.scope), job_id=job_id)
        gone = UndoCounts(jobs=len(jobs))
        if settlement.verdict is Verdict.RESTORE and own.found is not None:
            return gone + self._restore(connection, place, interaction, own.found)
        return gone + self._hand_over(connection, place, settlement)

    def _jobs(self, connection: sqlite3.Connection, place: dict[str, str]) -> list[str]:
        jobs = map(records.job, rows(connection, _JOBS, **place))
        return [job.job_id for job in jobs if undoing.belongs(job, self.import_id)]

    def _remove(self, connection: sqlite3.Connection, place: dict[str, str]) -> UndoCounts:
        ids = {
            **_owner(self.scope), "interaction_ids": records.id_list([place["interaction_id"]])
        }  # fmt: skip
        if self.dry_run:
            messages = len(values(connection, _PREFIX_HASHES, **place))
            jobs = len(rows(connection, _JOBS, **place))
            return UndoCounts(interactions_removed=1, messages=messages, jobs=jobs)
        left = values(connection, _LEAVE_INTERACTION, **place)
        self._sync(connection, left)
        change(connection, _DELETE_SOURCES, **ids)
        messages = change(connection, _DELETE_MESSAGES, **ids)
        jobs = change(connection, _DELETE_JOBS, **ids)
        change(connection, _DELETE_CHANGES, **ids)
        change(connection, _DELETE_INTERACTION, **ids)
        return UndoCounts(interactions_removed=1, messages=messages, jobs=jobs)

    def _restore(
        self,
        connection: sqlite3.Connection,
        place: dict[str, str],
        interaction: Interaction,
        found: Found,
    ) -> UndoCounts:
        counts = UndoCounts(
            interactions_restored=1, messages=interaction.message_count - found.keep
        )
        if self.dry_run:
            return counts
        change(connection, _CUT_SOURCES, **place, keep=found.keep)
        change(connection, _CUT_MESSAGES, **place, keep=found.keep)
        self._put_back(connection, place, found)
        # What was said before a source is in what is indexed of its memory.
        sourced = [each.memory_id for message in found.cut for each in message.sources]
        self._sync(connection, sourced)
        fields = undoing.restored(interaction, found)
        row = {
            **fields,
            "metadata": dumps(fields["metadata"]),
            "participants": dumps(fields["participants"]),
            "updated_at": micros(fields["updated_at"]),
            "last_activity_at": micros(fields["last_activity_at"]),
        }
        change(
            connection, _RESTORE_INTERACTION, **sealed(connection, INTERACTION, {**place, **row})
        )
        change(connection, _DELETE_CHANGE, **place, import_id=self.import_id)
        return counts

    def _put_back(
        self, connection: sqlite3.Connection, place: dict[str, str], found: Found
    ) -> None:
        """Insert the messages that the import had cut, and link what came from them."""
        undone = self._undone(connection, {each.import_id for each in found.cut} - {None})
        for each in found.cut:
            message = each.message
            row = {
                **place,
                "position": message.msg_position,
                "prefix_hash": each.prefix_hash,
                "role": message.role,
                "name": message.name,
                "timestamp": optional_micros(message.timestamp),
                "content": message.content,
                "data": None if message.data is None else dumps(message.data),
                "import_id": None if each.import_id in undone else each.import_id,
            }
            change(connection, _INSERT_MESSAGE, **sealed(connection, MESSAGE, row))
            for source in each.sources:
                fields = {"memory_id": source.memory_id, "said_at": optional_micros(source.said_at)}
                change(
                    connection,
                    _RESTORE_SOURCE,
                    **place,
                    **fields,
                    position=message.msg_position,
                )

    def _undone(
        self, connection: sqlite3.Connection, import_ids: Collection[str | None]
    ) -> set[str | None]:
        named = records.id_list(each for each in import_ids if each is not None)
        return set(values(connection, _UNDONE, **_owner(self.scope), import_ids=named))

    def _hand_over(
        self, connection: sqlite3.Connection, place: dict[str, str], settlement: Settlement
    ) -> UndoCounts:
        if not self.dry_run:
            heir = settlement.heir
            given = {**place, "import_id": self.import_id, "heir": heir and heir.import_id}
            change(connection, _HAND_OVER_MESSAGES, **given)
            change(connection, _HAND_OVER_INTERACTION, **given)
            if heir is not None:
                put_change(connection, self.scope, heir)
            change(connection, _DELETE_CHANGE, **place, import_id=self.import_id)
        return UndoCounts(interactions_kept=1)

    def _sync(self, connection: sqlite3.Connection, memory_ids: Sequence[str]) -> None:
        scope = self.scope
        enqueue(connection, OutboxOp.SYNC, scope.org_id, scope.user_id, self.now, memory_ids)
