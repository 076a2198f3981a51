"""Files of other systems, record by record, good and bad."""

from __future__ import annotations

import io
import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from memora.importers import window
from memora.importers.files import (
    Empty,
    Failure,
    FoundConversation,
    FoundDocument,
    Item,
    read,
)

ONE = {"id": "a", "messages": [{"role": "user", "content": "häßlich"}]}
TWO = {"id": "b", "messages": [{"role": "user", "content": "two"}]}


def found(content: str | bytes) -> list[Item]:
    return list(read(io.BytesIO(content.encode() if isinstance(content, str) else content)))


def values(items: list[Item]) -> list[Any]:
    return [item.value for item in items if isinstance(item, FoundConversation)]


def failures(items: list[Item]) -> list[str]:
    return [item.place for item in items if isinstance(item, Failure)]


def lines(*documents: Any) -> str:
    return "\n".join(json.dumps(document) for document in documents)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ONE, TWO]),
        json.dumps([ONE, TWO], ensure_ascii=False, indent=2),
        f" \n{json.dumps(ONE)}\n\n{json.dumps(TWO)}\n",
        json.dumps({"count": 2, "conversations": [ONE, TWO], "next": None}),
        json.dumps({"results": [ONE, TWO]}, indent=4),
        "\ufeff" + json.dumps([ONE, TWO]),
        "\r\n".join([json.dumps(ONE), json.dumps(TWO)]),
        f"{json.dumps(ONE, indent=1)}\n{json.dumps(TWO, indent=1)}",
        lines({"conversations": [ONE]}, {"conversations": [TWO]}),
    ],
    ids=[
        "array",
        "indented",
        "lines",
        "wrapped",
        "indented-wrapped",
        "bom",
        "crlf",
        "objects",
        "wrapped-lines",
    ],
)
def test_every_frame_gives_the_same(text: str) -> None:
    items = found(text)
    assert values(items) == [ONE, TWO]
    assert failures(items) == []


def test_a_single_conversation_is_a_file_too() -> None:
    assert values(found(json.dumps(ONE, indent=1))) == [ONE]
    assert values(found(json.dumps(ONE))) == [ONE]


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_window_may_end_anywhere(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(window, "_CHUNK", chunk)
    given = [ONE, {**TWO, "n": [1.5e10, -3, True, None, "]", "\\", "\u2028", "\U0001f600"]}]
    for text in (
        json.dumps(given, ensure_ascii=False, indent=1),
        json.dumps(given),
        json.dumps({"conversations": given}),
        lines(*given),
    ):
        assert values(found(text)) == given
    text = f'[{json.dumps(ONE)}, {{"x": "}}\\"]" oops}}, {json.dumps(TWO)}]'
    assert values(found(text)) == [ONE, TWO]


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("not json", 0, ["the file"]),
        ("a,b\n1,2\n" * 1000, 0, ["the file"]),
        ("", 0, []),
        ("[]", 0, []),
        ("{}", 0, ["record 1"]),
        (f"{json.dumps(ONE)}\n{{broken\n{json.dumps(TWO)}\n", 2, ["line 2"]),
        (f"{{broken\n{json.dumps(ONE)}\n{json.dumps(TWO)}\n", 2, ["line 1"]),
        (f"\n\n{json.dumps(ONE)}\n[]\n{json.dumps(TWO)}\n", 2, ["line 4"]),
        (f"[{json.dumps(ONE)}, {{]", 1, ["record 2"]),
        (f"[{json.dumps(ONE)}, {{broken}}, {json.dumps(TWO)}]", 2, ["record 2"]),
        (f'[{{"id": NaN}}, {{"id": "b",}}, nope, {json.dumps(TWO)}]', 1, [1, 2, 3]),
        (f"[{json.dumps(ONE)}", 1, ["record 2"]),
        (f"[{json.dumps(ONE)} {json.dumps(TWO)}]", 1, ["record 2"]),
        (f"[{json.dumps(ONE)}] tail", 1, ["the end"]),
        ('{"id": NaN}\n{"id": 1, "messages": []}\n', 1, ["line 1"]),
        ("[" * 100_000, 0, ["record 1"]),
        ('["text", 3]', 0, ["record 1", "record 2"]),
        (f'{{"results": [{json.dumps(ONE)}, {{]', 1, ["results, record 2"]),
        (f'{{"results": [{json.dumps(ONE)}] 3}}', 1, ["record 1"]),
        ('{"id": "a",\n "messages": [', 0, ["record 1"]),
        ('{"id": "a",\n 3: []}', 0, ["record 1"]),
    ],
)
def test_each_bad_record_is_told_with_its_place(text: str, good: int, bad: list[str | int]) -> None:
    items = found(text)
    assert len(values(items)) == good
    assert failures(items) == [f"record {n}" if isinstance(n, int) else n for n in bad]


