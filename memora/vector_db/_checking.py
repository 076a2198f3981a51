"""Rows and shard of the embedded vector store beside each other, as doctor sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memora._sqlite_schema import Defect
from memora.schema.findings import Finding, FindingKind
from memora.schema.index import IndexEntry
from memora.vector_db._rows import SeenRow
from memora.vector_db._shard import stored


def half_migration(defect: Defect) -> Finding:
    kind = FindingKind.HALF_MIGRATION
    blocks = defect.kind != "index"
    return Finding("I5", f"vectors.{defect.name}", defect.detail, kind, blocks=blocks)


def unusable(entry: IndexEntry, *, other_length: bool) -> Finding:
    kind, detail = FindingKind.STALE_PAYLOAD, "the vector or its filter values are damaged"
    if other_length:
        kind = FindingKind.MODEL_MISMATCH
        detail = "the vector is not as long as the store's model makes it"
    owner = (entry.org_id, entry.user_id)
    return Finding("I5", entry.memory_id, detail, kind, *owner, blocks=True)


def merged(
    rows: Sequence[IndexEntry], points: Sequence[tuple[str, dict[str, Any]]], limit: int
) -> list[IndexEntry]:
    """Return a page of what is in the rows or in the shard, by id.

    Whichever page is full tells only about the ids up to its last one.
    """
    entries = {memory_id: rowless(memory_id, payload) for memory_id, payload in points}
    entries |= {row.memory_id: row for row in rows}
    ends = [
        page[-1]
        for page in ([row.memory_id for row in rows], [p[0] for p in points])
        if len(page) == limit
    ]
    known = [memory_id for memory_id in sorted(entries) if not ends or memory_id <= min(ends)]
    return [entries[memory_id] for memory_id in known[:limit]]


def rowless(memory_id: str, payload: dict[str, Any]) -> IndexEntry:
    """Return the entry of a point that only the engine has."""
    owner = (str(payload.get("org_id", "")), str(payload.get("user_id", "")))
    return IndexEntry(memory_id, *owner, text_hash="", model_id="", payload=payload)


def seen(row: SeenRow, payload: dict[str, Any] | None, applied: int) -> IndexEntry:
    """Return an entry; what the shard will only get to is not missing there."""
    on_its_way = row.change > applied
    return replace(row.entry, searchable=on_its_way or payload == stored(row.stored.payload))
