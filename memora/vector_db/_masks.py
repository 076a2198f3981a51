"""Filter values of an encrypted store: encrypted so that equal ones can still be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from memora.core.filters import AnyOf, Condition
from memora.encryption import DataKey, Place, SealError
from memora.errors import VectorDBError
from memora.schema.index import IndexEntry
from memora.schema.scope import SearchScope

# What comes from the text itself. Ids, types, roles and numbers stay readable.
_MASKED = ("tags", "entities", "meta")
_HASH = "text_hash"

Change = Callable[[str, Place], str]


def masked(payload: dict[str, Any], memory_id: str, key: DataKey | None) -> dict[str, Any]:
    """Return a payload as it is stored."""
    return payload if key is None else _changed(payload, memory_id, key.mark)


def unmasked_payload(
    payload: dict[str, Any], memory_id: str, key: DataKey | None
) -> dict[str, Any]:
    """Return a stored payload as it was given.

    Raises:
        VectorDBError: It was changed or moved.
    """
    if key is None:
        return payload
    try:
        return _changed(payload, memory_id, key.unmark)
    except (SealError, KeyError):
        raise _damaged(memory_id) from None


def unmasked(entry: IndexEntry, key: DataKey | None) -> IndexEntry:
    """Return a stored entry with its hash as it was given.

    Raises:
        VectorDBError: It was changed or moved.
    """
    if key is None:
        return entry
    place = _hash_place(entry.org_id, entry.user_id, entry.memory_id)
    try:
        return replace(entry, text_hash=key.unmark(entry.text_hash, place))
    except SealError:
        raise _damaged(entry.memory_id) from None


def masked_conditions(
    conditions: Iterable[Condition], scope: SearchScope, key: DataKey | None
) -> tuple[Condition, ...]:
    """Return conditions as they are asked of a store with masked values."""
    return tuple(
        AnyOf(
            condition.field,
            tuple(key.mark(value, (condition.field, scope.org_id)) for value in condition.values),
        )
        if key is not None and isinstance(condition, AnyOf) and condition.field in _MASKED
        else condition
        for condition in conditions
    )


def _changed(payload: dict[str, Any], memory_id: str, change: Change) -> dict[str, Any]:
    org_id, user_id = payload["org_id"], payload["user_id"]
    changed = dict(payload)
    for field in _MASKED:
        if field in payload:
            values = cast("list[str]", payload[field])
            changed[field] = [change(value, (field, org_id)) for value in values]
    changed[_HASH] = change(payload[_HASH], _hash_place(org_id, user_id, memory_id))
    return changed


def _hash_place(org_id: str, user_id: str, memory_id: str) -> Place:
    return (_HASH, org_id, user_id, memory_id)


def _damaged(memory_id: str) -> VectorDBError:
    reason = f"the vector of {memory_id!r} was changed or moved: reindex makes it again"
    return VectorDBError("embedded", reason)
