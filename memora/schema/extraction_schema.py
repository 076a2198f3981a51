"""What the models return. Extras are refused, and fields required but for names and relations.

One bad item is dropped and counted instead of spoiling the answer: lists are read item by item. An
answer without any item of the right shape is refused, so that the model is asked again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from memora.schema.models import MemoryType

MAX_ITEMS = 200
MAX_MEMORY_CHARS = 2000
MAX_NAMES = 12
MAX_RELATIONS = 8
MAX_NAME_CHARS = 100
# What stands at the place of a name that is none.
_NO_NAME = "-"
# Kinds of error that say: right shape, wrong value.
_VALUE_ERRORS = frozenset(
    {
        "string_too_short",
        "string_too_long",
        "too_short",
        "greater_than_equal",
        "less_than_equal",
        "finite_number",
    }
)


class ExtractedKind(StrEnum):
    """Kinds that the model may choose from."""

    FACT = "fact"
    PREFERENCE = "preference"
    EVENT = "event"
    SKILL = "skill"
    RELATIONSHIP = "relationship"
    RULE = "rule"
    PLAN = "plan"
    EMOTION = "emotion"
    OTHER = "other"


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


def _known_kind(value: object) -> object:
    """Keep a statement whose kind the model made up or wrote in another language."""
    if not isinstance(value, str):
        return value
    kind = value.strip().casefold()
    if kind == MemoryType.SHORT_TERM:
        return MemoryType.SHORT_TERM
    return kind if kind in set(ExtractedKind) else ExtractedKind.OTHER


# A model is not asked for short-term statements, for what it calls so is gone in some days; one
# with a prompt of its own may tell them.
_Kind = ExtractedKind | SkipJsonSchema[Literal[MemoryType.SHORT_TERM]]
_Number = Annotated[int, BeforeValidator(_no_bool)]
_Statement = Annotated[
    StrictStr,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MEMORY_CHARS),
]


_Name = Annotated[
    StrictStr, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME_CHARS)
]


class ExtractedRelation(BaseModel):
    """What a statement says about two of its entities.

    Attributes:
        subject, object: Places of names in the statement's `entities`, from 0.
        type: In snake case, such as `works_at`.
    """

    model_config = ConfigDict(extra="forbid")

    subject: _Number = Field(description="Place in entities, from 0.")
    type: _Name = Field(repr=False, description="snake_case, such as works_at.")
    object: _Number = Field(description="Place in entities, from 0.")


@functools.cache
def _reader(kind: type[str] | type[ExtractedRelation]) -> TypeAdapter[Any]:
    return TypeAdapter(_Name if kind is str else kind)


def _good(value: object, kind: type[str] | type[ExtractedRelation], most: int) -> list[Any]:
    """Keep what is valid of a list: a statement is not lost for what it is linked to."""
    good: list[Any] = []
    for item in cast("list[object]", value) if isinstance(value, list) else ():
        try:
            good.append(_reader(kind).validate_python(item))
        except ValidationError:
            # An empty place, so that those after it keep their numbers.
            good.append(None)
        if len(good) == most:
            break
    return good


def _good_names(value: object) -> list[str]:
    return [name or _NO_NAME for name in _good(value, str, MAX_NAMES)]


def _good_relations(value: object) -> list[ExtractedRelation]:
    return [each for each in _good(value, ExtractedRelation, MAX_RELATIONS) if each is not None]


class ExtractedMemory(BaseModel):
    """One statement that the model found in the new messages.

    Attributes:
        memory: Self-contained, about 25 words, with `[[user]]` and `[[agent]]` for names.
        msg_source_ids: Numbers of the messages that state it.
        entities: Names in it; one that is none, and all of a field that is no list, are left out.
        relations: Between two of them; likewise.
    """

    model_config = ConfigDict(extra="forbid")

    memory: _Statement = Field(
        repr=False,
        description="One self-contained statement, at most 25 words; [[user]] and [[agent]] stand "
        "for the names.",
    )
    msg_source_ids: list[_Number] = Field(
        min_length=1, description="Numbers of the messages that state it."
    )
    memory_type: Annotated[_Kind, BeforeValidator(_known_kind)] = Field(
        description="The kind of statement."
    )
    importance: Annotated[float, BeforeValidator(_no_bool)] = Field(
        ge=0, le=1, description="0: trivial, 1: vital."
    )
    entities: Annotated[list[_Name], BeforeValidator(_good_names)] = Field(
        default_factory=list[str],
        repr=False,
        description="Names in it, and [[user]] where a relation needs the user.",
    )
    relations: Annotated[list[ExtractedRelation], BeforeValidator(_good_relations)] = Field(
        default_factory=list[ExtractedRelation],
        repr=False,
        description="What it says of two entities.",
    )


class _ItemList(BaseModel):
    """An answer with one list, which is read item by item."""

    model_config = ConfigDict(extra="forbid")

    _rejected: dict[str, int] = PrivateAttr(default_factory=dict[str, int])

    @property
    def rejected(self) -> dict[str, int]:
        """How many items were dropped, by reason."""
        return self._rejected

    @model_validator(mode="wrap")
    @classmethod
    def _read_items(cls, data: Any, handler: Any) -> Self:
        good, rejected = _good_items(cls, data)
        response = cast("Self", handler(good))
        response._rejected = rejected
        return response


class MemoryExtractionResponse(_ItemList):
    """All statements worth remembering in the new messages; none is a valid answer."""

    memories: list[ExtractedMemory] = Field(repr=False)


class ComparisonVerdict(StrEnum):
    """What a candidate is to what is known."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"


