"""Limits exactly at their bounds, wrong types, and errors that show no content."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from memora.errors import InvalidInputError
from memora.schema import validation as v
from memora.schema.scope import (
    MemorySearchScope,
    OrganizationScope,
    Scope,
    search_scope,
)
from tests.unit.kit import HOSTILE, LONE_SURROGATES

Check = Callable[[Any, str], Any]


class Name(StrEnum):
    JAKE = "jake"


GOOD: list[tuple[Check, Any, Any]] = [
    (v.checked_id, "x", "x"),
    (v.checked_id, "x" * 255, "x" * 255),
    (v.checked_id, "e\u0301" * 255, "\u00e9" * 255),
    (v.checked_id, "*", "*"),
    (v.checked_id, "..", ".."),
    (v.checked_id, "a:b/c%2f", "a:b/c%2f"),
    (v.checked_id, "{8F4A}", "{8F4A}"),
    (v.checked_id, "a b", "a b"),
    (v.checked_id, Name.JAKE, "jake"),
    (v.checked_name, "x" * 256, "x" * 256),
    (v.checked_name, "Ke$ha", "Ke$ha"),
    (v.checked_name, "🙂", "🙂"),
    (v.checked_name, " Jake ", " Jake "),
    (v.checked_name, "Jose\u0301", "Jos\u00e9"),
    (v.checked_text, "x", "x"),
    (v.checked_text, "e\u0301", "e\u0301"),
    (v.checked_text, "x" * v.TEXT_BYTES, "x" * v.TEXT_BYTES),
    (v.checked_text, "é" * (v.TEXT_BYTES // 2), "é" * (v.TEXT_BYTES // 2)),
    (v.checked_content, "", ""),
    (v.checked_content, " ", " "),
    (v.checked_share, 0, 0.0),
    (v.checked_share, 1, 1.0),
    (v.checked_share, 0.5, 0.5),
    (v.checked_bool, False, False),
    (v.checked_path, "a/b", Path("a/b")),
    (v.checked_path, Path("a"), Path("a")),
    (v.checked_labels, (), ()),
    (v.checked_labels, ["b", "a", "b"], ("b", "a")),
    (v.checked_labels, ["e\u0301", "\u00e9"], ("\u00e9",)),
    (v.checked_labels, (str(n) for n in range(100)), tuple(str(n) for n in range(100))),
    (v.checked_json_object, {}, {}),
    (v.checked_json_object, MappingProxyType({"k": (1, None)}), {"k": [1, None]}),
    (v.checked_json_object, {"k": "x" * (v.TEXT_BYTES - 8)}, {"k": "x" * (v.TEXT_BYTES - 8)}),
    (v.checked_optional_id, None, None),
]


def kind(value: Any) -> str:
    """Name a case; Python refuses to write out the largest numbers."""
    return getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize(("check", "value", "expected"), GOOD, ids=kind)
def test_what_is_allowed_is_taken(check: Check, value: Any, expected: Any) -> None:
    assert check(value, "field") == expected


NO_TEXT = [None, 5, True, 5.0, b"x", ["x"], {"x": 1}, object()]
BAD_LINES = ["", " ", "\t", "a\x00b", "a\nb", "a\u2028b", "a\u2029b", "\x7f", "a\x9fb",
             *LONE_SURROGATES.values()]  # fmt: skip
HUGE = 10**5000
BAD: list[tuple[Check, list[Any]]] = [
    (v.checked_id, [*NO_TEXT, *BAD_LINES, "x" * 256, " x", "x ", "\u00a0x"]),
    (v.checked_optional_id, [*NO_TEXT[1:], *BAD_LINES, "x" * 256]),
    (v.checked_name, [*NO_TEXT, *BAD_LINES, "x" * 257]),
    (v.checked_text, [*NO_TEXT, "", " \n", *LONE_SURROGATES.values(), "x" * (v.TEXT_BYTES + 1)]),
    (v.checked_text, ["é" * (v.TEXT_BYTES // 2 + 1)]),
    (v.checked_content, [*NO_TEXT, *LONE_SURROGATES.values(), "x" * (v.TEXT_BYTES + 1)]),
    (v.checked_share, [None, True, "0.5", -0.1, 1.1, HUGE, -HUGE, [0.5]]),
    (v.checked_share, [float("nan"), float("inf"), float("-inf")]),
    (v.checked_bool, [None, 0, 1, "True", []]),
    (v.checked_path, [None, 5, True, b"a", ["a"], object()]),
    (v.checked_labels, [None, 5, "abc", b"abc", {"a": 1}, ["a", 5], [""], ["x" * 257]]),
    (v.checked_labels, [[str(n) for n in range(101)]]),
    (v.checked_json_object, [None, [], "{}", 5, {"k": object()}, {"k": {1, 2}}, {"k": b"x"}]),
    (v.checked_json_object, [{"k": float("nan")}, {"k": float("inf")}, {"k": HUGE}, {(1, 2): 3}]),
    (v.checked_json_object, [{"k": "x" * v.TEXT_BYTES}, {"k": "\ud800"}, {"\ud800": 1}]),
]


@pytest.mark.parametrize(
    ("check", "value"),
    [(check, value) for check, values in BAD for value in values],
    ids=kind,
)
def test_what_is_not_allowed_is_refused_by_name(check: Check, value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check(value, "field")
    assert caught.value.field == "field"
    text = str(caught.value)
    assert text.startswith("field: must be ")
    assert len(text) < 200
    text.encode("utf-8")
    assert isinstance(caught.value, ValueError)


INTS: list[tuple[Any, bool]] = [
    (1, True),
    (10, True),
    (0, False),
    (11, False),
    (-1, False),
    (True, False),
    (False, False),
    (5.0, False),
    ("5", False),
    (None, False),
    (HUGE, False),
    (-HUGE, False),
    (float("nan"), False),
]


@pytest.mark.parametrize(("value", "good"), INTS, ids=kind)
def test_whole_numbers_are_checked_at_their_bounds(value: Any, good: bool) -> None:
    if good:
        assert v.checked_int(value, "n", 1, 10) == value
        return
    with pytest.raises(InvalidInputError, match="n: must be a whole number from 1 to 10"):
        v.checked_int(value, "n", 1, 10)


@pytest.mark.parametrize(
    ("skip", "limit", "field"),
    [
        (0, 1, None),
        (v.SKIP, 1000, None),
        (-1, 1, "skip"),
        (v.SKIP + 1, 1, "skip"),
        (0, 0, "limit"),
        (0, 1001, "limit"),
        (0, -1, "limit"),
        (True, 1, "skip"),
        (0, True, "limit"),
        (0, None, "limit"),
        ("0", 1, "skip"),
    ],
)
def test_b44_pages_are_bounded(skip: Any, limit: Any, field: str | None) -> None:
    if field is None:
        assert v.checked_page(skip, limit) == (skip, limit)
        return
    with pytest.raises(InvalidInputError) as caught:
        v.checked_page(skip, limit)
    assert caught.value.field == field


def nested(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = {"k": value, "l": []} if level % 2 else [value, 1]
    return value


def test_b70_json_that_could_be_written_and_not_read_is_refused() -> None:
    fine = {"k": nested(v.NESTING - 1)}
    assert v.checked_json_object(fine, "metadata") == fine
    with pytest.raises(InvalidInputError, match="nested at most 200 deep"):
        v.checked_json_object({"k": nested(v.NESTING)}, "metadata")
    wide = {"k": [{"[": "[{" * 300, "l": [[]]}] * 300}
    assert v.checked_json_object(wide, "metadata") == wide


def test_deep_json_is_refused_and_no_crash() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"k": deep}
    with pytest.raises(InvalidInputError):
        v.checked_json_object(deep, "metadata")
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(InvalidInputError):
        v.checked_json_object(circle, "metadata")


def test_s01_checked_json_is_a_copy() -> None:
    given = {"k": [1]}
    taken = v.checked_json_object(given, "metadata")
    given["k"].append(2)
    assert taken == {"k": [1]}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_given_back_as_it_came(text: str) -> None:
    assert v.checked_content(text, "t") == text
    assert v.checked_json_object({"k": text, text: 1}, "t") == {"k": text, text: 1}


def test_errors_show_no_content() -> None:
    for check, value in (
        (v.checked_text, "canary" + "\ud800"),
        (v.checked_id, "canary" * 100),
        (v.checked_name, "canary\n"),
        (v.checked_labels, ["canary\n"]),
        (v.checked_json_object, {"k": "canary\ud800"}),
    ):
        with pytest.raises(InvalidInputError) as caught:
            check(value, "field")
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("value", ["user", "organization", *MemorySearchScope])
def test_b01_a_known_scope_is_converted(value: Any) -> None:
    assert MemorySearchScope.parse(value) is MemorySearchScope(value)


@pytest.mark.parametrize("value", [None, "", "USER", "all", "*", 1, True, ["user"], {"user": 1}])
def test_b01_an_unknown_scope_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MemorySearchScope.parse(value)
    assert caught.value.field == "memory_search_scope"
    with pytest.raises(InvalidInputError):
        search_scope(value, "acme", "jake", None)


@pytest.mark.parametrize("bad", [None, "", " ", 5, ["acme"], {"$ne": ""}, "a\x00"])
def test_b01_no_scope_without_its_ids(bad: Any) -> None:
    for make in (
        lambda: Scope(bad, "jake"),
        lambda: Scope("acme", bad),
        lambda: OrganizationScope(bad),
        lambda: search_scope("user", "acme", bad, None),
        lambda: search_scope("user", bad, "jake", None),
        lambda: search_scope("organization", bad, None, None),
    ):
        with pytest.raises(InvalidInputError):
            make()


def test_b05_a_search_within_one_agent_names_it() -> None:
    for kind in MemorySearchScope:
        with pytest.raises(InvalidInputError) as caught:
            search_scope(kind, "acme", "jake", None, across_agents=False)
        assert caught.value.field == "agent_id"
        found = search_scope(kind, "acme", "jake", "jenny", across_agents=False)
        assert found.agent_id == "jenny"
        assert search_scope(kind, "acme", "jake", "jenny").agent_id is None
        with pytest.raises(InvalidInputError):
            search_scope(kind, "acme", "jake", "")


def test_b04_owners_are_compared_one_by_one() -> None:
    scope = Scope("a:b", "c")
    assert scope.admits("a:b", "c", "any")
    for org, user in (("a", "b:c"), ("a:b", "C"), ("A:b", "c"), ("a:b", ""), ("", "c")):
        assert not scope.admits(org, user, None)
    narrowed = Scope("acme", "jake", "jenny")
    assert narrowed.admits("acme", "jake", "jenny")
    assert not narrowed.admits("acme", "jake", "other")
    assert not narrowed.admits("acme", "jake", None)
    everyone = OrganizationScope("acme")
    assert everyone.admits("acme", "anybody", None)
    assert not everyone.admits("other", "anybody", None)
    assert not OrganizationScope("acme", "jenny").admits("acme", "jake", "other")


def test_ids_of_a_scope_are_in_nfc() -> None:
    assert Scope("cafe\u0301", "jake") == Scope("caf\u00e9", "jake")
