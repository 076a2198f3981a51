"""Filters: what the engine can check by itself, and the full check on resolved memories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from typing import Any, cast

from memora.core.indexing import is_scalar, metadata_terms, nfc
from memora.schema.models import Memory
from memora.schema.recall import MemoryFilters


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The payload field holds (or, for lists, contains) one of these texts."""

    field: str
    values: tuple[str, ...] = dataclass_field(repr=False)


@dataclass(frozen=True, slots=True)
class Range:
    """The payload field is a number within these bounds (None: open)."""

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


Condition = AnyOf | Range


def engine_conditions(
    filters: MemoryFilters, now: datetime, as_of: datetime | None
) -> tuple[Condition, ...]:
    """Return the part of the filters that a vector engine checks, all of which must hold.

    It never excludes a version whose resolved memory could match except by that version's own
    fields; `matches` decides afterwards.

    Args:
        filters: What the caller asked for.
        now: Current time, for expiry.
        as_of: Reading time of the search, or None.
    """
    conditions: list[Condition] = []
    texts = {
        "interaction_id": filters.interaction_ids,
        "memory_type": filters.types,
        "tags": filters.tags,
        "entities": filters.entities,
        "source_role": filters.source_roles,
        "process_id": filters.process_ids,
        "import_id": filters.import_ids,
        "agent_id": filters.agent_ids,
    }
    conditions += [AnyOf(field, values) for field, values in texts.items() if values]
    upper = min((time for time in (filters.obtained_to, as_of) if time is not None), default=None)
    if filters.obtained_from is not None or upper is not None:
        conditions.append(
            Range(
                "obtained_at",
                gte=filters.obtained_from.timestamp() if filters.obtained_from else None,
                lte=upper.timestamp() if upper else None,
            )
        )
    if filters.importance_min is not None or filters.importance_max is not None:
        conditions.append(
            Range("importance", gte=filters.importance_min, lte=filters.importance_max)
        )
    if not filters.include_archived and as_of is None:
        conditions.append(Range("archived", lt=1))
    if not filters.include_expired and as_of is None:
        conditions.append(Range("expires_at", gt=now.timestamp()))
    for key, wanted in filters.metadata.items():
        conditions += _metadata_conditions(key, wanted)
    return tuple(conditions)


def _metadata_conditions(key: str, wanted: Any) -> list[Condition]:
    """Return what the engine can check of one top-level metadata condition: eq and in."""
    return [
        AnyOf("meta", metadata_terms({key: value}))
        for operator, value in _operators(key, wanted)
        if _is_indexed(operator, value)
    ]


def _operators(key: str, wanted: Any) -> list[tuple[str, Any]]:
    if key in {"and", "or", "not"}:
        return [(key, wanted)]
    if isinstance(wanted, Mapping):
        return list(cast("Mapping[str, Any]", wanted).items())
    return [("eq", wanted)]


def _is_indexed(operator: str, value: Any) -> bool:
    """Tell whether the index answers this exactly: only scalars have a term of their own."""
    if operator == "in":
        return all(is_scalar(item) for item in value)
    return operator == "eq" and is_scalar(value)


def needs_more_candidates(filters: MemoryFilters) -> bool:
    """Tell whether some of the filters are only checked after the search."""
    return any(
        not _is_indexed(operator, value)
        for key, wanted in filters.metadata.items()
        for operator, value in _operators(key, wanted)
    )


def matches(
    memory: Memory, filters: MemoryFilters, now: datetime, as_of: datetime | None = None
) -> bool:
    """Tell whether a resolved memory passes all filters.

    With `as_of`, expiry is judged at that time and archiving is not looked at.
    """
    at = now if as_of is None else as_of
    expired = memory.expires_at is not None and memory.expires_at <= at
    if expired and not filters.include_expired:
        return False
    if memory.archived and as_of is None and not filters.include_archived:
        return False
    return (
        _labels_match(memory, filters)
        and _ranges_match(memory, filters)
        and (not filters.metadata or metadata_matches(memory.metadata, filters.metadata))
    )


def _labels_match(memory: Memory, filters: MemoryFilters) -> bool:
    exact: tuple[tuple[tuple[str, ...], str | None], ...] = (
        (filters.agent_ids, memory.agent_id),
        (filters.interaction_ids, memory.interaction_id),
        (filters.types, memory.memory_type),
        (filters.source_roles, memory.source_role),
        (filters.process_ids, memory.process_id),
        (filters.import_ids, memory.import_id),
    )
    if any(allowed and value not in allowed for allowed, value in exact):
        return False
    listed = ((filters.tags, memory.tags), (filters.entities, memory.entities))
    return all(not allowed or set(allowed) & set(values) for allowed, values in listed)


def _ranges_match(memory: Memory, filters: MemoryFilters) -> bool:
    if filters.obtained_from is not None and memory.obtained_at < filters.obtained_from:
        return False
    if filters.obtained_to is not None and memory.obtained_at > filters.obtained_to:
        return False
    if filters.importance_min is not None and memory.importance < filters.importance_min:
        return False
    return filters.importance_max is None or memory.importance <= filters.importance_max


def metadata_matches(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether metadata passes a condition tree (grammar: `MemoryFilters.metadata`)."""
    for key, condition in wanted.items():
        if key == "and":
            passed = all(metadata_matches(metadata, part) for part in condition)
        elif key == "or":
            passed = any(metadata_matches(metadata, part) for part in condition)
        elif key == "not":
            passed = not metadata_matches(metadata, condition)
        elif isinstance(condition, Mapping):
            operators = cast("Mapping[str, Any]", condition)
            passed = all(_holds(metadata, key, op, value) for op, value in operators.items())
        else:
            passed = _holds(metadata, key, "eq", condition)
        if not passed:
            return False
    return True


def _same(left: Any, right: Any) -> bool:
    """Equality as JSON sees it: 1 is 1.0 and not True; texts are compared in NFC."""
    if isinstance(left, str) and isinstance(right, str):
        return nfc(left) == nfc(right)
    if isinstance(left, list) and isinstance(right, list):
        first, second = cast("list[Any]", left), cast("list[Any]", right)
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(left, dict) and isinstance(right, dict):
        ours, theirs = cast("dict[str, Any]", left), cast("dict[str, Any]", right)
        return ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _equals(value: Any, wanted: Any) -> bool:
    """Equal, or a list that contains it."""
    if isinstance(value, list) and not isinstance(wanted, list):
        return any(_same(item, wanted) for item in cast("list[Any]", value))
    return _same(value, wanted)


def _holds(metadata: Mapping[str, Any], key: str, operator: str, wanted: Any) -> bool:
    if operator == "exists":
        return (key in metadata) is wanted
    if operator in {"ne", "nin"}:
        positive = "eq" if operator == "ne" else "in"
        return not _holds(metadata, key, positive, wanted)
    if key not in metadata:
        return False
    value = metadata[key]
    if operator == "eq":
        return _equals(value, wanted)
    if operator == "in":
        return any(_equals(value, item) for item in wanted)
    if operator == "contains":
        if isinstance(value, str):
            return isinstance(wanted, str) and nfc(wanted) in nfc(value)
        return isinstance(value, list) and _equals(cast("Any", value), wanted)
    return _compares(value, operator, wanted)


def _compares(value: Any, operator: str, wanted: Any) -> bool:
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (value, wanted))
    if isinstance(value, str) and isinstance(wanted, str):
        value, wanted = nfc(value), nfc(wanted)
    elif not numbers:
        return False
    if operator == "gt":
        return value > wanted
    if operator == "gte":
        return value >= wanted
    if operator == "lt":
        return value < wanted
    return value <= wanted