class CandidateVerdict(BaseModel):
    """The verdict on one candidate.

    Attributes:
        candidate: Number of the candidate.
        existing: Number of the existing memory that it repeats or contradicts; null when new.
    """

    model_config = ConfigDict(extra="forbid")

    candidate: _Number = Field(description="Number of the candidate.")
    verdict: ComparisonVerdict = Field(
        description="new: says something else; duplicate: says the same; contradiction: both "
        "cannot hold now, the candidate replaces the existing one."
    )
    existing: _Number | None = Field(
        description="Number of the existing memory it repeats or contradicts; null when new."
    )


class MemoryComparisonResponse(_ItemList):
    """One verdict per candidate; a candidate left out counts as new."""

    verdicts: list[CandidateVerdict]


class SearchQueries(_ItemList):
    """Search queries for a message; none is a valid answer."""

    queries: list[StrictStr] = Field(repr=False)


class SelectedMemories(_ItemList):
    """Numbers of the memories that help to answer; none is a valid answer."""

    relevant: list[_Number]


class CondensedFacts(_ItemList):
    """The key facts of a text; none means that it is kept as it is."""

    facts: list[_Statement] = Field(repr=False)


class PlacementVerdict(StrEnum):
    """What an added text is to what is known."""

    NEW = "new"
    DUPLICATE = "duplicate"
    MERGED = "merged"
    SUPERSEDED = "superseded"


class Placement(BaseModel):
    """The verdict on an added text.

    Attributes:
        existing: Numbers of the memories that it repeats, is merged with, or replaces.
        memory: The one statement that holds both, for `merged`.
    """

    model_config = ConfigDict(extra="forbid")

    verdict: PlacementVerdict = Field(
        description="new: says something else; duplicate: an existing memory says all of it; "
        "merged: both hold and belong together; superseded: both cannot hold now."
    )
    existing: list[_Number] = Field(
        description="Numbers of the existing memories concerned; empty when new."
    )
    memory: _Statement | None = Field(
        repr=False,
        description="For merged: one statement with everything that both say; else null.",
    )


class PlacementResponse(_ItemList):
    """One verdict on the added text."""

    placements: list[Placement]


@functools.cache
def _list_of(schema: type[BaseModel]) -> tuple[str, TypeAdapter[Any]]:
    """Return the name of the schema's one list, and what reads its items."""
    ((name, field),) = schema.model_fields.items()
    return name, TypeAdapter(get_args(field.annotation)[0])


def _good_items(schema: type[BaseModel], data: Any) -> tuple[Any, dict[str, int]]:
    """Return the answer with only the items that are valid, and the reasons of the others."""
    name, adapter = _list_of(schema)
    if not isinstance(data, Mapping):
        return data, {}
    answer = dict(cast("Mapping[str, Any]", data))
    items = answer.get(name)
    if not isinstance(items, list):
        return answer, {}
    good: list[Any] = []
    rejected: dict[str, int] = {}
    for value in cast("list[Any]", items):
        if len(good) >= MAX_ITEMS:
            reason = "too_many"
        else:
            try:
                good.append(adapter.validate_python(value))
                continue
            except ValidationError as error:
                reason = error.errors(include_input=False, include_url=False)[0]["type"]
        rejected[reason] = rejected.get(reason, 0) + 1
    if good or rejected.keys() <= _VALUE_ERRORS:
        answer[name] = good
    return answer, rejected
