"""The untrusted text of a model: what is taken, what is refused, and what a refusal may say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, RootModel, field_validator

from memora.llm_backends._parse import MAX_ANSWER_CHARS, Unusable, decode_json, parse_answer


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    weight: float = 0


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[Item]


ONE = '{"items": [{"text": "likes {tea}", "weight": 0.5}]}'
EXPECTED = Answer(items=[Item(text="likes {tea}", weight=0.5)])
TAKEN = {
    "plain": ONE,
    "L02 whitespace around": f"\n\t {ONE} \r\n",
    "L12 the same object twice": ONE + ONE,
    "L14 fence": f"```\n{ONE}\n```",
    "L15 fence with language and prose": f"Sure, here it is:\n```json\n{ONE}\n```\nAnything else?",
    "L16 prose with braces": f"With {{items}} as you asked for in {{this: way}}: {ONE} {{done}}",
    "L17 thoughts": f'<think>Maybe {{"items": []}}? No.</think>\n{ONE}',
    "L17 thoughts without the opening tag": f'Maybe {{"items": []}}? No.</think>{ONE}',
    "L18 BOM": f"\ufeff{ONE}",
    "L32 schema echoed before the answer": f"{json.dumps(Answer.model_json_schema())}\n{ONE}",
}
REFUSED = {
    "L01 empty": "",
    "L02 whitespace": " \n ",
    "L04 refusal prose": "I'm sorry, but I can't help with that.",
    "L06 cut in a string": '{"items": [{"text": "likes',
    "L06 cut after an item": '{"items": [{"text": "a"}, {"text": "b"}',
    "L06 cut around a fitting object": '{"note": {"items": [{"text": "a"}]}, "text": "likes',
    "L07 cut in an escape": '{"items": [{"text": "likes \\u00',
    "L08 HTML": "<html><body>502 {items}</body></html>",
    "L09 error body": '{"error": {"message": "overloaded", "code": 529}}',
    "L12 two different objects": '{"items": []}{"items": [{"text": "a"}]}',
    "L13 JSON lines": '{"items": [{"text": "a"}]}\n{"items": [{"text": "b"}]}',
    "L19 Python repr": "{'items': [{'text': 'a'}]}",
    "L20 trailing comma": '{"items": [{"text": "a"},]}',
    "L21 comment": '{"items": [/* none */]}',
    "L22 NaN": '{"items": [{"text": "a", "weight": NaN}]}',
    "L22 Infinity": '{"items": [{"text": "a", "weight": -Infinity}]}',
    "L23 duplicate keys": '{"items": [{"text": "a"}], "items": []}',
    "L26 invalid escape": '{"items": [{"text": "\\uD8ZZ"}]}',
    "L28 huge": '{"items": [{"text": "' + "a" * MAX_ANSWER_CHARS + '"}]}',
    "L29 deep objects": '{"items": ' * 10_000 + "1" + "}" * 10_000,
    "L29 deep lists": '{"items": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "L29 deep and never closed": "[" * 100_000,
    "L30 number out of range": '{"items": [{"text": "a", "weight": 1e400}]}',
    "L30 integer of 5,000 digits": '{"items": [{"text": "a", "weight": ' + "9" * 5_000 + "}]}",
    "L31 list": "[]",
    "L32 schema echoed": json.dumps(Answer.model_json_schema()),
    "L33 missing list": "{}",
    "L34 null list": '{"items": null}',
    "L35 list of strings": '{"items": ["a"]}',
    "L36 extra key": '{"items": [], "note": "x"}',
    "L37 wrong case": '{"Items": []}',
    "L46 text is an object": '{"items": [{"text": {"a": 1}}]}',
    "scalar": "42",
    "wrapped once more": f'{{"answer": {ONE}}}',
    "only braces": "{" * 200_000,
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
def test_answer_is_found(text: str) -> None:
    assert parse_answer(text, Answer) == EXPECTED


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_answer_is_refused(text: str) -> None:
    result = parse_answer(text, Answer)
    assert isinstance(result, Unusable)
    assert result.reason
    assert result.feedback


def test_l24_unescaped_newline_is_kept() -> None:
    result = parse_answer('{"items": [{"text": "a\nb"}]}', Answer)
    assert result == Answer(items=[Item(text="a\nb")])


def test_l25_lone_surrogate_is_replaced() -> None:
    result = parse_answer('{"items": [{"text": "a\\ud83d"}, {"text": "\\ud83e\\uddc0"}]}', Answer)
    assert result == Answer(items=[Item(text="a\ufffd"), Item(text="🧀")])


def test_l27_nul_is_kept_for_the_caller_to_judge() -> None:
    assert parse_answer('{"items": [{"text": "\\u0000"}]}', Answer) == Answer(
        items=[Item(text="\0")]
    )


def test_feedback_names_field_and_problem_and_the_reason_neither_text_nor_key() -> None:
    result = parse_answer('{"items": [{"text": 7, "geheim": "canary"}]}', Answer)
    assert isinstance(result, Unusable)
    assert "items.0.text" in result.feedback
    assert "items.0.geheim" in result.feedback
    assert "canary" not in result.feedback
    assert result.reason == "2 fields do not fit the schema (extra_forbidden, string_type)"


def test_feedback_lists_no_more_than_twenty_problems() -> None:
    result = parse_answer(json.dumps({"items": ["x"] * 900}), Answer)
    assert isinstance(result, Unusable)
    assert result.feedback.count("\n") == 19
    assert result.reason == "900 fields do not fit the schema (model_type)"


def test_l49_thousands_of_problems_are_counted_not_listed() -> None:
    result = parse_answer(json.dumps({"items": ["x"] * 5_000}), Answer)
    assert isinstance(result, Unusable)
    assert result.reason == "5000 fields do not fit the schema"
    assert len(result.feedback) < 100


class Loose(BaseModel):
    names: list[str] = []
    note: str | None = None


@pytest.mark.parametrize("text", ['{"error": {"message": "x"}}', "{}", '{"detail": "not found"}'])
def test_b89_object_without_any_field_of_the_schema_is_refused(text: str) -> None:
    assert isinstance(parse_answer(text, Loose), Unusable)
    assert parse_answer('{"names": []}', Loose) == Loose()


def test_list_model_takes_a_list() -> None:
    class Names(RootModel[list[str]]):
        pass

    assert parse_answer('["a", "b"]', Names) == Names(["a", "b"])


def test_strict_model_reads_json_types() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        pair: tuple[int, int]

    assert parse_answer('{"pair": [1, 2]}', Strict) == Strict(pair=(1, 2))


def test_message_of_a_validator_reaches_the_model_only() -> None:
    class Picky(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def known(cls, name: str) -> str:
            raise ValueError(f"unknown {name}")

    result = parse_answer('{"name": "canary"}', Picky)
    assert isinstance(result, Unusable)
    assert "unknown canary" in result.feedback
    assert "canary" not in result.reason


@given(st.text())
def test_any_text_is_answered_or_refused(text: str) -> None:
    assert isinstance(parse_answer(text, Answer), Answer | Unusable)


@given(st.text(alphabet='{}[]",:\\ items1.5eE-ntruefalsuxd8', max_size=200))
def test_any_near_json_is_answered_or_refused(text: str) -> None:
    assert isinstance(parse_answer(text, Answer), Answer | Unusable)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.text("ab{ \n", max_size=9))
def test_what_was_written_comes_back(texts: list[str], prose: str) -> None:
    written = Answer(items=[Item(text=text) for text in texts])
    fenced = f"{prose.replace('{', '')}\n```json\n{written.model_dump_json()}\n```"
    assert parse_answer(written.model_dump_json(), Answer) == written
    assert parse_answer(fenced, Answer) == written


def test_decode_refuses_bytes_that_are_no_text() -> None:
    with pytest.raises(ValueError, match="decode"):
        decode_json(b"\xff{}")
