"""`memora seed`, as an operator types it; good files, bad files, and those that go on later."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from memora.cli.main import app
from memora.importers import window
from tests.entrypoints.conftest import Answer, CommandLine

pytestmark = pytest.mark.timeout(60)


def talk(number: int, text: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"conv-{number}",
        "messages": [{"role": "user", "content": text or f"I have {number} cats."}],
        "created_at": f"2024-03-{number + 1:02}T10:00:00Z",
        **fields,
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "talks.json"


@pytest.fixture
def store(cli: CommandLine) -> tuple[str, ...]:
    return ("--path", str(cli.path), "--user-id", "jake", "--org", "acme")


def write(file: Path, *records: Any) -> str:
    file.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return str(file)


def statements(cli: CommandLine) -> list[str]:
    found = cli("memories", *cli.owner, "--json")
    return sorted(memory["memory"] for memory in found.json["memories"])


def test_the_format_of_the_readme_is_imported_and_again_is_free(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    file.write_text(json.dumps([talk(n) for n in range(4)]))
    told = cli("seed", str(file), *store)
    assert (told.code, told.err) == (0, "")
    assert "4 created, 0 updated, 0 unchanged, 0 failed" in told.out
    assert statements(cli) == [f"I have {n} cats." for n in range(4)]
    again = cli("seed", str(file), *store, "--json").json
    assert (again["created"], again["unchanged"], again["memories"]) == (0, 4, 0)
    memory = cli("memories", *cli.owner, "--json").json["memories"][0]
    assert memory["obtained_at"] == "2024-03-04T10:00:00Z"


def test_entity_id_is_another_word_for_the_user(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    write(file, talk(1))
    options = ("--path", str(cli.path), "--entity-id", "jake", "--org", "acme")
    assert cli("seed", str(file), *options, "--agent", "helper", "--process-id", "crm").code == 0
    (memory,) = cli("memories", *cli.owner, "--json").json["memories"]
    assert (memory["process_id"], memory["agent_id"]) == ("crm", "helper")


def test_standard_input_is_read(cli: CommandLine, store: tuple[str, ...]) -> None:
    given = json.dumps([talk(1), talk(2)])
    result = CliRunner().invoke(app, ["seed", "-", *store, "--json"], input=given)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["created"] == 2


def test_a_dry_run_creates_nothing(cli: CommandLine, file: Path, store: tuple[str, ...]) -> None:
    write(file, talk(1), talk(2), {"nonsense": 1}, {"document": "Tea."})
    told = cli("seed", str(file), *store, "--dry-run", "--json")
    assert told.code == 1
    numbers = told.json
    assert (numbers["conversations"], numbers["documents"], numbers["unreadable"]) == (2, 1, 1)
    assert numbers["model_calls"] == 0
    assert not cli.path.exists()
    write(file, talk(1))
    assert cli("seed", str(file), *store).code == 0
    write(file, talk(1), talk(2))
    told = cli("seed", str(file), *store, "--dry-run")
    assert told.code == 0
    assert "1 conversations to import, 1 unchanged" in told.out
    assert statements(cli) == ["I have 1 cats."]


def test_a_dry_run_names_what_would_fail(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    other = {**talk(1), "messages": [{"role": "user", "content": "Other."}]}
    write(file, talk(1), {**talk(2), "messages": []}, other, {"nonsense": 1})
    told = cli("seed", str(file), *store, "--dry-run", "--json")
    assert told.code == 1
    numbers = told.json
    assert (numbers["conversations"], numbers["invalid"], numbers["unreadable"]) == (1, 2, 1)
    dry = [(each["place"], each["id"]) for each in numbers["failures"]]
    plain = cli("seed", str(file), *store, "--dry-run")
    assert plain.code == 1
    assert "1 conversations to import, 0 unchanged, 3 malformed" in plain.out
    real = cli("seed", str(file), *store, "--json").json
    assert (real["created"], real["failed"]) == (1, 3)
    assert sorted(dry) == sorted((each["place"], each["id"]) for each in real["failures"])


def test_a_dry_run_tells_the_cost(
    cli: CommandLine, file: Path, store: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORA_EXTRACTION_MODEL", "openai:gpt-x")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    write(file, talk(1))
    told = cli("seed", str(file), *store, "--dry-run", "--price", "openai:gpt-x=1000,0", "--json")
    assert told.code == 0, told.err
    assert told.json["model_calls"] > 0
    assert told.json["cost"] == pytest.approx(told.json["prompt_tokens"] / 1000)
    plain = cli("seed", str(file), *store, "--dry-run", "--price", "openai:gpt-x=1000,0")
    assert "at these prices" in plain.out


def test_resume_goes_on_under_the_same_import(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    write(file, talk(1))
    first = cli("seed", str(file), *store, "--json").json
    write(file, talk(1), talk(2))
    again = cli("seed", str(file), *store, "--resume", first["import_id"], "--json").json
    assert (again["import_id"], again["created"]) == (first["import_id"], 1)
    memories = cli("memories", *cli.owner, "--json").json["memories"]
    assert {memory["import_id"] for memory in memories} == {first["import_id"]}


def test_documents_are_imported_too(cli: CommandLine, file: Path, store: tuple[str, ...]) -> None:
    documents = [
        {
            "document": f"User: I have {n} dogs.\nAssistant: ok",
            "document_type": "ai-chat-conversation",
            "document_id": f"d{n}",
            "document_created_at": f"2024-05-0{n + 1}T10:00:00Z",
            "metadata": {"conversation_id": "c"},
        }
        for n in range(5)
    ]
    write(file, *documents, talk(1), {"document": "x", "mode": "slow"})
    told = cli("seed", str(file), *store, "--json")
    assert told.code == 1
    assert (told.json["created"], told.json["failed"]) == (6, 1)
    assert "mode" in told.json["failures"][0]["error"]
    dogs = [f"I have {n} dogs." for n in range(5)]
    assert statements(cli) == sorted(["I have 1 cats.", *dogs])
    again = cli("seed", str(file), *store, "--json").json
    assert (again["created"], again["unchanged"]) == (0, 6)


BAD: dict[str, tuple[Any, str]] = {
    "no messages": ({"id": "x"}, "neither a conversation nor a document"),
    "no id": ({"messages": [{"role": "user", "content": "bad"}]}, "id"),
    "no role": ({"id": "x", "messages": [{"content": "bad"}]}, "role"),
    "second without role": (
        {"id": "x", "messages": [{"role": "user", "content": "bad"}, {"content": "bad"}]},
        "role",
    ),
    "unknown role": ({"id": "x", "messages": [{"role": "robot", "content": "bad"}]}, "role"),
    "messages no list": ({"id": "x", "messages": {"role": "user"}}, "messages"),
    "no messages in it": ({"id": "x", "messages": []}, "messages"),
    "content a number": ({"id": "x", "messages": [{"role": "user", "content": 3}]}, "content"),
    "a bad time": (talk(1, "bad", created_at="yesterday"), "created_at"),
    "a lone surrogate": ({"id": "x", "messages": [{"role": "user", "content": "bad \ud800"}]}, ""),
    "a bad id": ({"id": "x\n", "messages": [{"role": "user", "content": "bad"}]}, "id"),
    "a list": ([1, 2], "no object"),
    "a foreign one": ({"uuid": "x", "chat_messages": [{"sender": "robot"}]}, "sender"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("frame", ["lines", "array"])
def test_a_bad_record_is_one_error_and_nothing_of_it_is_stored(
    cli: CommandLine, file: Path, store: tuple[str, ...], case: str, frame: str
) -> None:
    bad, reason = BAD[case]
    records = [talk(7), bad, talk(8)]
    file.write_text(
        json.dumps(records) if frame == "array" else "\n".join(map(json.dumps, records))
    )
    told = cli("seed", str(file), *store, "--json")
    assert told.code == 1
    (failure,) = told.json["failures"]
    assert failure["place"] == ("record 2" if frame == "array" else "line 2")
    assert reason in failure["error"]
    assert told.json["created"] == 2
    assert statements(cli) == ["I have 7 cats.", "I have 8 cats."]
    plain = cli("seed", str(file), *store)
    assert (plain.code, len(plain.err.splitlines())) == (1, 1)
    assert plain.err.startswith(f"memora: {failure['place']}")


ONE, TWO = (json.dumps(talk(number)).encode() for number in (1, 2))


@pytest.mark.parametrize(
    ("content", "created", "places"),
    [
        (b"this is no JSON\n", 0, ["the file"]),
        (b"\x00\x01\x02PNG", 0, ["the file"]),
        (b"", 0, []),
        (
            b"%s\n{broken\n%s\n" % (json.dumps(talk(1)).encode(), json.dumps(talk(2)).encode()),
            2,
            ["line 2"],
        ),
        (b'%s\n{"id": "\xff", "messages": []}\n' % ONE, 1, ["line 2"]),
        (
            b"[%s, {broken}, %s]" % (json.dumps(talk(1)).encode(), json.dumps(talk(2)).encode()),
            2,
            ["record 2"],
        ),
        (b"[%s, {" % ONE, 1, ["record 2"]),
        (b"[" * 50_000, 0, ["record 1"]),
    ],
)
def test_files_that_cannot_be_read_say_where(
    cli: CommandLine,
    file: Path,
    store: tuple[str, ...],
    content: bytes,
    created: int,
    places: list[str],
) -> None:
    file.write_bytes(content)
    told = cli("seed", str(file), *store, "--json")
    assert told.code == (1 if places else 0)
    assert [failure["place"] for failure in told.json["failures"]] == places
    assert told.json["created"] == created


def test_a_huge_line_is_one_error(
    cli: CommandLine, file: Path, store: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "RECORD_CHARS", 100_000)
    write(file, talk(1), talk(2, "x" * 500_000), talk(3))
    told = cli("seed", str(file), *store, "--json")
    (failure,) = told.json["failures"]
    assert (failure["place"], "longer than 100000" in failure["error"]) == ("line 2", True)
    assert statements(cli) == ["I have 1 cats.", "I have 3 cats."]


def test_a_message_above_the_limit_fails_alone(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    write(file, talk(1), talk(2, "x" * (2**20 + 1)), talk(3))
    told = cli("seed", str(file), *store, "--json")
    (failure,) = told.json["failures"]
    assert (failure["place"], failure["id"]) == ("line 2", "conv-2")
    assert statements(cli) == ["I have 1 cats.", "I have 3 cats."]


def test_one_id_with_two_contents_is_one_error(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    write(file, talk(1), talk(2), talk(1, "Something else."), talk(2))
    told = cli("seed", str(file), *store, "--json")
    assert told.code == 1
    (failure,) = told.json["failures"]
    assert (failure["place"], failure["id"]) == ("line 3", "conv-1")
    assert told.json["created"] + told.json["unchanged"] == 3
    assert statements(cli) == ["I have 1 cats.", "I have 2 cats."]


def test_a_directory_is_no_file(cli: CommandLine, store: tuple[str, ...], tmp_path: Path) -> None:
    for given, told in ((tmp_path, "this is a directory"), (tmp_path / "x", "no such file")):
        answer = cli("seed", str(given), *store)
        assert answer.code == 2
        assert told in " ".join(answer.err.replace("│", " ").split())


def test_failures_are_written_to_a_file_that_can_be_fed_back(
    cli: CommandLine, file: Path, store: tuple[str, ...], tmp_path: Path
) -> None:
    bad = {"id": "x", "messages": [{"content": "Tea."}]}
    file.write_bytes(b"%s\n%s\n\xff\n" % (json.dumps(talk(1)).encode(), json.dumps(bad).encode()))
    report = tmp_path / "failed.jsonl"
    assert cli("seed", str(file), *store, "--failures", str(report)).code == 1
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    unreadable, missing = map(json.loads, report.read_text().splitlines())
    if unreadable["record"] is not None:
        unreadable, missing = missing, unreadable
    assert missing["failed"]["place"] == "line 2"
    assert missing["record"] == bad
    assert (unreadable["failed"]["place"], unreadable["record"]) == ("line 3", None)
    bad["messages"][0]["role"] = "user"
    write(report, {**missing, "record": bad})
    second = tmp_path / "second.jsonl"
    told = cli("seed", str(report), *store, "--failures", str(second), "--json")
    assert (told.code, told.json["created"]) == (0, 1)
    assert second.read_text() == ""
    assert statements(cli) == ["I have 1 cats.", "Tea."]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("missing.json", "--user-id", "jake"), 2),
        ((".", "--user-id", "jake"), 2),
        (("{file}",), 2),
        (("{file}", "--user-id", ""), 2),
        (("{file}", "--user-id", "jake", "--batch-size", "0"), 2),
        (("{file}", "--user-id", "jake", "--resume", ""), 2),
        (("{file}", "--user-id", "jake", "--dry-run", "--price", "gpt=much"), 2),
        (("{file}", "--user-id", "jake", "--failures", "{file}"), 2),
        (("{file}", "--user-id", "jake", "--failures", "no/such/folder/x"), 2),
    ],
)
def test_wrong_usage_stores_nothing(
    cli: CommandLine, file: Path, arguments: tuple[str, ...], code: int
) -> None:
    write(file, talk(1))
    words = [word.format(file=file) for word in arguments]
    told = cli("seed", *words, "--path", str(cli.path))
    assert told.code == code
    assert told.err
    assert json.loads(file.read_text()) == talk(1)


def test_exports_of_others_are_recognised(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    chatgpt = {
        "id": "g",
        "title": "Moving",
        "mapping": {
            "a": {
                "parent": None,
                "children": [],
                "message": {
                    "author": {"role": "user"},
                    "content": {"content_type": "text", "parts": ["I moved to Oslo."]},
                    "create_time": 1_700_000_000,
                },
            }
        },
        "current_node": "a",
    }
    claude = {"uuid": "c", "chat_messages": [{"sender": "human", "text": "I like tea."}]}
    empty = {"uuid": "e", "chat_messages": []}
    mem0 = {"id": "m", "memory": "Plays chess.", "created_at": "2024-05-01T10:00:00-07:00"}
    zep = {"session_id": "z", "messages": [{"role_type": "user", "content": "I run."}]}
    write(file, chatgpt, claude, empty, mem0, zep)
    told = cli("seed", str(file), *store)
    assert told.code == 0, told.err
    assert "4 created" in told.out
    assert "1 conversations were empty" in told.out
    assert "2 had no time of their own" in told.out
    assert statements(cli) == ["I like tea.", "I moved to Oslo.", "I run.", "Plays chess."]


def test_stored_text_does_not_steer_the_terminal(
    cli: CommandLine, file: Path, store: tuple[str, ...]
) -> None:
    write(file, {"id": "\x1b[31mred", "messages": [{"role": "user", "content": "x"}]})
    told: Answer = cli("seed", str(file), *store)
    assert told.code == 1
    assert "\x1b" not in told.err + told.out


def test_the_module_is_the_command(cli: CommandLine, file: Path, store: tuple[str, ...]) -> None:
    write(file, talk(1))
    command = [sys.executable, "-m", "memora", "seed", str(file), *store, "--json"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert json.loads(done.stdout)["created"] == 1
    assert io.StringIO(done.stderr).read() == ""
