"""What of a memory reaches a vector store."""

from __future__ import annotations

import locale
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.core.chunking import RECALL_CLOSE, RECALL_OPEN
from memora.core.indexing import (
    KEYWORD_FIELDS,
    NUMBER_FIELDS,
    document,
    index_texts,
    metadata_terms,
    payload,
)
from memora.schema.models import Memory
from tests.unit.kit import DAY, HOSTILE, T0, USER, memory, quick

FULL = memory(
    "m1",
    f"[[u:{USER}]] told [[a:jenny]] about [[=u:x]]",
    agent_id="jenny",
    interaction_id="i1",
    obtained_at=datetime(2026, 3, 5, 23, tzinfo=UTC),
    memory_type="plan",
    importance=0.75,
    tags=["a", "b"],
    entities=["Rex"],
    source_role="assistant",
    archived=True,
    expires_at=T0 + DAY,
    process_id="proc",
    import_id="imp",
    metadata={"k": "v", "n": [1, 2.5], "deep": {"x": 1}},
    pinned=True,
)


def test_texts_hold_the_statement_and_its_date_and_no_id() -> None:
    dense, lexical, _hash = index_texts(FULL.memory, FULL.obtained_at)
    assert dense == lexical == "the user told the agent about [[u:x]] (5 March 2026)"


def test_only_words_are_found_by_the_name_of_who_said_them() -> None:
    dense, lexical, _hash = index_texts("I like tea", T0, "Ann")
    assert dense == "I like tea (1 January 2026)"
    assert lexical == "Ann: I like tea (1 January 2026)"


def test_what_was_said_before_is_in_the_lexical_text() -> None:
    dense, lexical, with_context = index_texts("Yes", T0, None, "Do you like tea? ")
    assert dense == "Yes (1 January 2026)"
    assert lexical == "Do you like tea?\nYes (1 January 2026)"
    assert with_context != index_texts("Yes", T0)[2]
    assert index_texts("Yes", T0, None, " ") == index_texts("Yes", T0)


def test_of_what_was_said_before_the_end_counts() -> None:
    before = " ".join(f"word{n}" for n in range(1000))
    context = index_texts("Yes", T0, None, before)[1].split("\n")[0]
    assert before.endswith(f" {context}")
    assert len(context) <= 400
    assert len(index_texts("Yes", T0, None, "x" * 1000)[1].split("\n")[0]) == 400


def test_what_was_recalled_is_no_context() -> None:
    block = in_block("Ann has a cat")
    assert index_texts("Yes", T0, None, f"{block}Do you?")[1].startswith("Do you?\n")


def in_block(text: str) -> str:
    return f"{RECALL_OPEN}\n- {text}\n{RECALL_CLOSE}\n"


MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip


@pytest.mark.parametrize(("number", "name"), list(enumerate(MONTHS, 1)))
def test_dates_are_written_in_one_language(number: int, name: str) -> None:
    day = datetime(2026, number, 9, tzinfo=UTC)
    assert index_texts("x", day)[0] == f"x (9 {name} 2026)"


def test_dates_do_not_follow_the_language_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign(datetime):
        def strftime(self, _format: str) -> str:
            return f"Januar under {locale.LC_TIME}"

        def __format__(self, spec: str) -> str:
            return self.strftime(spec)

    assert index_texts("x", Foreign(2026, 1, 1, tzinfo=UTC))[0] == "x (1 January 2026)"


def test_the_hash_changes_with_every_text() -> None:
    base = index_texts("Jake likes tea", T0)[2]
    assert base == index_texts("Jake likes tea", T0)[2]
    others = [
        index_texts("Jake likes tea.", T0),
        index_texts("Jake likes tea", T0 + DAY),
        index_texts("Jake likes tea", T0, "Ann"),
    ]
    assert base not in {other[2] for other in others}


def test_renaming_changes_nothing_that_is_indexed() -> None:
    one = document(memory(text="[[u:one]] likes tea"))
    other = document(memory(text="[[u:two]] likes tea"))
    assert one == other


