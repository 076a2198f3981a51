"""Documents as messages, and turns in the order of their times."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.core import documents
from memora.core.documents import CHAT, Said, Turn, as_turn, merged, paragraphs, spoken
from memora.schema.models import MessageBlock

START = datetime(2024, 3, 1, tzinfo=UTC)
U, A = "user", "assistant"


def test_a_heading_of_blanks_takes_no_longer_than_its_length() -> None:
    text = "#" + " " * 1_000_000 + "x" * 300
    started = time.process_time()
    assert paragraphs(text) == [text]
    assert time.process_time() - started < 0.5


def plain(text: str) -> list[tuple[str, str] | tuple[str, str, str]]:
    return [
        (said.role, said.content) if said.name is None else (said.role, said.content, said.name)
        for said in spoken(text)
    ]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("User: hi\nAssistant: hello", [(U, "hi"), (A, "hello")]),
        ("User: one\n\ntwo\nthree\nAssistant: yes", [(U, "one\n\ntwo\nthree"), (A, "yes")]),
        ("Human: hi\r\nAI: hello\r\n", [(U, "hi"), (A, "hello")]),
        ("**User:** hi\n**Assistant**: hello", [(U, "hi"), (A, "hello")]),
        ("user:\n  hi\nassistant:\nhello", [(U, "hi"), (A, "hello")]),
        ("User: hi\nUser: again", [(U, "hi"), (U, "again")]),
        ("User:\nAssistant: hello", [(A, "hello")]),
        ("User:hi\nAssistant:hello", [(U, "hi"), (A, "hello")]),
        ("Yesterday.\nUser: hi", [(U, "Yesterday."), (U, "hi")]),
        ("User: see\nhttp://x.org\nNote: at 12:30\nSystem: Linux", None),
        (
            "User: what?\nTool: 12 degrees\nAssistant: cold",
            [(U, "what?"), ("tool", "12 degrees"), (A, "cold")],
        ),
        ("System: be kind\nUser: hi", [("system", "be kind"), (U, "hi")]),
        (
            "Caroline: I moved.\nMelanie: Where?",
            [(U, "I moved.", "Caroline"), (U, "Where?", "Melanie")],
        ),
        ("Customer: it broke\nAgent: sorry", [(U, "it broke"), (A, "sorry")]),
        (
            "Caroline: hi\nAssistant: hello\nCaroline: bye\nMel: no",
            [(U, "hi", "Caroline"), (A, "hello"), (U, "bye\nMel: no", "Caroline")],
        ),
        ("山田: こんにちは\n佐藤: どうも", [(U, "こんにちは", "山田"), (U, "どうも", "佐藤")]),
        ("Note: buy milk", [(U, "Note: buy milk")]),
        ("I like tea.\nEggs: 2", [(U, "I like tea.\nEggs: 2")]),
        ("just words", [(U, "just words")]),
        ("Assistant: what User: meant", [(A, "what User: meant")]),
        ("   \n ", []),
        ("User:  \nAssistant:\n", []),
    ],
)
def test_speakers(text: str, messages: list[Any] | None) -> None:
    if messages is None:
        messages = [(U, text.removeprefix("User: "))]
    assert plain(text) == messages


@given(st.text("UserAi:*\n é", max_size=80))
def test_no_word_of_a_chat_is_lost(text: str) -> None:
    said = spoken(text)
    assert all(each.content == each.content.strip() != "" for each in said)
    found = "".join(each.content for each in said)
    if not documents._MARK.search(text):
        assert found == text.strip()
    assert len(found) <= len(text)


def test_paragraphs_keep_their_headings() -> None:
    text = "# Plan\n\n## Oslo\n\nWe move in May.\r\n\r\nThe cat\ncomes too.\n \n\n## Later\n"
    assert paragraphs(text) == [
        "# Plan\n## Oslo\nWe move in May.",
        "The cat\ncomes too.",
        "## Later",
    ]
    assert paragraphs(" \n\n ") == []


def test_long_paragraphs_are_cut_at_sentences() -> None:
    sentence = "The tree by the river is old. "
    found = documents.messages_of(sentence * 200, "document")
    assert len(found) > 1
    assert all(said.role == "user" and len(said.content) <= 2000 for said in found)
    assert " ".join(said.content for said in found) == (sentence * 200).strip()


def turn(name: str | None, hour: float | None, *texts: str) -> Turn:
    at = None if hour is None else START + timedelta(hours=hour)
    if name is None:
        message: dict[str, Any] = {"role": U, "content": texts[0]}
        return Turn(None, at, (message if at is None else {**message, "timestamp": at},))
    said = [Said(U, text) for text in texts or (name,)]
    return as_turn(name, at, said, document_type=CHAT, metadata=None)


def names(turns: list[Turn]) -> list[str]:
    return [each.document_id or each.messages[0]["content"] for each in turns]


def test_turns_come_into_the_order_of_their_times_whatever_comes_first() -> None:
    given = [turn(name, hour) for hour, name in enumerate("abcd")]
    for order in permutations(given):
        at_once, changed = merged([], order)
        assert names(at_once) == ["a", "b", "c", "d"]
        assert changed == {"a", "b", "c", "d"}
        one_by_one: list[Turn] = []
        for each in order:
            one_by_one, _changed = merged(one_by_one, [each])
        assert one_by_one == at_once


def test_equal_times_keep_the_order_of_arrival() -> None:
    turns, _changed = merged([], [turn("b", 1), turn("a", 1)])
    assert names(turns) == ["b", "a"]
    turns, _changed = merged(turns, [turn("c", 1)])
    assert names(turns) == ["b", "a", "c"]


def test_undated_turns_come_last_and_stay() -> None:
    turns, _changed = merged([], [turn("x", None), turn("a", 1)])
    assert names(turns) == ["a", "x"]
    turns, _changed = merged(turns, [turn("b", 2), turn("y", None)])
    assert names(turns) == ["a", "x", "b", "y"]


def test_messages_of_no_document_stay_where_they_are() -> None:
    stored = [turn(None, 1, "live"), turn(None, None, "live 2"), turn(None, 3, "live 3")]
    turns, changed = merged(stored, [turn("d", 2)])
    assert names(turns) == ["live", "live 2", "d", "live 3"]
    assert changed == {"d"}


def test_the_same_changes_nothing_and_other_text_keeps_the_place() -> None:
    stored, _changed = merged([], [turn("a", 1), turn("b", 2), turn("c", 3)])
    assert merged(stored, [turn("b", 2)]) == (stored, set())
    assert merged(stored, [turn("b", 9)]) == (stored, set())
    turns, changed = merged(stored, [turn("b", 2, "other", "text")])
    assert names(turns) == ["a", "b", "c"]
    assert changed == {"b"}
    assert [message["content"] for message in turns[1].messages] == ["other", "text"]


def test_a_stored_conversation_reads_back_as_the_turns_it_was_made_of() -> None:
    turns = [turn("a", 1, "one", "two"), turn(None, 2, "live"), turn(None, 2, "more"), turn("b", 3)]
    blocks = [
        MessageBlock(
            role=message["role"],
            content=message["content"],
            msg_position=position,
            timestamp=message.get("timestamp"),
            data={"document_id": message["document_id"]} if "document_id" in message else None,
        )
        for position, message in enumerate(m for each in turns for m in each.messages)
    ]
    assert documents.stored_turns(blocks) == turns


def test_long_metadata_does_not_go_with_every_message() -> None:
    said = [Said(U, "one"), Said(U, "two")]
    small = as_turn("a", None, said, document_type="memo", metadata={"team": "x"})
    assert [m["document_metadata"] for m in small.messages] == [{"team": "x"}] * 2
    assert {m["document_type"] for m in small.messages} == {"memo"}
    large = as_turn("a", None, said, document_type=CHAT, metadata={"team": "x" * 5000})
    assert all("document_metadata" not in m and "document_type" not in m for m in large.messages)


def test_derived_ids_tell_users_times_and_texts_apart() -> None:
    ids = {
        documents.derived_id(user, at, text)
        for user in ("u", "v")
        for at in (None, START)
        for text in ("t", "s")
    }
    assert len(ids) == 8
    assert documents.derived_id("u", START, "e\u0301") == documents.derived_id("u", START, "\xe9")
