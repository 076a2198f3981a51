"""What a write notes of the import that makes it, inside the write's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memora import _queries
from memora.core import undoing
from memora.core.undoing import Change, CutMessage, CutSource, Found
from memora.errors import ConflictError
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, change, one, rows, values
from memora.graph_db.sqlite._seal import IMPORT_CHANGE, sealed
from memora.graph_db.sqlite.records import Row
from memora.schema.imports import ImportStatus
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.write_plan import InteractionWrite, WritePlan

_SQL = _queries.load(PACKAGE, "queries/apply.sql")
_IMPORT_STATUS = _SQL["import_status"]
_CUT_OFF = _SQL["cut_off"]
_IMPORT_CHANGE = _SQL["import_change"]
_PUT_IMPORT_CHANGE = _SQL["put_import_change"]
_COUNT_WRITTEN = _SQL["count_written"]


def check_import(connection: sqlite3.Connection, plan: WritePlan) -> None:
    """Check that what the plan is written under was not taken back.

    Raises:
        ConflictError: It was.
    """
    import_id = plan.import_id
    if import_id is None:
        return
    status = _status(connection, plan.scope, import_id)
    if status is not None and not status.takes_writes:
        raise ConflictError("import", import_id, expected="a running one", actual=status.value)


def count_written(
    connection: sqlite3.Connection,
    scope: Scope,
    import_id: str,
    *,
    conversations: int = 0,
    memories: int = 0,
) -> None:
    """Add to the counts of an import in the transaction that writes, so that a kill loses none."""
    fields = {"org_id": scope.org_id, "user_id": scope.user_id, "import_id": import_id}
    change(connection, _COUNT_WRITTEN, **fields, conversations=conversations, memories=memories)


def _status(connection: sqlite3.Connection, scope: Scope, import_id: str) -> ImportStatus | None:
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    found = values(connection, _IMPORT_STATUS, **owner, import_id=import_id)
    return ImportStatus(found[0]) if found else None


@dataclass(frozen=True, slots=True)
class ImportNote:
    """What an import is about to change in a conversation.

    Attributes:
        before: The conversation; None: the import creates it.
        cut: Messages that go.
    """

    scope: Scope
    write: InteractionWrite
    import_id: str
    before: Interaction | None
    cut: tuple[CutMessage, ...]

    @classmethod
    def begun(
        cls, connection: sqlite3.Connection, scope: Scope, write: InteractionWrite, stored: Row
    ) -> ImportNote | None:
        """Return the note of a write that comes next; None: no known import makes it."""
        if write.import_id is None or _status(connection, scope, write.import_id) is None:
            return None
        if write.expected_revision is None:
            return cls(scope, write, write.import_id, None, ())
        cut: list[Row] = []
        if write.edit.keep < stored["message_count"]:
            place = {
                "org_id": scope.org_id,
                "user_id": scope.user_id,
                "interaction_id": write.interaction_id,
            }
            cut = rows(connection, _CUT_OFF, **place, keep=write.edit.keep)
        return cls(
            scope,
            write,
            write.import_id,
            records.interaction(stored),
            tuple(map(_cut_message, cut)),
        )

    def put(self, connection: sqlite3.Connection, stored: Mapping[str, Any]) -> None:
        """Store it with the conversation as it is now."""
        after = records.interaction(stored)
        found: Found | None = None
        if self.before is not None:
            found = undoing.found(self.before, after, self.write.edit.keep, self.cut)
        place = {
            "org_id": self.scope.org_id,
            "user_id": self.scope.user_id,
            "import_id": self.import_id,
            "interaction_id": self.write.interaction_id,
        }
        known = one(connection, _IMPORT_CHANGE, **place)
        if known is None:
            count_written(connection, self.scope, self.import_id, conversations=1)
        else:
            found = undoing.merged(Found.from_json(known["found"]), found)
        own = Change(self.import_id, self.write.interaction_id, after.revision, found)
        put_change(connection, self.scope, own)


def stored_change(row: Row) -> Change:
    """Return an import's part in a conversation."""
    return Change(
        row["import_id"],
        row["interaction_id"],
        row["revision"],
        Found.from_json(row["found"]),
    )


def put_change(connection: sqlite3.Connection, scope: Scope, own: Change) -> None:
    """Insert or replace an import's part in a conversation."""
    fields = {
        "org_id": scope.org_id,
        "user_id": scope.user_id,
        "import_id": own.import_id,
        "interaction_id": own.interaction_id,
        "revision": own.revision,
        "found": own.to_json(),
    }
    change(connection, _PUT_IMPORT_CHANGE, **sealed(connection, IMPORT_CHANGE, fields))


def _cut_message(row: Row) -> CutMessage:
    return CutMessage(
        records.message(row),
        row["prefix_hash"],
        row["import_id"],
        tuple(
            CutSource(memory_id, records.optional_moment(said_at))
            for memory_id, said_at in sorted(records.loads(row["sources"]))
        ),
    )
