"""Lines of an export: what is refused, with which words, and that nothing is quoted."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import pytest

from memora.core.hashing import content_hash
from memora.core.transfer import Whole, check_header, decode, encode
from memora.errors import InvalidInputError, SchemaVersionError
from memora.schema.transfer import End, Header, TransferRecord
from tests.transfer_kit import (
    LATER,
    TIME,
    agent,
    every_field,
    interaction,
    job,
    line,
    memory,
    memory_id,
    message,
    organization,
    prefix_hash,
    user,
)

SECRET = "a secret text"


def refused(text: bytes) -> str:
    """Return what the error says about a line."""
    with pytest.raises(InvalidInputError) as raised:
        decode(text, 7)
    assert SECRET not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "line 7: the line: must be one JSON object"),
        (SECRET.encode(), "line 7: the line: must be one JSON object"),
        (b"[]", "line 7: the line: must be one JSON object"),
        (b"\xff\xfe", "line 7: the line: must be one JSON object"),
        (b"{}", "line 7: kind: must be given"),
        (line(SECRET), "line 7: kind: must be a kind of the format"),
        (organization(org_name=SECRET + "\n"), "line 7: org_name: must be a text of 1 to 256"),
        (organization(org_id=7), "line 7: org_id: must be a valid string"),
        (organization(org_id=None), "line 7: org_id: must be a valid string"),
        (organization(org_id=" a"), "line 7: org_id: must be an id without spaces around it"),
        (organization(org_id="e\u0301"), "line 7: org_id: must be in Unicode's form NFC"),
        (organization(org_id="x" * 256), "line 7: org_id: must be a text of 1 to 255 characters"),
        (organization(created_at=5), "line 7: created_at: must be a datetime or ISO 8601 text"),
        (organization(created_at=SECRET), "line 7: created_at: must be an ISO 8601 time"),
        (organization(created_at=TIME[:-1]), "line 7: created_at: must be a time with its offset"),
        (organization(created_at="0001-01-01T00:00:00+10:00"), "line 7: created_at: must be a"),
        (organization(extra=SECRET), "line 7: extra: must be one of the fields of the format"),
        (line("user", org_id="o", user_id="u"), "line 7: user_name: must be given"),
        (user(salt=""), "line 7: salt: must be"),
        (interaction(revision=-1), "line 7: revision: must be greater than or equal to 0"),
        (interaction(revision=1.5), "line 7: revision: must be a valid integer"),
        (interaction(revision=True), "line 7: revision: must be a valid integer"),
        (interaction(metadata=[SECRET]), "line 7: metadata: must be a"),
        (interaction(active="yes"), "line 7: active: must be a valid boolean"),
        (interaction(participants=[SECRET, 1]), "line 7: participants.1: must be a valid string"),
        (message(-1), "line 7: position: must be greater than or equal to 0"),
        (message(0, role=SECRET), "line 7: role: must be one of assistant"),
        (message(0, content=[SECRET]), "line 7: content: must be a valid string"),
        (message(0, content="x" * (1024 * 1024 + 1)), "line 7: content: must be at most 1048576"),
        (memory("m", memory_id="M"), "line 7: memory_id: must be a UUID in lower case"),
        (
            memory("m", memory_id=memory_id("m").upper()),
            "line 7: memory_id: must be a UUID in lower case",
        ),
        (memory("m", importance=1.1), "line 7: importance: must be a number from 0 to 1"),
        (memory("m", text=""), "line 7: text: must be"),
        (memory("m", sources=[{"interaction_id": "i"}]), "line 7: sources.0.position: must be"),
        (job(status="running"), "line 7: status: must be 'pending', 'failed' or 'done'"),
    ],
)  # fmt: skip
def test_a_line_is_refused_by_field(text: bytes, told: str) -> None:
    assert refused(text).startswith(told)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    text = interaction(metadata={"a": "HERE"}).replace(b'"HERE"', number.encode())
    assert refused(text).startswith("line 7: metadata: must be a JSON object of valid")


def test_a_lone_surrogate_is_refused() -> None:
    assert refused(message(0, content="HERE").replace(b"HERE", rb"\ud83d")).startswith("line 7:")


def test_nesting_that_a_store_takes_is_taken() -> None:
    deep: object = "x"
    for _ in range(400):
        deep = [deep]
    told = encode(decode(interaction(metadata={"a": deep}), 1))
    assert told == encode(decode(told, 1))


def test_deeper_nesting_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    text = interaction(metadata={"a": "HERE"}).replace(b'"HERE"', deep)
    assert refused(text).startswith("line 7:")


def test_a_line_is_the_same_however_it_was_written() -> None:
    text = interaction(metadata={"z": 1, "a": "Ä"}, created_at="2024-02-03T06:05:06.000007+02:00")
    told = encode(decode(text, 1))
    assert told == encode(decode(told, 1))
    assert json.dumps(json.loads(told), sort_keys=True) == json.dumps(
        json.loads(interaction(metadata={"a": "Ä", "z": 1}, last_activity_at=TIME))
        | {"active": True, "agent_id": None, "external_id": None, "title": None}
        | {"import_id": None, "process_id": None, "updated_at": TIME},
        sort_keys=True,
    )


def test_a_header_of_a_newer_version_says_so() -> None:
    header = decode(line("header", format="memora-export", version=4, more=SECRET), 1)
    with pytest.raises(SchemaVersionError, match="found export version 4"):
        check_header(header, "file")
    for version in (1, 2, 3):
        check_header(decode(line("header", format="memora-export", version=version), 1), "file")
    with pytest.raises(InvalidInputError, match="line 1: kind"):
        check_header(decode(organization(), 1), "file")


# What makes lines a whole


def check(records: Sequence[bytes]) -> None:
    """Add the lines, from line 2 on, and end."""
    whole = Whole()
    for number, text in enumerate(records, start=2):
        record = decode(text, number)
        assert not isinstance(record, (Header, End))
        whole.add(record, number)
    whole.end()


def test_every_field_is_a_whole() -> None:
    check(every_field().splitlines()[1:-1])


START = (organization(), user())
TALK = (interaction(message_count=2, content_hash=prefix_hash({}, {})), message(0), message(1))


FIRST = prefix_hash({})
OTHERS = (
    message(0, prefix_hash=FIRST, role="assistant"),
    message(0, prefix_hash=FIRST, content="hullo"),
    message(0, prefix_hash=FIRST, content=None),
    message(0, prefix_hash=FIRST, name="N"),
    message(0, prefix_hash=FIRST, data={"x": 1}),
)


def chained(name: str, **fields: object) -> bytes:
    """Return a version of the chain of `a`."""
    return memory(name, chain_id=memory_id("a"), **fields)


def before(name: str) -> dict[str, object]:
    """Return the fields of a version that the named one supersedes at once."""
    return {"superseded_by": memory_id(name), "superseded_at": TIME}


A, B, C = sorted("abc", key=memory_id)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ((user(),), "line 2: org_id"),
        ((organization(), organization()), "line 3: org_id: must be in order"),
        ((organization("b"), organization("a")), "line 3: org_id: must be in order"),
        ((organization("a"), user(org_id="b")), "line 3: org_id: must be that of the organization"),
        ((organization(), interaction()), "line 3: user_id: must be that of the user before it"),
        ((*START, user()), "line 4: user_id: must be in order"),
        ((*START, user("v"), interaction()), "line 5: interaction_id: must be in order"),
        ((*START, interaction("j"), interaction("i")), "line 5: interaction_id: must be in order"),
        ((*START, message(0)), "line 4: interaction_id: must be that of the interaction before it"),
        ((*START, TALK[0], message(1)), "line 5: position: must be 0"),
        ((*START, TALK[0], message(0), message(0)), "line 6: interaction_id: must be in order"),
        ((*START, *TALK[:2]), "line 4: message_count: must be the number of messages"),
        ((*START, *TALK, message(2)), "line 4: message_count"),
        ((*START, interaction(message_count=1, content_hash="x"), message(0)),
         "line 4: content_hash: must be prefix_hash of the last message"),
        ((*START, TALK[0], message(0, prefix_hash="x"), message(1)), "line 5: prefix_hash: must"),
        ((*START, TALK[0], message(0), message(1, prefix_hash="x")), "line 6: prefix_hash: must"),
        ((*START, TALK[0], message(0), message(1, before=({"role": "tool"},))),
         "line 6: prefix_hash: must be the hash of the message and those before it"),
        *(((*START, TALK[0], other, message(1)), "line 5: prefix_hash: must")
          for other in OTHERS),
        ((*START, TALK[0], message(0, data={"content": [{"text": "hallo"}]}), message(1)),
         "line 5: content: must be the text of data.content"),
        ((*START, memory("m", content_hash="x")), "line 4: content_hash: must be the hash of text"),
        ((*START, memory("m", text="n", content_hash=content_hash("m"))), "line 4: content_hash"),
        ((*START, interaction(created_at=LATER)), "line 4: last_activity_at"),
        (
            (*START, interaction("i", external_id="e"), interaction("j", external_id="e")),
            "line 5: external_id",
        ),
        ((*START, interaction(agent_id="nobody")), "line 4: agent_id: must be an agent of"),
        ((*START, agent("own", user_id="u"), user("v"), interaction(user_id="v", agent_id="own")),
         "line 6: agent_id: must be an agent of"),
        ((*START, memory("m", agent_id="nobody"), agent("somebody")), "line 4: agent_id"),
        ((*START, memory("m", interaction_id="i")), "line 4: interaction_id: must be an"),
        ((*START, *TALK, memory("m", sources=[{"interaction_id": "i", "position": 2}])),
         "line 7: sources"),
        ((*START, *TALK, memory("m", sources=[{"interaction_id": "i", "position": 0}] * 2)),
         "line 7: sources"),
        ((*START, memory("m", obtained_at=LATER, superseded_at=TIME)), "line 4: superseded_at"),
        ((*START, memory(B), memory(A)), "line 5: memory_id: must be in order"),
        ((*START, memory("a", **before("x"))), "line 4: superseded_by: must be the next version"),
        ((*START, memory(A, **before(B)), memory(B)), "line 4: superseded_by: must be the next"),
        ((*START, chained("a", superseded_by=memory_id("b")), chained("b", obtained_at=LATER)),
         "line 4: superseded_by: must be the next version"),
        ((*START, chained("a", superseded_at=LATER, superseded_by=memory_id("b")),
          chained("b", obtained_at="2024-02-20T00:00:00Z")),
         "line 4: superseded_by: must be the next version"),
        ((*START, chained("a", superseded_at=TIME), chained("b", obtained_at=LATER)),
         "line 5: superseded_by: must be given: the chain has another last version"),
        ((*START, *sorted((chained("a", **before("c")), chained("b", **before("c")), chained("c")),
                          key=lambda text: json.loads(text)["memory_id"])), "superseded_by"),
        ((*START, *sorted((chained("a", **before("b")), chained("b", **before("a")), chained("c")),
                          key=lambda text: json.loads(text)["memory_id"])), "without a circle"),
        ((*START, job()), "line 4: interaction_id: must be an interaction of the user"),
        ((*START, *TALK, job(updated_at="2023-01-01T00:00:00Z")), "line 7: updated_at"),
        ((*START, *TALK, job(agent_id="nobody")), "line 7: agent_id"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(records: Sequence[bytes], told: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        check(records)
    assert told in str(raised.value)


def test_a_hash_is_the_same_however_a_text_is_written() -> None:
    """Names are not in it, and neither are case, signs and the form of letters."""
    check(
        [
            *START,
            interaction(message_count=1, content_hash=prefix_hash({"content": "\u00e9"})),
            message(0, content="e\u0301", prefix_hash=prefix_hash({"content": "\u00e9"})),
            memory("m", text="[[u:u]] is HERE!", content_hash=content_hash("the user is here")),
        ]
    )


def test_letters_that_this_python_does_not_know_yet_are_not_judged() -> None:
    """The Python that wrote the file may have folded and composed them."""
    unknown = "\U000e0fff"
    assert unicodedata.category(unknown) == "Cn"
    check(
        [
            *START,
            interaction(message_count=1, content_hash="x"),
            message(0, content=unknown, prefix_hash="x"),
            memory("m", text=unknown, content_hash="x"),
        ]
    )


def test_a_record_shows_its_id_only() -> None:
    for text in every_field().splitlines()[1:-1]:
        record = decode(text, 1)
        assert not isinstance(record, (Header, End))
        assert repr(record) == f"{type(record).__name__}({record.record_id!r})"


def test_places_are_those_of_the_file() -> None:
    records: list[TransferRecord] = []
    for text in every_field().splitlines()[1:-1]:
        record = decode(text, 1)
        assert not isinstance(record, (Header, End))
        records.append(record)
    assert sorted(records, key=lambda record: record.place) == records
