"""Transcripts: what is accepted, when two prefixes are equal, and the diff of an update."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.core import messages as transcripts
from memora.core.messages import (
    KnownTranscript,
    Transcript,
    changes,
    common_prefix,
    diff,
    parse_messages,
)
from memora.errors import InvalidInputError
from memora.schema import validation
from memora.schema.models import MessageBlock
from memora.schema.times import checked_time
from memora.schema.write_plan import MessageEdit, NewMessage
from tests.unit.kit import HOSTILE, LONE_SURROGATES, T0, hostile_text, quick

texts = st.text(st.characters(codec="utf-8"), max_size=12)
parts = st.fixed_dictionaries({"type": st.just("text"), "text": texts})
raw_messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(sorted(validation.ROLES)),
        "content": st.one_of(st.none(), texts, st.lists(parts, max_size=2), parts),
    },
    optional={
        "name": st.sampled_from(["Ann", "search", "é"]),
        "tool_calls": st.lists(st.fixed_dictionaries({"id": texts, "n": st.integers()})),
        "tool_call_id": texts,
    },
)
transcript = st.lists(raw_messages, max_size=6)


def one(**message: Any) -> NewMessage:
    (parsed,) = parse_messages([{"role": "user", **message}])
    return parsed


@pytest.mark.parametrize("role", sorted(validation.ROLES))
def test_every_known_role_is_taken(role: str) -> None:
    assert one(role=role, content="x").role == role


CONTENTS: list[tuple[Any, str | None, Any]] = [
    ("text", "text", None),
    ("", "", None),
    (" \n", " \n", None),
    (None, None, None),
    ([], None, []),
    ({}, None, {}),
    (["a", "b"], "a\nb", ["a", "b"]),
    (("a",), "a", ["a"]),
    ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}], "a", ...),
    ([{"type": "text", "text": 5}], None, ...),
    ([7, None], None, ...),
    ({"text": "a"}, "a", ...),
]


@pytest.mark.parametrize(("content", "text", "kept"), CONTENTS)
def test_b70_content_of_every_shape_is_taken(content: Any, text: str | None, kept: Any) -> None:
    message = one(content=content)
    assert message.content == text
    if kept is None:
        assert message.data is None
    else:
        assert message.data == {"content": content if kept is ... else kept}


def test_b70_a_message_without_content_is_taken() -> None:
    calls = [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = one(role="assistant", tool_calls=calls)
    assert (message.content, message.data) == (None, {"tool_calls": calls})


REFUSED: list[tuple[Any, str]] = [
    (None, "interaction"),
    ("hello", "interaction"),
    (b"hello", "interaction"),
    ({"role": "user", "content": "x"}, "interaction"),
    (5, "interaction"),
    ([5], "interaction[0]"),
    (["hello"], "interaction[0]"),
    ([None], "interaction[0]"),
    ([["user", "x"]], "interaction[0]"),
    ([{"content": "x"}], "interaction[0].role"),
    ([{"role": None, "content": "x"}], "interaction[0].role"),
    ([{"role": "USER", "content": "x"}], "interaction[0].role"),
    ([{"role": "robot", "content": "x"}], "interaction[0].role"),
    ([{"role": ["user"], "content": "x"}], "interaction[0].role"),
    ([{"role": "user", "content": 5}], "interaction[0].content"),
    ([{"role": "user", "content": True}], "interaction[0].content"),
    ([{"role": "user", "content": b"x"}], "interaction[0].content"),
    ([{"role": "user", "content": {1, 2}}], "interaction[0].content"),
    ([{"role": "user", "content": [b"x"]}], "interaction[0]"),
    ([{"role": "user", "content": [float("nan")]}], "interaction[0]"),
    ([{"role": "user", "content": "x", "extra": object()}], "interaction[0]"),
    ([{"role": "user", "content": "x", "extra": float("inf")}], "interaction[0]"),
    ([{"role": "user", "content": "x", "name": ""}], "interaction[0].name"),
    ([{"role": "user", "content": "x", "name": 5}], "interaction[0].name"),
    ([{"role": "user", "content": "x", "name": "n" * 257}], "interaction[0].name"),
    ([{"role": "user", "content": "x", "timestamp": 5}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": True}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": T0.date()}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": ""}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": "soon"}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": "2025-02-30"}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": "0000-01-01"}], "interaction[0].timestamp"),
    ([{"role": "user", "content": "x", "timestamp": "\ud800"}], "interaction[0].timestamp"),
    (
        [{"role": "user", "content": "x", "timestamp": "0001-01-01T00:00+14:00"}],
        "interaction[0].timestamp",
    ),
    (
        [{"role": "user", "content": "x", "timestamp": "9999-12-31T23:00-14:00"}],
        "interaction[0].timestamp",
    ),
    ([{"role": "user", "content": "x" * (validation.TEXT_BYTES + 1)}], "interaction[0].content"),
    ([{"role": "user", "content": "é" * (validation.TEXT_BYTES // 2 + 1)}], "interaction[0]"),
    ([{"role": "user", "content": ["x" * validation.TEXT_BYTES]}], "interaction[0]"),
    ([{"role": "user", "content": "fine"}, {"role": "user", "content": 5}], "interaction[1]"),
]


@pytest.mark.parametrize(("given_", "field"), REFUSED)
def test_b70_what_is_no_transcript_is_refused_with_its_field(given_: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_messages(given_)
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize("where", ["content", "name", "tool_call_id", "role"])
@pytest.mark.parametrize("bad", LONE_SURROGATES.values(), ids=LONE_SURROGATES.keys())
def test_lone_surrogates_are_refused_everywhere(where: str, bad: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_messages([{"role": "user", "content": "x", where: bad}])
    str(caught.value).encode("utf-8")
    with pytest.raises(InvalidInputError):
        parse_messages([{"role": "user", "content": [{"text": bad}]}])
    with pytest.raises(InvalidInputError):
        parse_messages([{"role": "user", "content": "x", bad: 1}])


def test_nothing_of_the_content_is_in_an_error() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_messages([{"role": "user", "content": "canary" + "\ud800"}])
    assert "canary" not in str(caught.value)


def test_limits_are_allowed_exactly() -> None:
    full = "x" * validation.TEXT_BYTES
    assert one(content=full).content == full
    assert one(content="é" * (validation.TEXT_BYTES // 2)).content is not None
    many = [{"role": "user", "content": ""}] * validation.MESSAGES
    assert len(parse_messages(many)) == validation.MESSAGES
    with pytest.raises(InvalidInputError) as caught:
        parse_messages([*many, many[0]])
    assert caught.value.field == "interaction"


def test_other_iterables_and_mappings_are_taken() -> None:
    message = MappingProxyType({"role": "user", "content": "x"})
    expected = parse_messages([{"role": "user", "content": "x"}])
    assert parse_messages(iter([message])) == expected
    assert parse_messages(m for m in (message,)) == expected
    assert parse_messages([]) == ()


TIMES: list[tuple[Any, datetime | None]] = [
    (None, None),
    (T0, T0),
    (T0.astimezone(timezone(timedelta(hours=5, minutes=45))), T0),
    ("2026-01-01T12:00:00Z", T0),
    ("2026-01-01T14:00+02:00", T0),
    (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
    (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
]


@pytest.mark.parametrize(("value", "expected"), TIMES)
def test_times_are_stored_in_utc(value: Any, expected: datetime | None) -> None:
    timestamp = one(content="x", timestamp=value).timestamp
    assert timestamp == expected
    assert timestamp is None or timestamp.tzinfo is UTC


def test_b64_naive_times_are_local() -> None:
    naive = T0.replace(tzinfo=None)
    assert one(content="x", timestamp=naive).timestamp == naive.astimezone(UTC)
    assert one(content="x", timestamp="2026-01-01T12:00").timestamp == naive.astimezone(UTC)
    assert checked_time(naive, "at") == naive.astimezone(UTC)


@pytest.mark.parametrize("value", [None, "2026-01-01", 5, True, T0.date()])
def test_checked_time_takes_datetimes_alone(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="at: must be a datetime"):
        checked_time(value, "at")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_stored_as_given(text: str) -> None:
    message = one(content=text, note={"k": text, text: 1})
    assert message.content == text
    assert message.data == {"note": {"k": text, text: 1}}


@quick
@given(transcript)
def test_a_stored_message_parses_to_itself(raw: list[dict[str, Any]]) -> None:
    parsed = parse_messages(raw)
    blocks = [
        MessageBlock(role=m.role, content=m.content, msg_position=i, name=m.name, data=m.data)
        for i, m in enumerate(parsed)
    ]
    assert parse_messages(blocks) == parsed
    assert parse_messages([block.as_message() for block in blocks]) == parsed


def identity(message: NewMessage) -> Any:
    nfc = unicodedata.normalize
    return nfc("NFC", repr((message.role, message.content, message.name, message.data)))


@quick
@given(transcript, transcript)
def test_prefix_hashes_are_equal_iff_the_prefixes_are(
    left: list[dict[str, Any]], right: list[dict[str, Any]]
) -> None:
    a, b = parse_messages(left), parse_messages([*left[: len(right)], *right])
    for position in range(min(len(a), len(b))):
        same = [identity(m) for m in a[: position + 1]] == [identity(m) for m in b[: position + 1]]
        assert (a[position].prefix_hash == b[position].prefix_hash) is same


DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"content": None}, {"content": ""}),
    ({"content": None}, {"content": "None"}),
    ({"content": "a"}, {"content": "a "}),
    ({"content": "a"}, {"content": "A"}),
    ({"content": "a"}, {"content": "a", "role": "assistant"}),
    ({"content": "a"}, {"content": "a", "name": "Ann"}),
    ({"content": "a"}, {"content": ["a"]}),
    ({"content": "a"}, {"content": "a", "tool_call_id": "t"}),
    ({"content": "a", "x": 1}, {"content": "a", "x": "1"}),
    ({"content": "a", "x": 1}, {"content": "a", "x": True}),
    ({"content": "a", "x": [1, 2]}, {"content": "a", "x": [2, 1]}),
    ({"content": "\n\u0303"}, {"content": "\\ñ"}),
]


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_what_differs_has_another_hash(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert one(**left).prefix_hash != one(**right).prefix_hash


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"content": "cafe\u0301"}, {"content": "caf\u00e9"}),
    ({"content": "a", "timestamp": T0}, {"content": "a"}),
    ({"content": "a", "x": {"k": 1, "l": 2}}, {"content": "a", "x": {"l": 2, "k": 1}}),
    ({"content": ("a",)}, {"content": ["a"]}),
    ({"content": "a", "name": "Jose\u0301"}, {"content": "a", "name": "Jos\u00e9"}),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_what_is_the_same_has_the_same_hash(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert one(**left).prefix_hash == one(**right).prefix_hash


def test_hashes_continue_after_a_known_prefix() -> None:
    raw = [{"role": "user", "content": str(n)} for n in range(5)]
    whole = parse_messages(raw)
    rest = parse_messages(raw[2:], before=whole[1].prefix_hash)
    assert rest == whole[2:]
    assert parse_messages(raw[2:]) != whole[2:]


def message(number: int) -> dict[str, str]:
    return {"role": "user", "content": str(number)}


small = st.lists(st.integers(0, 2), max_size=8).map(lambda numbers: [message(n) for n in numbers])


@quick
@given(small, small, st.integers(0, 8))
def test_a_diff_turns_the_stored_transcript_into_the_incoming_one(
    left: list[dict[str, str]], right: list[dict[str, str]], shared: int
) -> None:
    old = parse_messages(left)
    incoming = parse_messages([*left[:shared], *right])
    hashes = [m.prefix_hash for m in old]
    edit = diff(hashes, incoming)
    kept = [m.prefix_hash for m in old[: edit.keep]]
    assert [*kept, *(m.prefix_hash for m in edit.append)] == [m.prefix_hash for m in incoming]
    assert changes(edit, len(old)) is (hashes != [m.prefix_hash for m in incoming])
    naive = next(
        (
            position
            for position, (a, b) in enumerate(zip(hashes, incoming, strict=False))
            if a != b.prefix_hash
        ),
        min(len(hashes), len(incoming)),
    )
    assert common_prefix(hashes, incoming) == edit.keep == naive


@pytest.mark.parametrize("appended", [0, 1, 3])
def test_b39_an_append_reads_few_hashes(appended: int) -> None:
    class Counting(list[str]):
        looks = 0

        def __getitem__(self, index: Any) -> Any:
            Counting.looks += 1
            return super().__getitem__(index)

    Counting.looks = 0
    incoming = parse_messages([message(n) for n in range(1000 + appended)])
    stored = Counting(m.prefix_hash for m in incoming[:1000])
    assert common_prefix(stored, incoming) == 1000
    assert Counting.looks <= 11


@pytest.mark.parametrize(
    ("edit", "count", "expected"),
    [
        (MessageEdit(0), 0, False),
        (MessageEdit(2), 2, False),
        (MessageEdit(1), 2, True),
        (MessageEdit(2, parse_messages([message(1)])), 2, True),
    ],
)
def test_changes_says_whether_anything_does(edit: MessageEdit, count: int, expected: bool) -> None:
    assert changes(edit, count) is expected


@quick
@given(hostile_text, hostile_text)
def test_two_messages_are_not_one_longer_one(left: str, right: str) -> None:
    two = parse_messages([{"role": "user", "content": left}, {"role": "user", "content": right}])
    joined = one(content=left + right)
    assert two[1].prefix_hash != joined.prefix_hash


def test_the_empty_transcript_has_the_empty_hash() -> None:
    assert transcripts.EMPTY_HASH == ""
    assert parse_messages([message(1)], before="")[0] == parse_messages([message(1)])[0]


# A transcript of which the beginning is known


@quick
@given(transcript, st.integers(0, 6), st.integers(0, 6))
def test_b39_a_transcript_with_a_known_beginning_reads_like_any_other(
    raw: list[dict[str, Any]], count: int, at: int
) -> None:
    known = Transcript(raw[:count]).known()
    fresh, grown = Transcript(raw), Transcript([dict(m) for m in raw], known)
    assert len(grown) == len(fresh) == len(raw)
    assert grown.last_hash == fresh.last_hash
    assert grown.tail(at) == fresh.tail(at) == parse_messages(raw)[at:]
    assert grown.before(at, 2) == fresh.before(at, 2)
    assert grown.known() == fresh.known()
    hashes = ["", *(m.prefix_hash for m in parse_messages(raw)), "after the last"]
    for position, prefix_hash in enumerate(hashes):
        right = position <= len(raw)
        assert grown.starts_with(position, prefix_hash) is fresh.starts_with(position, prefix_hash)
        assert fresh.starts_with(position, prefix_hash) is right
        assert not grown.starts_with(position, "other")
    assert grown.messages() == fresh.messages() == parse_messages(raw)


@quick
@given(transcript, transcript)
def test_what_was_known_of_another_conversation_changes_nothing(
    raw: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    known = Transcript(other).known()
    assert Transcript(raw, known).last_hash == Transcript(raw).last_hash
    assert Transcript(raw, known).messages() == parse_messages(raw)


def test_b39_a_known_beginning_is_not_parsed_again() -> None:
    raw = [message(n) for n in range(1000)]
    known = Transcript(raw).known()
    assert known is not None
    forged = KnownTranscript(known.count, "forged", known.fingerprint)
    grown = Transcript([*raw, message(1000)], forged)
    assert grown.tail(1000) == parse_messages([message(1000)], before="forged")


ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"n": 1}, {"n": True}),
    ({"n": 1}, {"n": 1.0}),
    ({"n": 0.0}, {"n": -0.0}),
    ({"n": [1, 2]}, {"n": (1, 2)}),
    ({"n": "1"}, {"n": 1}),
    ({"n": None}, {}),
    ({"timestamp": "2026-01-01T00:00Z"}, {"timestamp": "2026-01-02T00:00Z"}),
]


@pytest.mark.parametrize(("left", "right"), ALIKE)
def test_only_what_is_byte_for_byte_the_same_is_known(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    base = {"role": "user", "content": "x"}
    one, other = Transcript([{**base, **left}]).known(), Transcript([{**base, **right}]).known()
    assert one is not None
    assert other is not None
    assert one.fingerprint != other.fingerprint


def test_what_cannot_be_remembered_is_parsed_each_time() -> None:
    raw: list[Any] = [{"role": "user", "content": "x", "timestamp": T0}]
    assert Transcript(raw).known() is None
    blocks = [MessageBlock(role="user", content="x", msg_position=0)]
    assert Transcript(blocks).known() is None
    plain = Transcript([{"role": "user", "content": "x"}]).known()
    assert Transcript(blocks, plain).last_hash == Transcript(raw, plain).last_hash


@pytest.mark.parametrize("bad", [None, "text", {}, [5], [{"role": "robot"}]])
def test_b70_a_malformed_transcript_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Transcript(bad, field="messages")
    assert caught.value.field.startswith("messages")


def test_a_malformed_message_after_a_known_beginning_is_refused_by_position() -> None:
    known = Transcript([message(0), message(1)]).known()
    with pytest.raises(InvalidInputError) as caught:
        Transcript([message(0), message(1), {"role": "robot"}], known)
    assert caught.value.field == "interaction[2].role"


def test_a_shorter_transcript_than_the_known_one_is_read_whole() -> None:
    known = Transcript([message(0), message(1)]).known()
    shorter = Transcript([message(0)], known)
    assert shorter.messages() == parse_messages([message(0)])
    assert Transcript([], known).last_hash == ""
    assert Transcript([]).starts_with(0, "")
