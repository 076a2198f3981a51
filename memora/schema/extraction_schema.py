"""What the extraction model returns. Fields are required and extras refused.

One bad item is dropped and counted instead of spoiling the answer: lists are read item by item.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

MAX_ITEMS = 200
MAX_MEMORY_CHARS = 2000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


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


class ExtractedMemory(BaseModel):
    """One statement that the model found in the new messages.

    Attributes:
        memory: Self-contained, about 25 words, with `[[user]]` and `[[agent]]` for names.
        msg_source_ids: Numbers of the messages that state it.
    """

    model_config = ConfigDict(extra="forbid")

    memory: str = Field(
        min_length=1,
        max_length=MAX_MEMORY_CHARS,
        strict=True,
        description="One self-contained statement, at most 25 words; [[user]] and [[agent]] stand "
        "for the names.",
    )
    msg_source_ids: list[int] = Field(
        min_length=1, description="Numbers of the messages that state it."
    )
    memory_type: ExtractedKind = Field(description="The kind of statement.")
    importance: float = Field(ge=0, le=1, description="0: trivial, 1: vital.")


class _ItemList(BaseModel):
    """Reads one list item by item; what does not fit is counted by reason."""

    _rejected: dict[str, int] = PrivateAttr(default_factory=dict[str, int])

    @property
    def rejected(self) -> dict[str, int]:
        """How many items were dropped, by reason."""
        return self._rejected


class MemoryExtractionResponse(_ItemList):
    """All statements worth remembering in the new messages; none is a valid answer."""

    model_config = ConfigDict(extra="forbid")

    memories: list[ExtractedMemory]

    @model_validator(mode="wrap")
    @classmethod
    def _read_items(cls, data: Any, handler: Any) -> MemoryExtractionResponse:
        good, rejected = _good_items(data, "memories", ExtractedMemory)
        response = cast("MemoryExtractionResponse", handler(good))
        response._rejected = rejected
        return response


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

    candidate: int = Field(description="Number of the candidate.")
    verdict: ComparisonVerdict = Field(
        description="new: says something else; duplicate: says the same; contradiction: both "
        "cannot hold now, the candidate replaces the existing one."
    )
    existing: int | None = Field(
        description="Number of the existing memory it repeats or contradicts; null when new."
    )


class MemoryComparisonResponse(_ItemList):
    """One verdict per candidate; a candidate left out counts as new."""

    model_config = ConfigDict(extra="forbid")

    verdicts: list[CandidateVerdict]

    @model_validator(mode="wrap")
    @classmethod
    def _read_items(cls, data: Any, handler: Any) -> MemoryComparisonResponse:
        good, rejected = _good_items(data, "verdicts", CandidateVerdict)
        response = cast("MemoryComparisonResponse", handler(good))
        response._rejected = rejected
        return response


class SearchQueries(_Strict):
    """Search queries for a message; none is a valid answer."""

    queries: list[str]


class SelectedMemories(_Strict):
    """Numbers of the memories that help to answer; none is a valid answer."""

    relevant: list[int]


def _good_items(data: Any, field: str, item: type[BaseModel]) -> tuple[Any, dict[str, int]]:
    """Return the answer with only the items that are valid, and the reasons of the others."""
    if not isinstance(data, Mapping):
        return data, {}
    answer = dict(cast("Mapping[str, Any]", data))
    items = answer.get(field)
    if not isinstance(items, list):
        return answer, {}
    good: list[Any] = []
    rejected: dict[str, int] = {}
    for value in cast("list[Any]", items):
        if len(good) >= MAX_ITEMS:
            rejected["too_many"] = rejected.get("too_many", 0) + 1
            continue
        try:
            good.append(item.model_validate(value))
        except ValidationError as error:
            reason = error.errors(include_input=False, include_url=False)[0]["type"]
            rejected[reason] = rejected.get(reason, 0) + 1
    answer[field] = good
    return answer, rejected