def test_i5_the_document_carries_what_filters_need() -> None:
    found = document(FULL)
    for name in (
        "memory_id", "org_id", "user_id", "agent_id", "interaction_id", "memory_type",
        "obtained_at", "importance", "source_role", "archived", "expires_at", "process_id",
        "import_id", "metadata",
    ):  # fmt: skip
        assert getattr(found, name) == getattr(FULL, name)
    assert (found.tags, found.entities) == (("a", "b"), ("Rex",))


def test_d11_the_payload_holds_ids_and_filter_values_of_fixed_kinds() -> None:
    found = payload(document(FULL))
    assert found == {
        "org_id": "acme",
        "user_id": USER,
        "agent_id": "jenny",
        "interaction_id": "i1",
        "memory_type": "plan",
        "tags": ["a", "b"],
        "entities": ["Rex"],
        "source_role": "assistant",
        "process_id": "proc",
        "import_id": "imp",
        "meta": ['k="v"', "n=1", "n=2.5"],
        "obtained_at": FULL.obtained_at.timestamp(),
        "importance": 0.75,
        "archived": 1.0,
        "expires_at": (T0 + DAY).timestamp(),
        "text_hash": document(FULL).text_hash,
    }
    assert set(found) == {*KEYWORD_FIELDS, *NUMBER_FIELDS, "text_hash"}
    assert all(isinstance(found[name], float) for name in NUMBER_FIELDS)
    assert not any("told" in str(value) for value in found.values())


def test_a_bare_memory_has_the_fields_that_every_search_needs() -> None:
    found = payload(document(memory()))
    assert set(found) == {
        "org_id", "user_id", "memory_type", "source_role", "obtained_at", "importance",
        "archived", "expires_at", "text_hash",
    }  # fmt: skip
    assert found["archived"] == 0.0
    assert found["expires_at"] > datetime(9999, 12, 30, tzinfo=UTC).timestamp()


TERMS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({}, ()),
    ({"k": "v"}, ('k="v"',)),
    ({"k": None}, ("k=null",)),
    ({"k": True, "l": 1}, ("k=true", "l=1")),
    ({"k": 1.0, "l": 1}, ("k=1", "l=1")),
    ({"k": 1.5}, ("k=1.5",)),
    ({"k": -0.0}, ("k=0",)),
    ({"k": 1e22}, ("k=10000000000000000000000",)),
    ({"k": [1, 1.0, True, "1"]}, ("k=1", "k=true", 'k="1"')),
    ({"k": [], "l": {}, "m": [[1]], "n": [{"x": 1}]}, ()),
    ({"k": "\u00e9"}, metadata_terms({"k": "e\u0301"})),
]


@pytest.mark.parametrize(("metadata", "terms"), TERMS)
def test_metadata_terms(metadata: dict[str, Any], terms: tuple[str, ...]) -> None:
    assert metadata_terms(metadata) == terms


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=3),
    st.sampled_from(list(HOSTILE.values())),
)


@quick
@given(st.text("ab=\"'1", max_size=4), scalars, st.text("ab=\"'1", max_size=4), scalars)
def test_different_conditions_have_different_terms(
    key: str, value: Any, other_key: str, other: Any
) -> None:
    same = key == other_key and type(value) is type(other) and value == other
    if not same and not (isinstance(value, str) and isinstance(other, str)):
        assert metadata_terms({key: value}) != metadata_terms({other_key: other})
    for term in metadata_terms({key: value}):
        term.encode("utf-8")
        assert len(term) <= 250


def test_d11_long_metadata_is_filtered_by_hash_and_not_copied() -> None:
    long = "canary " * 1000
    (term,) = metadata_terms({"note": long})
    assert "canary" not in term
    assert term == metadata_terms({"note": long})[0]
    assert term != metadata_terms({"note": long + "x"})[0]


def test_the_metadata_of_a_document_is_the_memorys() -> None:
    found: Memory = memory(metadata={"k": {"deep": [1]}})
    assert document(found).metadata == {"k": {"deep": [1]}}
    assert "meta" not in payload(document(found))
