"""Imports as records, and taking one back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from memora._queries import load
from memora.core import undoing
from memora.core.undoing import Found, Settlement, Verdict
from memora.errors import ConflictError, ImportNotFoundError, UserNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction, batched
from memora.graph_db.neo4j._imports import put_change, stored_change
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.records import Row, as_json, micros, optional_micros
from memora.graph_db.neo4j.user import lock_user
from memora.graph_db.neo4j.withdraw import read_chains, write_chains
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus, UndoCounts
from memora.schema.scope import Scope
from memora.schema.sources import StoredVersion
from memora.schema.write_plan import OutboxOp

_Q = load(PACKAGE, "queries/imports.cypher")
_READ_PLACES = _Q["read_places"]
_ERASE_INTERACTIONS = load(PACKAGE, "queries/interaction.cypher")["erase_interactions"]

# What one transaction takes back: conversations, their messages (but always one conversation), and
# the chains that are decided on together.
_CONVERSATIONS = 100
_MESSAGES = 1000
_CHAINS_AT_ONCE = 500
_KEYS = 2000


class ImportPart(Neo4jBase):
    """Imports in Neo4j."""

    async def begin_import(self, run: ImportRun) -> ImportRun:
        return await self._connection.write(partial(_begin, run=run))

    async def note_import(self, scope: Scope, import_id: str, counts: ImportCounts) -> None:
        noted = await self._connection.change(
            _Q["note_import"], **owner(scope), import_id=import_id, **asdict(counts)
        )
        if not noted:
            known = await self.find_import(scope.org_id, import_id)
            if known is None or known.user_id != scope.user_id:
                raise ImportNotFoundError(import_id)
            actual = known.status.value
            raise ConflictError("import", import_id, expected="a running one", actual=actual)

    async def finish_import(
        self, scope: Scope, import_id: str, status: ImportStatus, now: datetime
    ) -> None:
        await self._connection.change(
            _Q["finish_import"],
            **owner(scope),
            import_id=import_id,
            status=status.value,
            now=micros(now),
        )

    async def find_import(self, org_id: str, import_id: str) -> ImportRun | None:
        found = await self._connection.read_records(
            _Q["find_import"], _run, org_id=org_id, import_id=import_id
        )
        return found[0] if found else None

    async def list_imports(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[ImportRun]:
        page = {"org_id": org_id, "skip": skip, "limit": limit}
        if user_id is None:
            return await self._connection.read_records(_Q["list_imports"], _run, **page)
        return await self._connection.read_records(
            _Q["list_imports_of_user"], _run, **page, user_id=user_id
        )

    async def read_origins(
        self, scope: Scope, chain_ids: Collection[str]
    ) -> dict[str, StoredVersion]:
        wanted = sorted(set(chain_ids))
        chains = await self._connection.read(
            lambda transaction: read_chains(transaction, scope, wanted, _READ_PLACES)
        )
        return {version.memory_id: version for chain in chains for version in chain}

    async def undo_import(
        self, scope: Scope, import_id: str, now: datetime, *, dry_run: bool = False
    ) -> UndoCounts:
        undo = _Undo(scope, import_id, now, dry_run=dry_run)
        run = self._connection.read if dry_run else self._connection.write
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


def _run(row: Row) -> ImportRun:
    return records.import_run(row["run"])


async def _begin(transaction: Transaction, run: ImportRun) -> ImportRun:
    tenant = {"org_id": run.org_id, "user_id": run.user_id}
    if await lock_user(transaction, Scope(**tenant)) is None:
        raise UserNotFoundError(run.user_id)
    [row] = await transaction.rows(
        _Q["begin_import"], **tenant, import_id=run.import_id, run=records.import_properties(run)
    )
    known = _run(row)
    if not row["goes_on"]:
        raise undoing.taken(run, known)
    return known


@dataclass(frozen=True, slots=True)
class _Undo:
    """One undo; its parts run in transactions that may be tried again."""

    scope: Scope
    import_id: str
    now: datetime
    dry_run: bool

    @property
    def place(self) -> dict[str, Any]:
        """Owner and import, as queries take them."""
        return {**owner(self.scope), "import_id": self.import_id}

    async def begin(self, transaction: Transaction) -> None:
        """Mark the import, so that nothing more is written under it."""
        if not self.dry_run and await lock_user(transaction, self.scope) is None:
            raise ImportNotFoundError(self.import_id)
        row = await transaction.row(
            _Q["find_import"], org_id=self.scope.org_id, import_id=self.import_id
        )
        if row is None or row["run"]["user_id"] != self.scope.user_id:
            raise ImportNotFoundError(self.import_id)
        if not self.dry_run and _run(row).status is not ImportStatus.UNDONE:
            await self._mark(transaction, ImportStatus.UNDOING)

    async def end(self, transaction: Transaction) -> None:
        """Note that all is done."""
        if await lock_user(transaction, self.scope) is not None:
            await self._mark(transaction, ImportStatus.UNDONE)

    async def _mark(self, transaction: Transaction, status: ImportStatus) -> None:
        await transaction.rows(
            _Q["mark_import"], **self.place, status=status.value, now=micros(self.now)
        )

    async def count_keys(self, transaction: Transaction) -> int:
        """Return how many idempotency keys the import has."""
        [row] = await transaction.rows(_Q["count_keys"], **self.place)
        return row["number"]

    async def delete_keys(self, transaction: Transaction) -> int:
        """Delete some of them; return how many."""
        if await lock_user(transaction, self.scope) is None:
            return 0
        [row] = await transaction.rows(_Q["delete_keys"], **self.place, limit=_KEYS)
        return row["number"]

    async def step(self, transaction: Transaction, after: str) -> tuple[UndoCounts, str | None]:
        """Settle the next conversations; return what that did, and where to go on."""
        if not self.dry_run and await lock_user(transaction, self.scope) is None:
            return UndoCounts(), None
        found = await transaction.rows(
            _Q["some_conversations"], **self.place, after=after, limit=_CONVERSATIONS
        )
        picked = undoing.bounded(
            [(row["interaction_id"], row["message_count"]) for row in found], _MESSAGES
        )
        if not picked:
            return UndoCounts(), None
        total = await self._take_back(transaction, picked)
        total += await self._settle_all(transaction, picked)
        is_last = len(picked) == len(found) < _CONVERSATIONS
        return total, None if is_last else picked[-1]

    # Chains

    async def _take_back(self, transaction: Transaction, picked: Sequence[str]) -> UndoCounts:
        """Take the import out of the chains that it touched in these conversations."""
        found = await transaction.rows(
            _Q["chains_of_import"], **self.place, interaction_ids=list(picked)
        )
        total = UndoCounts()
        for rows in batched(found, _CHAINS_AT_ONCE):
            chains = await read_chains(
                transaction, self.scope, [row["chain_id"] for row in rows], _READ_PLACES
            )
            decided = [
                undoing.decide(chain, self.import_id)
                for chain in chains
                if not self.dry_run or undoing.counts_in(chain, self.import_id, picked)
            ]
            if not self.dry_run and decided:
                await write_chains(transaction, self.scope, self.now, decided)
            total = sum(map(undoing.counted, decided), total)
        return total

    # Conversations

    async def _settle_all(self, transaction: Transaction, picked: Sequence[str]) -> UndoCounts:
        rows = await transaction.rows(
            _Q["read_conversations"], **owner(self.scope), interaction_ids=list(picked)
        )
        total, removed = UndoCounts(), list[Row]()
        for row in rows:
            parts = [stored_change(part) for part in row["parts"]]
            [own] = [part for part in parts if part.import_id == self.import_id]
            others = [part for part in parts if part is not own]
            keep = 0 if own.found is None else own.found.keep
            writers = [each["import_id"] for each in row["writers"] if each["last"] >= keep]
            interaction = records.interaction(row["interaction"])
            settlement = undoing.settle(own, others, interaction, writers)
            if settlement.verdict is Verdict.REMOVE:
                removed.append(row)
                continue
            total += await self._drop_jobs(transaction, row)
            if settlement.verdict is Verdict.RESTORE and own.found is not None:
                total += await self._restore(transaction, row, own.found)
            else:
                total += await self._hand_over(transaction, row, settlement)
        return total + await self._remove(transaction, removed)

    async def _drop_jobs(self, transaction: Transaction, row: Row) -> UndoCounts:
        jobs = [records.job(job) for job in row["jobs"]]
        ids = [job.job_id for job in jobs if undoing.belongs(job, self.import_id)]
        if ids and not self.dry_run:
            await transaction.rows(_Q["delete_jobs"], **owner(self.scope), job_ids=ids)
        return UndoCounts(jobs=len(ids))

    async def _remove(self, transaction: Transaction, removed: Sequence[Row]) -> UndoCounts:
        counts = UndoCounts(
            interactions_removed=len(removed),
            messages=sum(row["interaction"]["message_count"] for row in removed),
            jobs=sum(len(row["jobs"]) for row in removed),
        )
        if not removed or self.dry_run:
            return counts
        ids = [row["interaction"]["interaction_id"] for row in removed]
        tenant = owner(self.scope)
        left = await transaction.rows(_Q["leave_interactions"], **tenant, interaction_ids=ids)
        await transaction.rows(_ERASE_INTERACTIONS, **tenant, interaction_ids=ids)
        if left:
            memory_ids = [row["memory_id"] for row in left]
            await enqueue(
                transaction, OutboxOp.SYNC, **tenant, memory_ids=memory_ids, now=micros(self.now)
            )
        return counts

    async def _restore(self, transaction: Transaction, row: Row, found: Found) -> UndoCounts:
        interaction = records.interaction(row["interaction"])
        counts = UndoCounts(
            interactions_restored=1, messages=interaction.message_count - found.keep
        )
        if self.dry_run:
            return counts
        place = {**owner(self.scope), "interaction_id": interaction.interaction_id}
        await transaction.rows(_Q["drop_messages"], **place, keep=found.keep)
        fields = undoing.restored(interaction, found)
        properties = {
            **fields,
            "metadata": as_json(fields["metadata"]),
            "updated_at": micros(fields["updated_at"]),
            "last_activity_at": micros(fields["last_activity_at"]),
        }
        messages = await self._messages(transaction, place, found)
        await transaction.rows(
            _Q["restore_interaction"], **place, interaction=properties, messages=messages
        )
        sources = [
            {
                "position": each.message.msg_position,
                "memory_id": source.memory_id,
                "said_at": optional_micros(source.said_at),
            }
            for each in found.cut
            for source in each.sources
        ]
        await transaction.rows(_Q["restore_sources"], **place, sources=sources)
        if sources:
            # What was said before a source is in what is indexed of its memory.
            ids = [each.memory_id for message in found.cut for each in message.sources]
            await enqueue(
                transaction,
                OutboxOp.SYNC,
                **owner(self.scope),
                memory_ids=ids,
                now=micros(self.now),
            )
        await transaction.rows(_Q["delete_change"], **place, import_id=self.import_id)
        return counts

    async def _messages(
        self, transaction: Transaction, place: dict[str, Any], found: Found
    ) -> list[dict[str, Any]]:
        """Return the messages that the import had cut, as their nodes are."""
        named = sorted({each.import_id for each in found.cut if each.import_id is not None})
        rows = await transaction.rows(_Q["undone"], **owner(self.scope), import_ids=named)
        undone = {row["import_id"] for row in rows}
        return [
            {
                **place,
                "position": each.message.msg_position,
                "role": each.message.role,
                "content": each.message.content,
                "prefix_hash": each.prefix_hash,
                "name": each.message.name,
                "timestamp": optional_micros(each.message.timestamp),
                "data": None if each.message.data is None else as_json(each.message.data),
                "import_id": None if each.import_id in undone else each.import_id,
            }
            for each in found.cut
        ]

    async def _hand_over(
        self, transaction: Transaction, row: Row, settlement: Settlement
    ) -> UndoCounts:
        if not self.dry_run:
            heir = settlement.heir
            place = {**self.place, "interaction_id": row["interaction"]["interaction_id"]}
            await transaction.rows(_Q["hand_over"], **place, heir=heir and heir.import_id)
            if heir is not None:
                await put_change(transaction, owner(self.scope), heir)
            await transaction.rows(_Q["delete_change"], **place)
        return UndoCounts(interactions_kept=1)
