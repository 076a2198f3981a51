"""Filters: what the engine may leave out, and the full check on resolved memories."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memora.core import indexing
from memora.core.filters import (
    AnyOf,
    Condition,
    engine_conditions,
    matches,
    metadata_matches,
    needs_more_candidates,
)
from memora.errors import InvalidInputError
from memora.schema.models import Memory
from memora.schema.recall import MemoryFilters
from tests.unit.kit import DAY, HOSTILE, LONE_SURROGATES, T0, memory, quick


def passes(payload: Mapping[str, Any], condition: Condition) -> bool:
    """What a vector engine does with a condition (one without values matches nothing)."""
    value = payload.get(condition.field)
    if isinstance(condition, AnyOf):
        held = value if isinstance(value, list) else [value]
        return any(item in condition.values for item in held if item is not None)
    if value is None:
        return False
    return (
        (condition.gt is None or value > condition.gt)
        and (condition.gte is None or value >= condition.gte)
        and (condition.lt is None or value < condition.lt)
        and (condition.lte is None or value <= condition.lte)
    )


def engine_keeps(found: Memory, filters: MemoryFilters, now: datetime, as_of: Any) -> bool:
    payload = indexing.payload(indexing.document(found))
    return all(passes(payload, c) for c in engine_conditions(filters, now, as_of))


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.0, -0.0, 1e300]),
    st.sampled_from(["", "a", "1", "true", "null", "a=b", "e\u0301", "\u00e9"]),
)  # fmt: skip
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.just({"x": 1}), st.just([{"x": 1}]))
keys = st.sampled_from(["k", "l", "k=", "eq"])
metadata = st.dictionaries(keys, values, max_size=3)
operators = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "contains"]), values),
    st.tuples(st.sampled_from(["in", "nin"]), st.lists(values, max_size=2)),
    st.tuples(st.just("exists"), st.booleans()),
)
conditions = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.lists(operators, max_size=2).map(dict)
)
leaves = st.dictionaries(keys, conditions, max_size=2)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=2)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
        st.tuples(leaves, inner).map(lambda two: {**two[0], "not": two[1]}),
    ),
    max_leaves=4,
)
names = st.sampled_from(["a", "b", "e\u0301", "\u00e9"])
labels = st.lists(names, max_size=2)
times = st.integers(-2, 2).map(lambda n: T0 + n * timedelta(microseconds=1))


def made(fields: dict[str, Any]) -> Memory:
    return memory(**fields)


memories = st.fixed_dictionaries(
    {"obtained_at": times, "importance": st.sampled_from([0.0, 0.1, 0.3, 1.0])},
    optional={
        "agent_id": names, "interaction_id": names, "memory_type": names, "tags": labels,
        "entities": labels, "source_role": names, "process_id": names, "import_id": names,
        "archived": st.booleans(), "expires_at": times, "metadata": metadata,
    },
).map(made)  # fmt: skip
filters = st.fixed_dictionaries(
    {},
    optional={
        "agent_ids": labels, "interaction_ids": labels, "types": labels, "tags": labels,
        "entities": labels, "source_roles": labels, "process_ids": labels, "import_ids": labels,
        "obtained_from": times, "obtained_to": times,
        "importance_min": st.sampled_from([0.0, 0.1, 1.0]),
        "importance_max": st.sampled_from([0.0, 0.3, 1.0]),
        "metadata": trees, "include_expired": st.booleans(), "include_archived": st.booleans(),
    },
).map(MemoryFilters.parse)  # fmt: skip


def stored(found: Memory) -> Memory:
    """A memory as every way in makes it: labels are in NFC."""

    def nfc(value: Any) -> Any:
        if isinstance(value, list):
            return [nfc(item) for item in value]
        return unicodedata.normalize("NFC", value) if isinstance(value, str) else value

    labelled = ("agent_id", "interaction_id", "memory_type", "tags", "entities", "source_role",
                "process_id", "import_id")  # fmt: skip
    return found.model_copy(update={name: nfc(getattr(found, name)) for name in labelled})


@settings(quick, max_examples=250)
@given(memories.map(stored), filters, times, st.one_of(st.none(), times))
def test_the_engine_never_leaves_out_what_matches(
    found: Memory, wanted: MemoryFilters, now: datetime, as_of: datetime | None
) -> None:
    if matches(found, wanted, now, as_of) and (as_of is None or found.obtained_at <= as_of):
        assert engine_keeps(found, wanted, now, as_of)


@settings(quick, max_examples=250)
@given(memories.map(stored), filters, times, st.one_of(st.none(), times))
def test_what_the_engine_keeps_too_much_of_is_asked_for_in_more_candidates(
    found: Memory, wanted: MemoryFilters, now: datetime, as_of: datetime | None
) -> None:
    if not needs_more_candidates(wanted) and as_of is None:
        kept = engine_keeps(found, wanted, now, as_of)
        assert kept is matches(found, wanted, now, as_of)


EQUAL: list[tuple[Any, Any, bool]] = [
    (1, 1, True),
    (1, 1.0, True),
    (1.0, 1, True),
    (True, 1, False),
    (1, True, False),
    (0, False, False),
    ("1", 1, False),
    (None, None, True),
    (None, False, False),
    ("a", "A", False),
    ("e\u0301", "\u00e9", True),
    (["a", "b"], "a", True),
    (["a"], ["a"], True),
    (["a", "b"], ["a"], False),
    ([1], True, False),
    ([True], [1], False),
    ([1], [1.0], True),
    ([], [], True),
    ([[1]], [1], False),
    ([[1]], [[True]], False),
    ({"x": 1}, {"x": True}, False),
    ({"x": 1}, {"x": 1.0}, True),
    ({"x": 1}, {"y": 1}, False),
    (10**22, 1e22, True),
    (10**23, 1e23, False),
    (-0.0, 0, True),
]


@pytest.mark.parametrize(("held", "wanted", "equal"), EQUAL)
def test_equality_is_that_of_json(held: Any, wanted: Any, equal: bool) -> None:
    condition = {"eq": wanted}
    assert metadata_matches({"k": held}, {"k": condition}) is equal
    assert metadata_matches({"k": held}, {"k": {"ne": wanted}}) is not equal
    assert metadata_matches({"k": held}, {"k": {"in": ["zzz", wanted]}}) is equal
    assert metadata_matches({"k": held}, {"k": {"nin": ["zzz", wanted]}}) is not equal
    assert metadata_matches({"k": held}, {"not": {"k": condition}}) is not equal
    found = memory(metadata={"k": held})
    if equal:
        assert engine_keeps(found, MemoryFilters.parse({"metadata": {"k": condition}}), T0, None)


HOLDS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"n": {}}, True),
    ({"n": 5}, True),
    ({"n": {"gt": 4, "lt": 6}}, True),
    ({"n": {"gt": 5}}, False),
    ({"n": {"gte": 5}}, True),
    ({"n": {"lt": 5}}, False),
    ({"n": {"lte": 5.0}}, True),
    ({"n": {"gt": "4"}}, False),
    ({"s": {"gt": "a"}}, True),
    ({"b": {"gt": 0}}, False),
    ({"n": {"gt": True}}, False),
    ({"list": {"gt": 0}}, False),
    ({"none": {"lte": 0}}, False),
    ({"s": {"contains": "ell"}}, True),
    ({"s": {"contains": 5}}, False),
    ({"list": {"contains": "x"}}, True),
    ({"list": {"contains": 2.0}}, True),
    ({"list": {"contains": True}}, False),
    ({"n": {"contains": 5}}, False),
    ({"n": {"in": []}}, False),
    ({"n": {"nin": []}}, True),
    ({"n": {"exists": True}}, True),
    ({"none": {"exists": True}}, True),
    ({"missing": {"exists": False}}, True),
    ({"missing": {"exists": True}}, False),
    ({"missing": None}, False),
    ({"missing": {"ne": 1}}, True),
    ({"missing": {"nin": [1]}}, True),
    ({"missing": {"lt": 1}}, False),
    ({"and": []}, True),
    ({"or": []}, False),
    ({"not": {}}, False),
    ({"and": [{"n": 5}, {"s": "hello"}]}, True),
    ({"and": [{"n": 5}, {"s": "bye"}]}, False),
    ({"or": [{"n": 6}, {"s": "hello"}]}, True),
    ({"or": [{"n": 6}, {"s": "bye"}]}, False),
    ({"not": {"or": [{"n": 6}, {"not": {"n": 5}}]}}, True),
    ({"n": 5, "or": [{"s": "hello"}]}, True),
    ({"n": 6, "or": [{"s": "hello"}]}, False),
]
HELD = {"n": 5, "s": "hello", "b": True, "none": None, "list": ["x", 1, 2]}


@pytest.mark.parametrize(("wanted", "expected"), HOLDS)
def test_metadata_operators(wanted: dict[str, Any], expected: bool) -> None:
    assert metadata_matches(HELD, wanted) is expected
    parsed = MemoryFilters.parse({"metadata": wanted})
    assert matches(memory(metadata=HELD), parsed, T0) is expected
    if expected:
        assert engine_keeps(memory(metadata=HELD), parsed, T0, None)


LABELS: list[tuple[dict[str, Any], bool]] = [
    ({"agent_ids": ["jenny"]}, True),
    ({"agent_ids": "jenny"}, True),
    ({"agent_ids": ["x"]}, False),
    ({"agent_ids": []}, True),
    ({"process_ids": ["x"]}, False),
    ({"types": ["plan", "fact"]}, True),
    ({"tags": ["b", "z"]}, True),
    ({"tags": ["z"]}, False),
    ({"entities": ["Rex"]}, True),
    ({"tags": ["a"], "types": ["rule"]}, False),
    ({"obtained_from": T0, "obtained_to": T0}, True),
    ({"obtained_from": T0 + DAY}, False),
    ({"obtained_to": T0 - DAY}, False),
    ({"importance_min": 0.5, "importance_max": 0.5}, True),
    ({"importance_min": 0.51}, False),
    ({"importance_max": 0.49}, False),
]


@pytest.mark.parametrize(("wanted", "expected"), LABELS)
def test_labels_and_ranges(wanted: dict[str, Any], expected: bool) -> None:
    found = memory(agent_id="jenny", tags=["a", "b"], entities=["Rex"])
    parsed = MemoryFilters.parse(wanted)
    assert matches(found, parsed, T0) is expected
    assert engine_keeps(found, parsed, T0, None) is expected


OUT: list[tuple[dict[str, Any], dict[str, Any], Any, bool]] = [
    ({"expires_at": T0 + DAY}, {}, None, True),
    ({"expires_at": T0}, {}, None, False),
    ({"expires_at": T0}, {"include_expired": True}, None, True),
    ({"expires_at": T0}, {}, T0 - DAY, True),
    ({"expires_at": T0}, {}, T0, False),
    ({"expires_at": T0}, {"include_expired": True}, T0, True),
    ({"archived": True}, {}, None, False),
    ({"archived": True}, {"include_archived": True}, None, True),
    ({"archived": True}, {}, T0, True),
    ({"archived": True, "expires_at": T0}, {"include_archived": True}, None, False),
]


@pytest.mark.parametrize(("fields", "wanted", "as_of", "expected"), OUT)
def test_expired_and_archived_memories_stay_out_unless_asked_for(
    fields: dict[str, Any], wanted: dict[str, Any], as_of: Any, expected: bool
) -> None:
    found = memory(**{"obtained_at": T0 - 2 * DAY, **fields})
    parsed = MemoryFilters.parse(wanted)
    assert matches(found, parsed, T0, as_of) is expected
    if expected:
        assert engine_keeps(found, parsed, T0, as_of)


def test_what_is_obtained_after_as_of_is_left_out_by_the_engine() -> None:
    parsed = MemoryFilters()
    assert not engine_keeps(memory(obtained_at=T0 + DAY), parsed, T0, T0)
    assert engine_keeps(memory(obtained_at=T0), parsed, T0, T0)
    both = MemoryFilters.parse({"obtained_to": T0 + 9 * DAY})
    assert not engine_keeps(memory(obtained_at=T0 + DAY), both, T0, T0)


def test_times_at_the_ends_of_the_calendar_are_compared() -> None:
    first = datetime(1, 1, 1, tzinfo=UTC)
    last = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    bounds = MemoryFilters.parse({"obtained_from": first, "obtained_to": last})
    for time in (first, last):
        assert engine_keeps(memory(obtained_at=time), bounds, T0, None)


REFUSED: list[tuple[Any, str]] = [
    (5, "filters"),
    ("agent", "filters"),
    ([], "filters"),
    ({"unknown": 1}, "filters.unknown"),
    ({"agent_id": "a"}, "filters.agent_id"),
    ({5: 1}, "filters"),
    ({"tags": 5}, "filters.tags"),
    ({"tags": None}, "filters.tags"),
    ({"tags": {"a": 1}}, "filters.tags"),
    ({"tags": [5]}, "filters.tags"),
    ({"tags": [""]}, "filters.tags"),
    ({"tags": ["x" * 257]}, "filters.tags"),
    ({"tags": [str(n) for n in range(101)]}, "filters.tags"),
    ({"tags": [LONE_SURROGATES["high"]]}, "filters.tags"),
    ({"obtained_from": "soon"}, "filters.obtained_from"),
    ({"obtained_from": "2024"}, "filters.obtained_from"),
    ({"obtained_from": 5}, "filters.obtained_from"),
    ({"obtained_from": True}, "filters.obtained_from"),
    ({"obtained_to": "0001-01-01T00:00+14:00"}, "filters.obtained_to"),
    ({"importance_min": 2}, "filters.importance_min"),
    ({"importance_min": float("nan")}, "filters.importance_min"),
    ({"importance_min": True}, "filters.importance_min"),
    ({"importance_max": "0.5"}, "filters.importance_max"),
    ({"importance_max": 10**400}, "filters.importance_max"),
    ({"include_expired": 1}, "filters.include_expired"),
    ({"include_archived": "yes"}, "filters.include_archived"),
    ({"metadata": None}, "filters.metadata"),
    ({"metadata": []}, "filters.metadata"),
    ({"metadata": {5: 1}}, "filters.metadata"),
    ({"metadata": {"k": {"like": 1}}}, "filters.metadata"),
    ({"metadata": {"k": {"in": "abc"}}}, "filters.metadata"),
    ({"metadata": {"k": {"nin": {}}}}, "filters.metadata"),
    ({"metadata": {"k": {"exists": 1}}}, "filters.metadata"),
    ({"metadata": {"and": {}}}, "filters.metadata"),
    ({"metadata": {"or": [5]}}, "filters.metadata"),
    ({"metadata": {"not": [{}]}}, "filters.metadata"),
    ({"metadata": {"k": {1: 2}}}, "filters.metadata"),
    ({"metadata": {"k": object()}}, "filters.metadata"),
    ({"metadata": {"k": T0}}, "filters.metadata"),
    ({"metadata": {"k": {"eq": {1, 2}}}}, "filters.metadata"),
    ({"metadata": {"k": float("nan")}}, "filters.metadata"),
    ({"metadata": {"k": LONE_SURROGATES["low"]}}, "filters.metadata"),
    ({"metadata": {LONE_SURROGATES["low"]: 1}}, "filters.metadata"),
    ({"metadata": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not":
        {}}}}}}}}}}}, "filters.metadata"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "field"), REFUSED)
def test_malformed_filters_are_refused_by_name(given_: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MemoryFilters.parse(given_)
    assert caught.value.field == field
    text = str(caught.value)
    assert text.startswith(f"{field}: must be ")
    assert "error" not in text.lower().replace("typeerror", "").replace("valueerror", "")
    text.encode("utf-8")


def test_deep_nesting_is_no_crash() -> None:
    deep: Any = 1
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(InvalidInputError):
        MemoryFilters.parse({"metadata": {"k": deep}})


def test_filters_are_taken_as_they_are() -> None:
    assert MemoryFilters.parse(None) == MemoryFilters()
    given_ = MemoryFilters(tags=("a",))
    assert MemoryFilters.parse(given_) is given_
    parsed = MemoryFilters.parse({"types": ("a", "a"), "tags": {"x"}, "importance_min": 1})
    assert (parsed.types, parsed.tags, parsed.importance_min) == (("a",), ("x",), 1.0)


def test_b64_times_of_filters_are_read_like_all_others() -> None:
    naive = T0.replace(tzinfo=None)
    for value in (naive, naive.isoformat()):
        assert MemoryFilters.parse({"obtained_from": value}).obtained_from == naive.astimezone(UTC)
    parsed = MemoryFilters.parse({"obtained_from": "2026-01-01T13:00:00+01:00"})
    assert parsed.obtained_from == T0
    assert parsed.obtained_from is not None
    assert parsed.obtained_from.tzinfo is UTC


def test_later_changes_of_the_callers_mapping_change_nothing() -> None:
    tree: dict[str, Any] = {"k": {"in": [1]}}
    parsed = MemoryFilters.parse({"metadata": tree})
    tree["k"]["in"].append(object())
    assert parsed.metadata == {"k": {"in": [1]}}


NEEDS: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"tags": ["a"], "include_expired": True}, False),
    ({"metadata": {"k": 1}}, False),
    ({"metadata": {"k": {"eq": 1, "in": [1, 2]}}}, False),
    ({"metadata": {"k": {}}}, False),
    ({"metadata": {"k": {"eq": [1]}}}, True),
    ({"metadata": {"k": [1]}}, True),
    ({"metadata": {"k": {"in": [[1]]}}}, True),
    ({"metadata": {"k": {"eq": {"x": 1}}}}, True),
    ({"metadata": {"k": {"gt": 1}}}, True),
    ({"metadata": {"k": {"eq": 1, "ne": 2}}}, True),
    ({"metadata": {"and": []}}, True),
    ({"metadata": {"k": 1, "not": {"k": 2}}}, True),
]


@pytest.mark.parametrize(("wanted", "expected"), NEEDS)
def test_filters_checked_after_the_search_need_more_candidates(
    wanted: dict[str, Any], expected: bool
) -> None:
    assert needs_more_candidates(MemoryFilters.parse(wanted)) is expected


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_metadata_is_found_again(text: str) -> None:
    found = memory(metadata={"k": text, text: [text]})
    for wanted in ({"k": text}, {"k": {"in": [text]}}, {text: text}, {text: {"contains": text}}):
        parsed = MemoryFilters.parse({"metadata": wanted})
        assert matches(found, parsed, T0)
        assert engine_keeps(found, parsed, T0, None)
