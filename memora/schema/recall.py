"""Filters of searches and listings, and the answer of the recall story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from memora.errors import InvalidInputError
from memora.schema.models import Memory
from memora.schema.validation import checked_labels, kind_of

_OPERATORS = frozenset({"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "contains", "exists"})
_DEPTH = 8


class MemoryFilters(BaseModel):
    """Which memories may answer; conditions on different fields must all hold.

    Lists mean "one of these"; an empty list is no condition.

    Attributes:
        agent_ids, interaction_ids, types, tags, entities, source_roles, process_ids, import_ids:
            Exact values.
        obtained_from, obtained_to: Bounds of `obtained_at`, both included.
        importance_min, importance_max: Bounds, 0 to 1, both included.
        metadata: `{"key": value}` for equality, `{"key": {"op": value}}` with op one of eq, ne,
            in, nin, gt, gte, lt, lte, contains, exists; several keys must all hold; `and` and
            `or` take a list of such objects, `not` takes one. A list in the metadata equals a
            value that it contains.
        include_expired, include_archived: Also return these, which stay out otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent_ids: tuple[str, ...] = ()
    interaction_ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    source_roles: tuple[str, ...] = ()
    process_ids: tuple[str, ...] = ()
    import_ids: tuple[str, ...] = ()
    obtained_from: datetime | None = None
    obtained_to: datetime | None = None
    importance_min: float | None = Field(default=None, ge=0, le=1)
    importance_max: float | None = Field(default=None, ge=0, le=1)
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    include_expired: bool = False
    include_archived: bool = False

    @field_validator(
        "agent_ids", "interaction_ids", "types", "tags", "entities", "source_roles",
        "process_ids", "import_ids", mode="before",
    )  # fmt: skip
    @classmethod
    def _check_labels(cls, value: object) -> tuple[str, ...]:
        return checked_labels((value,) if isinstance(value, str) else value, "filters")

    @field_validator("obtained_from", "obtained_to")
    @classmethod
    def _check_time(cls, value: datetime | None) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, value: dict[str, Any]) -> dict[str, Any]:
        _check_tree(value, 0)
        return value

    @classmethod
    def parse(cls, value: object) -> MemoryFilters:
        """Return the filters that a caller gave: None, a mapping, or filters.

        Raises:
            InvalidInputError: A field is unknown or holds what it cannot.
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise InvalidInputError("filters", "a mapping or MemoryFilters", got=kind_of(value))
        try:
            return cls.model_validate(dict(cast("Mapping[str, Any]", value)))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(["filters", *(str(part) for part in first["loc"])])
            raise InvalidInputError(where, first["msg"]) from None


def _check_tree(tree: object, depth: int) -> None:
    if not isinstance(tree, Mapping) or depth > _DEPTH:
        raise ValueError(f"a metadata condition: an object, at most {_DEPTH} deep")
    for key, condition in cast("Mapping[Any, Any]", tree).items():
        if not isinstance(key, str):
            raise ValueError("metadata keys that are texts")
        if key in {"and", "or"}:
            if not isinstance(condition, list):
                raise ValueError(f"a list under {key!r}")
            for part in cast("list[object]", condition):
                _check_tree(part, depth + 1)
        elif key == "not":
            _check_tree(cast("object", condition), depth + 1)
        elif isinstance(condition, Mapping):
            _check_operators(cast("Mapping[str, Any]", condition))


def _check_operators(operators: Mapping[str, Any]) -> None:
    for operator, value in operators.items():
        if operator not in _OPERATORS:
            raise ValueError(f"metadata operators of {', '.join(sorted(_OPERATORS))}")
        if operator in {"in", "nin"} and not isinstance(value, list):
            raise ValueError(f"a list under {operator!r}")
        if operator == "exists" and not isinstance(value, bool):
            raise ValueError("True or False under 'exists'")


@dataclass(frozen=True, slots=True)
class RankedId:
    """One candidate after fusion.

    Attributes:
        score: 0 to 1, higher is better.
        dense: Best raw dense similarity over the queries, where the dense list had it.
        parts: What the score is made of.
    """

    memory_id: str
    score: float
    dense: float | None
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class RecallResult:
    """What the recall story found, best first.

    Attributes:
        queries: The search queries that were used.
    """

    memories: tuple[Memory, ...]
    queries: tuple[str, ...]