def test_invalid_utf8_spoils_its_own_record_only() -> None:
    broken = b'{"id": "x", "messages": [{"role": "user", "content": "\xff\xfe"}]}'
    given = [json.dumps(ONE).encode(), broken, json.dumps(TWO).encode()]
    for text, place in (
        (b"\n".join(given), "line 2"),
        (b"[" + b",".join(given) + b"]", "record 2"),
    ):
        items = found(text)
        assert values(items) == [ONE, TWO]
        (failure,) = (item for item in items if isinstance(item, Failure))
        assert (failure.place, failure.reason) == (place, "invalid UTF-8")
    (failure,) = found(broken)
    assert isinstance(failure, Failure)
    assert failure.reason == "invalid UTF-8"


def test_a_huge_record_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "RECORD_CHARS", 300)
    monkeypatch.setattr(window, "_CHUNK", 64)
    huge = {**ONE, "title": "x" * 1000}
    for text, place in (
        (lines(TWO, huge, ONE), "line 2"),
        (json.dumps([TWO, huge, ONE]), "record 2"),
    ):
        items = found(text)
        assert values(items) == [TWO, ONE]
        (failure,) = (item for item in items if isinstance(item, Failure))
        assert (failure.place, failure.reason) == (place, "longer than 300 characters")
    assert failures(found(lines(huge, TWO))) == ["line 1"]
    spread = json.dumps({"id": "x", "messages": ["y" * 200], "more": ["z" * 200]}, indent=1)
    assert failures(found(spread)) == ["record 1"]


def test_a_report_of_failures_can_be_fed_back() -> None:
    report = lines(
        {"failed": {"place": "line 3", "error": "..."}, "record": ONE},
        {"failed": {"place": "line 4", "error": "invalid UTF-8"}, "record": None},
    )
    items = found(report)
    assert values(items) == [ONE]
    assert failures(items) == ["line 2, item 1"]


def test_documents_are_recognised() -> None:
    document = {"document": "User: hi", "user_id": "u", "document_id": "d"}
    (item,) = found(json.dumps([document]))
    assert isinstance(item, FoundDocument)
    assert (item.name, item.value) == ("d", document)


def test_long_arrays_are_read_in_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "big.json"
    one = json.dumps({"id": "c", "messages": [{"role": "user", "content": "x" * 20_000}]})
    with file.open("w") as out:
        out.write("[" + ",".join([one] * 2000) + "]")
    size = file.stat().st_size
    tracemalloc.start()
    with file.open("rb") as opened:
        count = sum(isinstance(item, FoundConversation) for item in read(opened))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert peak < size / 20


def test_chatgpt_exports() -> None:
    def node(name: str, parent: str | None, role: str, text: str, at: float | None = None) -> Any:
        message = {
            "author": {"role": role},
            "content": {"content_type": "text", "parts": [text]},
            "create_time": at,
        }
        return name, {"id": name, "parent": parent, "children": [], "message": message}

    mapping = dict(
        [
            ("root", {"id": "root", "parent": None, "children": ["1"], "message": None}),
            node("1", "root", "user", "I moved to Oslo.", 1_700_000_000.5),
            node("2a", "1", "assistant", "The first answer."),
            node("2b", "1", "assistant", "The answer that was kept."),
        ]
    )
    record = {
        "conversation_id": "c-1",
        "title": "Moving",
        "create_time": 1_700_000_000,
        "mapping": mapping,
        "current_node": "2b",
    }
    (given,) = values(found(json.dumps([record])))
    at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (given["id"], given["title"], given["created_at"]) == ("c-1", "Moving", at)
    assert [(m["role"], m["content"]) for m in given["messages"]] == [
        ("user", "I moved to Oslo."),
        ("assistant", "The answer that was kept."),
    ]
    assert given["messages"][0]["timestamp"] == at.replace(microsecond=500_000)
    mapping["root"]["parent"] = "2b"
    (failure,) = found(json.dumps([record]))
    assert isinstance(failure, Failure)
    assert "cycle" in failure.reason


def test_claude_exports() -> None:
    record = {
        "uuid": "c-2",
        "name": "Tea",
        "created_at": "2024-05-01T10:00:00.000000Z",
        "chat_messages": [
            {"sender": "human", "text": "I like tea.", "created_at": "2024-05-01T10:00:01Z"},
            {"sender": "assistant", "text": "", "content": [{"type": "text", "text": "Noted."}]},
        ],
    }
    (given,) = values(found(json.dumps([record])))
    assert given["messages"] == [
        {"role": "user", "content": "I like tea.", "timestamp": "2024-05-01T10:00:01Z"},
        {"role": "assistant", "content": "Noted."},
    ]
    assert (given["id"], given["title"]) == ("c-2", "Tea")
    record["chat_messages"][0]["sender"] = "robot"
    (failure,) = found(json.dumps([record]))
    assert isinstance(failure, Failure)
    assert (failure.name, "sender" in failure.reason) == ("c-2", True)


