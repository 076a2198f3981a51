"""Names in stored text: what is ours is filled in, everything else comes back as it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.core.placeholders import (
    agent_span,
    escape,
    escape_all_but,
    neutral,
    render,
    user_span,
)
from memora.core.planning import storable
from memora.schema.scope import Scope
from tests.unit.kit import HOSTILE, USER, hostile_text, quick

ids = st.one_of(
    st.sampled_from(["a", "a:b", "a]]b", "[[u:x]]", "50%", "é", "é🙂", "*", "..", "/", "x" * 255]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1),
)
NAMES = ["Jake", "Ke$ha", "A$AP\\", "agent_007", "[[u:other]]", "[[=", "$1 \\1", "🙂", "O'Brien"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_b79_hostile_text_comes_back_as_it_was(text: str) -> None:
    assert render(escape(text), {USER: "Jake"}, {"jenny": "Jenny"}) == text
    assert render(escape_all_but(text, frozenset()), {USER: "Jake"}, {"jenny": "Jenny"}) == text


@quick
@given(hostile_text)
def test_b79_every_text_comes_back_as_it_was(text: str) -> None:
    assert render(escape(text), {USER: "Jake"}, {}) == text
    assert escape_all_but(text, frozenset()) == escape(text)


@quick
@given(st.lists(hostile_text, max_size=3))
def test_spans_show_whatever_stands_beside_them(texts: list[str]) -> None:
    ours = user_span(USER)
    stored = ours.join(escape(text) for text in texts)
    # A bracket right before a span must not swallow it, nor be swallowed.
    expected = "Jake".join(texts)
    assert render(stored, {USER: "Jake"}, {}) == expected


@quick
@given(ids)
def test_ids_of_every_shape_have_a_span(record_id: str) -> None:
    assert render(user_span(record_id), {record_id: "Jake"}, {record_id: "Jenny"}) == "Jake"
    assert render(agent_span(record_id), {record_id: "Jake"}, {record_id: "Jenny"}) == "Jenny"
    assert escape_all_but(user_span(record_id), frozenset({user_span(record_id)})) == user_span(
        record_id
    )


@quick
@given(ids, ids)
def test_two_ids_never_share_a_span(left: str, right: str) -> None:
    assert (user_span(left) == user_span(right)) is (left == right)
    assert user_span(left) != agent_span(right)


@pytest.mark.parametrize("name", NAMES)
def test_b48_b51_names_are_filled_in_literally_and_once(name: str) -> None:
    stored = f"{user_span(USER)} met {agent_span('j')}"
    assert render(stored, {USER: name, "other": "Eve"}, {"j": "[[u:other]]"}) == (
        f"{name} met [[u:other]]"
    )


def test_b49_only_whole_tokens_are_names() -> None:
    text = f"user_friendly u:{USER} [u:{USER}] [[u:{USER}] [[ u:{USER}]] [[U:{USER}]] [[u:]]"
    assert render(escape(text), {USER: "Jake"}, {}) == text


def test_b50_a_possessive_stays() -> None:
    assert render(f"{user_span(USER)}'s wife", {USER: "Jake"}, {}) == "Jake's wife"


def test_b49_the_name_of_another_tenant_never_shows() -> None:
    text = f"{user_span('other')} and {agent_span('other')}"
    assert render(text, {USER: "Jake"}, {USER: "Jenny"}) == "the user and the agent"


def test_neutral_text_survives_renaming() -> None:
    text = f"{user_span(USER)} asked {agent_span('j')} about [[=u:x]]"
    assert neutral(text) == "the user asked the agent about [[u:x]]"


def test_only_the_named_spans_are_ours() -> None:
    own, other = user_span(USER), user_span("other")
    stored = escape_all_but(f"{own} {other} [[a:j]] [[=x", frozenset({own}))
    assert render(stored, {USER: "Jake", "other": "Eve"}, {"j": "Jenny"}) == (
        "Jake [[u:other]] [[a:j]] [[=x"
    )


@pytest.mark.parametrize("forged", ["[[u:%33kTMd7Xn]]", "[[u:3kTMd7Xn ]]", "[[u:3KTMD7XN]]"])
def test_another_spelling_of_a_span_is_literal(forged: str) -> None:
    stored = escape_all_but(forged, frozenset({user_span(USER)}))
    assert render(stored, {USER: "Jake"}, {}) == forged


def test_a_callers_text_may_name_its_user_and_agent_alone() -> None:
    scope = Scope("acme", USER, "jenny")
    text = f"{user_span(USER)} {agent_span('jenny')} {user_span('other')} {agent_span('x')}"
    users, agents = {USER: "Jake", "other": "Eve"}, {"jenny": "Jenny", "x": "X"}
    assert render(storable(text, scope), users, agents) == "Jake Jenny [[u:other]] [[a:x]]"
    alone = storable(text, Scope("acme", USER))
    assert render(alone, users, agents) == "Jake [[a:jenny]] [[u:other]] [[a:x]]"
    assert storable("plain", scope) == "plain"
