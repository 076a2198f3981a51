"""What a write notes of the import that makes it, inside the write's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memora._queries import load
from memora.core import undoing
from memora.core.undoing import Change, CutMessage, CutSource, Found
from memora.errors import ConflictError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Transaction
from memora.graph_db.neo4j._transcript import Transcript
from memora.graph_db.neo4j.records import Row
from memora.schema.imports import ImportStatus
from memora.schema.write_plan import WritePlan

_Q = load(PACKAGE, "queries/imports.cypher")


def check_import(plan: WritePlan, found: Row) -> None:
    """Check that what the plan is written under was not taken back.

    Args:
        plan: The plan.
        found: What was looked up under the user's lock.

    Raises:
        ConflictError: It was.
    """
    for stored in found["imports"]:
        status = ImportStatus(stored)
        if not status.takes_writes:
            raise ConflictError(
                "import", plan.import_id or "", expected="a running one", actual=status.value
            )


@dataclass(frozen=True, slots=True)
class ImportNote:
    """What an import is about to change in a conversation.

    Attributes:
        before: The conversation; None: the import creates it.
        cut: Messages that go.
        known: What the import's earlier writes found there.
    """

    plan: WritePlan
    import_id: str
    before: Row | None
    cut: tuple[CutMessage, ...]
    known: tuple[Found | None, ...]

    @classmethod
    async def begun(
        cls, transaction: Transaction, plan: WritePlan, found: Row, transcript: Transcript
    ) -> ImportNote | None:
        """Return the note of a write that comes next; None: no known import makes it."""
        import_id = plan.interaction.import_id if plan.interaction else None
        if import_id is None or not found["imports"]:
            return None
        known = tuple(Found.from_json(each["found"]) for each in found["parts"])
        if transcript.is_new:
            return cls(plan, import_id, None, (), known)
        place = {**_owner(plan), "interaction_id": transcript.interaction_id}
        cut: list[Row] = []
        if transcript.cut_from is not None:
            cut = await transaction.rows(_Q["cut_off"], **place, keep=transcript.cut_from)
        [stored] = [
            row
            for row in found["interactions"]
            if row["interaction_id"] == transcript.interaction_id
        ]
        return cls(plan, import_id, stored, tuple(map(_cut_message, cut)), known)

    async def put(self, transaction: Transaction, transcript: Transcript) -> bool:
        """Store it with the conversation as it is now, unless nothing changed.

        Returns:
            Whether the conversation is one more that the import wrote to.
        """
        after = records.interaction({**(self.before or {}), **transcript.properties})
        found: Found | None = None
        if self.before is not None:
            before = records.interaction(self.before)
            if before.updated_at == after.updated_at:
                return False
            keep = after.message_count - len(transcript.messages)
            found = undoing.found(before, after, keep, self.cut)
        for known in self.known:
            found = undoing.merged(known, found)
        own = Change(self.import_id, transcript.interaction_id, after.revision, found)
        await put_change(transaction, _owner(self.plan), own)
        return not self.known


def stored_change(part: Row) -> Change:
    """Return an import's part in a conversation."""
    found = part.get("found")
    return Change(
        part["import_id"],
        part["interaction_id"],
        part["revision"],
        Found.from_json(found),
    )


async def count_written(
    transaction: Transaction, plan: WritePlan, found: Row, *, conversations: int, memories: int
) -> None:
    """Add to the counts of an import in the transaction that writes, so that a kill loses none."""
    if found["imports"] and (conversations or memories):
        await transaction.rows(
            _Q["count_written"],
            **_owner(plan),
            import_id=plan.import_id,
            conversations=conversations,
            memories=memories,
        )


async def put_change(transaction: Transaction, tenant: dict[str, Any], own: Change) -> None:
    """Insert or replace an import's part in a conversation."""
    await transaction.rows(
        _Q["put_change"],
        **tenant,
        import_id=own.import_id,
        interaction_id=own.interaction_id,
        revision=own.revision,
        found=own.to_json(),
    )


def _owner(plan: WritePlan) -> dict[str, Any]:
    return {"org_id": plan.scope.org_id, "user_id": plan.scope.user_id}


def _cut_message(row: Row) -> CutMessage:
    stored = row["message"]
    return CutMessage(
        records.message(stored),
        stored["prefix_hash"],
        stored.get("import_id"),
        tuple(
            CutSource(each["memory_id"], records.optional_moment(each["said_at"]))
            for each in stored["sources"]
        ),
    )
