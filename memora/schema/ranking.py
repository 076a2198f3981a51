"""How recall weighs what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self, cast

from memora.errors import InvalidInputError
from memora.schema.validation import checked_bool, checked_int, kind_of, shown_key

_LARGEST = 10.0


class Fusion(StrEnum):
    """How the dense and the lexical list become one.

    Attributes:
        WEIGHTED: Dense scores scaled to 0..1 by the least and the best of the list, lexical ones as
            shares of the best, then added.
        RRF: Reciprocal ranks, which ignore how far apart scores are.
        DBSF: Each list scaled by its mean and three standard deviations, then added.
    """

    WEIGHTED = "weighted"
    RRF = "rrf"
    DBSF = "dbsf"


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """What a score is made of; the defaults are one configuration, measured on two benchmarks.

    Search alone gives 0 to 1. Every other part is 0 to its weight and is added to that; 0 turns
    it off. A score is divided by what a memory could reach, so it stays between 0 and 1.

    Attributes:
        fusion: How the two lists become one.
        dense_weight: Share of the dense list, 0 to 1; the lexical list has the rest.
        speaker_weight: For memories of the one whom the question is about: a speaker it names,
            the user where it says "I", the assistant where it asks what "you" said.
        time_weight: For memories of the time that the question names ("last summer").
        recency_weight: For new memories, halved every `recency_half_life_days`.
        importance_weight: For the importance that a memory was stored with.
        usage_weight: For memories that were recalled before.
        pinned_weight: For pinned memories.
        type_weights: By memory type, -1 to 1; types that are not named have 0.
        entity_weight: For memories that mention the same people, places and things as the question
            or the best hits. Off: on the benchmarks it brings nothing.
        entity_hops: 1, or 2 to follow what the first hop reached once more.
        collapse_duplicates: Show of memories that say the same on the same day only the best.
        diversity: From 0 (off) to 1: how much a memory loses that resembles a better one
            (maximal marginal relevance over the words).

    Example:
        >>> RankingConfig(recency_weight=0.2, type_weights={"rule": 0.3}).fusion
        <Fusion.WEIGHTED: 'weighted'>
    """

    fusion: Fusion = Fusion.WEIGHTED
    dense_weight: float = 0.5
    speaker_weight: float = 0.3
    time_weight: float = 0.1
    recency_weight: float = 0.0
    recency_half_life_days: float = 30.0
    importance_weight: float = 0.0
    usage_weight: float = 0.0
    pinned_weight: float = 0.0
    type_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    entity_weight: float = 0.0
    entity_hops: int = 1
    collapse_duplicates: bool = True
    diversity: float = 0.0

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "fusion", Fusion(self.fusion))
        except ValueError as error:
            allowed = ", ".join(each.value for each in Fusion)
            raise InvalidInputError("ranking.fusion", f"one of {allowed}") from error
        for name in ("dense_weight", "diversity"):
            _check(getattr(self, name), name, 0, 1)
        for name in (
            "speaker_weight", "time_weight", "recency_weight", "importance_weight",
            "usage_weight", "pinned_weight", "entity_weight",
        ):  # fmt: skip
            _check(getattr(self, name), name, 0, _LARGEST)
        days = self.recency_half_life_days
        _check(days, "recency_half_life_days", 0, 1_000_000)
        if not days:
            raise InvalidInputError("ranking.recency_half_life_days", "more than 0", got=str(days))
        checked_int(self.entity_hops, "ranking.entity_hops", 1, 2)
        checked_bool(self.collapse_duplicates, "ranking.collapse_duplicates")
        _check_types(self.type_weights)
        object.__setattr__(self, "type_weights", dict(self.type_weights))

    @classmethod
    def parse(cls, value: Self | Mapping[str, Any] | None, base: Self | None = None) -> Self:
        """Return the configuration that the value is or describes.

        Args:
            value: A configuration, some of its fields as a mapping, or None.
            base: What says the rest; None: the defaults.

        Raises:
            InvalidInputError: Naming the field that is unknown or not allowed.
        """
        if isinstance(value, cls):
            return value
        base = base or cls()
        if value is None:
            return base
        if not isinstance(value, Mapping):
            raise InvalidInputError("ranking", "a RankingConfig or a mapping", got=kind_of(value))
        known = {each.name for each in fields(cls)}
        for key in value:
            if key not in known:
                shown = shown_key(key)
                name = "ranking" if shown is None else f"ranking.{shown}"
                raise InvalidInputError(name, f"one of {', '.join(sorted(known))}")
        return replace(base, **value)


def _check(value: object, name: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidInputError(f"ranking.{name}", f"a number from {low} to {high:g}")


def _check_types(value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInputError("ranking.type_weights", "a mapping", got=kind_of(value))
    for name, weight in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not name:
            raise InvalidInputError("ranking.type_weights", "memory types as keys")
        shown = shown_key(name)
        _check(weight, "type_weights" if shown is None else f"type_weights[{shown}]", -1, 1)