def test_mem0_and_zep_exports() -> None:
    mem0 = {"results": [{"id": "m", "memory": "Likes tea", "created_at": "2024-05-01T10:00:00Z"}]}
    (given,) = values(found(json.dumps(mem0)))
    assert given["messages"] == [{"role": "user", "content": "Likes tea"}]
    assert given["metadata"] == {"imported_from": "mem0"}
    zep = {
        "session_id": "s",
        "created_at": "2024-05-01T10:00:00Z",
        "messages": [
            {"role_type": "user", "role": "Jane", "content": "Hi", "created_at": "2024-05-01"},
            {"role": "assistant", "content": "Hello"},
        ],
    }
    (given,) = values(found(json.dumps(zep)))
    assert given["messages"] == [
        {"role": "user", "content": "Hi", "name": "Jane", "timestamp": "2024-05-01"},
        {"role": "assistant", "content": "Hello"},
    ]


def test_empty_conversations_of_exports_are_no_failures() -> None:
    claude = {"uuid": "c", "name": "", "chat_messages": []}
    chatgpt = {"id": "g", "mapping": {"r": {"parent": None, "children": [], "message": None}}}
    items = found(json.dumps([claude, chatgpt]))
    assert [type(item) for item in items] == [Empty, Empty]


def test_what_chatgpt_never_showed_is_not_imported() -> None:
    def node(parent: str | None, **message: Any) -> Any:
        return {"parent": parent, "children": [], "message": message}

    hidden = {"is_visually_hidden_from_conversation": True}
    user, assistant = {"role": "user"}, {"role": "assistant"}
    mapping = {
        "a": node(None, author=user, content={"parts": ["secret"]}, metadata=hidden),
        "b": node("a", author=user, content={"content_type": "user_editable_context"}),
        "c": node("b", author=user, content={"parts": [{"asset": 1}, {"text": "said aloud"}]}),
        "d": node("c", author=assistant, content={"content_type": "thoughts", "text": "hm"}),
        "e": node("d", author=assistant, content={"content_type": "code", "text": "1 + 1"}),
    }
    record = {"id": "g", "title": " a\nb" * 200, "mapping": mapping, "current_node": "e"}
    (given,) = values(found(json.dumps([record])))
    assert [message["content"] for message in given["messages"]] == ["said aloud", "1 + 1"]
    assert len(given["title"]) <= 256
    assert given["title"].startswith("a b a b")


@pytest.mark.parametrize(
    "record",
    [
        {"mapping": {"a": 3}, "id": "g"},
        {"mapping": {"a": {"message": {"author": {"role": ["user"]}}}}, "id": "g"},
        {"mapping": {"a": {"message": {"author": "me"}}}, "id": "g"},
        {"mapping": {"a": {"message": None}}, "id": "g", "current_node": "b"},
        {"mapping": {"a": {"message": {"create_time": 10**400}}}, "id": "g"},
        {"mapping": {"a": {"message": None}}, "id": 3},
        {"mapping": {}, "id": "g", "create_time": "yesterday"},
        {"mapping": {}, "id": "g", "create_time": 1e300},
        {"chat_messages": [3], "uuid": "c"},
        {"chat_messages": [{"text": "no sender"}], "uuid": "c"},
        {"chat_messages": [{"sender": {}, "text": "x"}], "uuid": "c"},
        {"chat_messages": [{"sender": "human", "text": "x"}]},
        {"memory": None, "id": "m"},
        {"memory": "x"},
        {"memory": "x", "id": "m", "metadata": ["x"]},
        {"session_id": "s", "messages": ["x"]},
        {"session_id": "s", "messages": [{"content": "no role"}]},
        {"session_id": "s", "messages": [{"role": "user", "content": 3}]},
        {"session_id": 3, "messages": []},
        {"something": "else"},
        {"document": 3},
    ],
)
def test_wrong_shapes_are_one_failure_each(record: dict[str, Any]) -> None:
    first, second = found(lines(record, ONE))
    assert isinstance(first, Failure)
    assert first.record == record
    assert first.reason
    assert values([second]) == [ONE]


_KEYS = """mapping message author role content content_type parts text metadata id current_node
parent chat_messages sender uuid name title created_at create_time memory categories session_id
messages role_type document failed record results""".split()  # noqa: SIM905 - a list of words
_WORDS = st.sampled_from(["user", "assistant", "human", "a", "b", "", "thoughts"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_KEYS) | _WORDS, inner, max_size=6)
    ),
    max_leaves=25,
)


@drawn(st.lists(_JSON, max_size=4))
def test_no_json_breaks_the_reading(records: list[Any]) -> None:
    items = found(json.dumps(records))
    assert all(
        isinstance(item, (Empty, Failure, FoundConversation, FoundDocument)) for item in items
    )
    assert len(items) >= sum(not isinstance(record, dict) for record in records)


@drawn(st.text('{}[]",:\\ \n1a', max_size=60))
def test_no_text_breaks_the_reading(text: str) -> None:
    for item in found(text):
        assert isinstance(item, Failure | FoundConversation | Empty)
