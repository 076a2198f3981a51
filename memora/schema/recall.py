"""Filters of searches and listings, and the answer of the recall story."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from memora.errors import InvalidInputError
from memora.schema.models import Memory
from memora.schema.times import parsed_time
from memora.schema.validation import (
    checked_bool,
    checked_json_object,
    checked_labels,
    checked_share,
    kind_of,
    shown_key,
)

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
    tags: tuple[str, ...] = Field(default=(), repr=False)
    entities: tuple[str, ...] = Field(default=(), repr=False)
    source_roles: tuple[str, ...] = ()
    process_ids: tuple[str, ...] = ()
    import_ids: tuple[str, ...] = ()
    obtained_from: datetime | None = None
    obtained_to: datetime | None = None
    importance_min: float | None = None
    importance_max: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any], repr=False)
    include_expired: bool = False
    include_archived: bool = False

    @field_validator(
        "agent_ids", "interaction_ids", "types", "tags", "entities", "source_roles",
        "process_ids", "import_ids", mode="before",
    )  # fmt: skip
    @classmethod
    def _check_labels(cls, value: object, info: ValidationInfo) -> tuple[str, ...]:
        return checked_labels((value,) if isinstance(value, str) else value, _where(info))

    @field_validator("obtained_from", "obtained_to", mode="before")
    @classmethod
    def _check_time(cls, value: object, info: ValidationInfo) -> datetime | None:
        return None if value is None else parsed_time(value, _where(info))

    @field_validator("importance_min", "importance_max", mode="before")
    @classmethod
    def _check_share(cls, value: object, info: ValidationInfo) -> float | None:
        return None if value is None else checked_share(value, _where(info))

    @field_validator("include_expired", "include_archived", mode="before")
    @classmethod
    def _check_bool(cls, value: object, info: ValidationInfo) -> bool:
        return checked_bool(value, _where(info))

    @field_validator("metadata", mode="before")
    @classmethod
    def _check_metadata(cls, value: object, info: ValidationInfo) -> dict[str, Any]:
        _check_tree(value, 0)
        return checked_json_object(value, _where(info))

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
        given = dict(cast("Mapping[object, Any]", value))
        for name in given:
            if name not in cls.model_fields:
                shown = shown_key(name)
                where = "filters" if shown is None else f"filters.{shown}"
                raise InvalidInputError(where, f"one of {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise cast("dict[str, Any]", first)["ctx"]["error"] from None


def _where(info: ValidationInfo) -> str:
    return f"filters.{info.field_name}"


def _check_tree(tree: object, depth: int) -> None:
    if not isinstance(tree, Mapping) or depth > _DEPTH:
        raise _malformed(f"conditions, nested at most {_DEPTH} deep")
    for key, condition in cast("Mapping[object, object]", tree).items():
        if not isinstance(key, str):
            raise _malformed("conditions under keys that are texts")
        if key in {"and", "or"}:
            if not isinstance(condition, (list, tuple)):
                raise _malformed(f"conditions with a list under {key!r}")
            for part in cast("Sequence[object]", condition):
                _check_tree(part, depth + 1)
        elif key == "not":
            _check_tree(condition, depth + 1)
        elif isinstance(condition, Mapping):
            _check_operators(cast("Mapping[object, object]", condition), depth)
        else:
            _check_depth(condition, depth)


def _check_operators(operators: Mapping[object, object], depth: int) -> None:
    for operator, value in operators.items():
        if operator not in _OPERATORS:
            raise _malformed(f"conditions with operators of {', '.join(sorted(_OPERATORS))}")
        if operator in {"in", "nin"} and not isinstance(value, (list, tuple)):
            raise _malformed(f"conditions with a list under {operator!r}")
        if operator == "exists" and not isinstance(value, bool):
            raise _malformed("conditions with True or False under 'exists'")
        _check_depth(value, depth)


def _check_depth(value: Any, depth: int) -> None:
    """Bound what a comparison has to walk through, whatever is stored."""
    if not isinstance(value, (list, tuple, Mapping)):
        return
    if depth > _DEPTH:
        raise _malformed(f"values nested at most {_DEPTH} deep")
    if isinstance(value, Mapping):
        value = cast("Mapping[str, Any]", value).values()
    for item in cast("Iterable[Any]", value):
        _check_depth(item, depth + 1)


def _malformed(allowed: str) -> InvalidInputError:
    return InvalidInputError("filters.metadata", allowed)


class RankedId(NamedTuple):
    """One candidate after fusion.

    Attributes:
        score: 0 to 1, higher is better.
        dense: Best raw dense similarity over the queries, where the dense list had it.
        parts: What the score is made of.
    """

    memory_id: str
    score: float
    dense: float | None
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecallResult:
    """What the recall story found, best first.

    Attributes:
        queries: The search queries that were used.
    """

    memories: tuple[Memory, ...] = field(repr=False)
    queries: tuple[str, ...] = field(repr=False)
