"""How commands fail: one line on standard error, nothing on standard output, an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memora.agent.main import Memora as AsyncMemora
from memora.cli.boundary import DEFECT, INVALID, NEGATIVE, NOT_FOUND, UNAVAILABLE, exit_code
from memora.errors import (
    ConflictError,
    EncryptionKeyError,
    EngineClosedError,
    ExtractionError,
    GraphDBConnectionError,
    InvalidInputError,
    LLMTimeoutError,
    MemoraError,
    MemoryNotFoundError,
    MemoryUpdateError,
    MissingExtraError,
    SchemaVersionError,
    StoreLockedError,
    VectorDBError,
)
from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]
# Some start processes, and the machine may be busy.
pytestmark = pytest.mark.timeout(60)

READING = (["recall", "hello"], ["memories"], ["history", "some-id"], ["interaction"])
OTHERS = (
    ["jobs"],
    ["outbox"],
    ["outbox", "drain"],
    ["outbox", "retry"],
    ["doctor"],
    ["reconcile"],
    ["reindex"],
)


def memora(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "memora", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError("limit", "1 or more"), INVALID),
        (MemoryNotFoundError("x"), NOT_FOUND),
        (ConflictError("memory", "x"), NEGATIVE),
        (MemoryUpdateError("x", "retracted"), NEGATIVE),
        (ExtractionError("i", "j", stage="extract", reason="down"), UNAVAILABLE),
        (LLMTimeoutError("p", "slow"), UNAVAILABLE),
        (GraphDBConnectionError("neo4j", "down"), UNAVAILABLE),
        (VectorDBError("qdrant", "down"), UNAVAILABLE),
        (EngineClosedError(), UNAVAILABLE),
        (StoreLockedError("/store", 7), UNAVAILABLE),
        (SchemaVersionError("/store", found="9", supported="1"), UNAVAILABLE),
        (EncryptionKeyError("/store", "no key"), UNAVAILABLE),
        (MissingExtraError("anthropic", "anthropic"), UNAVAILABLE),
        (PermissionError(13, "denied"), UNAVAILABLE),
        (ZeroDivisionError(), DEFECT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("command", [*READING, *OTHERS], ids=" ".join)
def test_no_command_creates_a_store(cli: CommandLine, command: list[str]) -> None:
    answer = cli(*command, "--path", str(cli.path))
    assert (answer.code, answer.out) == (NOT_FOUND, "")
    assert answer.err == (
        f"memora: {cli.path}: there is no store here; `memora add` or `memora seed` makes one\n"
    )
    assert not cli.path.exists()


def test_the_default_directory_is_not_created_either(cli: CommandLine) -> None:
    answer = cli("doctor")
    assert answer.code == NOT_FOUND
    assert "there is no store here" in answer.err
    assert not (Path(os.environ["XDG_DATA_HOME"]) / "memora").exists()


def test_the_environment_names_the_store(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORA_PATH", str(cli.path))
    assert cli("doctor", "--json").json["memories"] == 3


def test_a_path_wins_over_servers_of_the_environment(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORA_GRAPH_URL", "neo4j://localhost:1")
    monkeypatch.setenv("MEMORA_VECTOR_URL", "http://localhost:1")
    assert cli("doctor", "--path", str(cli.path)).code == 0


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_missing_user_is_told_with_those_who_exist(
    cli: CommandLine, saved: str, command: list[str]
) -> None:
    answer = cli(*command, "--path", str(cli.path), "--org", "acme", "--user", "joan")
    assert (answer.code, answer.out) == (NOT_FOUND, "")
    assert answer.err.splitlines() == [
        "memora: user 'joan' does not exist in this scope",
        "memora: --user can be jake",
    ]


@pytest.mark.parametrize("command", [*READING, ["jobs"], ["jobs", "resume", "--all"]], ids=" ".join)
def test_a_missing_organization_is_told_with_those_that_exist(
    cli: CommandLine, saved: str, command: list[str]
) -> None:
    answer = cli(*command, "--path", str(cli.path))
    assert (answer.code, answer.out) == (NOT_FOUND, "")
    assert answer.err.splitlines() == [
        "memora: organization 'default' does not exist in this scope",
        "memora: --org can be acme",
    ]


def test_a_missing_agent_is_told_with_those_that_exist(cli: CommandLine, saved: str) -> None:
    answer = cli("recall", "hello", *cli.owner, "--agent", "butler")
    assert answer.code == NOT_FOUND
    assert "--agent can be helper" in answer.err


def test_an_empty_store_has_nothing_to_name(cli: CommandLine) -> None:
    with Memora.embedded(cli.path, embedder="hashing") as empty:
        assert empty.doctor().clean
    answer = cli("memories", "--path", str(cli.path))
    assert answer.code == NOT_FOUND
    assert "there is nothing yet that --org could name" in answer.err


def test_many_names_are_cut(cli: CommandLine) -> None:
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        for number in range(12):
            memora.graph.create_organization("Org", org_id=f"org-{number:02}")
    answer = cli("memories", "--path", str(cli.path))
    assert answer.err.splitlines()[1] == (
        "memora: --org can be " + ", ".join(f"org-{n:02}" for n in range(10)) + ", ..."
    )


@pytest.mark.parametrize(
    "command", [["history", "nothing"], ["interaction", "nothing"]], ids=" ".join
)
def test_a_missing_record_is_told(cli: CommandLine, saved: str, command: list[str]) -> None:
    answer = cli(*command, *cli.owner)
    assert (answer.code, answer.out) == (NOT_FOUND, "")
    assert answer.err.count("\n") == 1
    assert "'nothing' does not exist" in answer.err


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["recall", ""], "latest_msg"),
        (["recall", "x", "--limit", "0"], "limit"),
        (["recall", "x", "--limit", "1001"], "limit"),
        (["recall", "x", "--as-of", "yesterday"], "--as-of"),
        (["recall", "x", "--min-similarity", "1.5"], "min_similarity"),
        (["memories", "--skip", "-1"], "skip"),
        (["memories", "--limit", "0"], "limit"),
        (["interaction", "--limit", "1001"], "limit"),
        (["jobs", "--status", "lost"], "statuses"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_invalid_input_names_field_and_range(
    cli: CommandLine, saved: str, arguments: list[str], field: str
) -> None:
    answer = cli(*arguments, *cli.owner)
    assert (answer.code, answer.out) == (INVALID, "")
    assert answer.err.startswith(f"memora: {field}: must be ")
    assert answer.err.count("\n") == 1


def test_an_unknown_setting_is_invalid(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORA_PAHT", "/somewhere")
    answer = cli("doctor")
    assert answer.code == INVALID
    assert answer.err.startswith("memora: MEMORA_PAHT: must be one of ")


def test_a_missing_key_stops_only_what_asks_a_model(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORA_MEMORY_SEARCH_MODEL", "openai:some-model")
    assert cli("doctor", "--path", str(cli.path)).code == 0
    answer = cli("recall", "peanuts", *cli.owner)
    assert answer.code == INVALID
    assert "OPENAI_API_KEY" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["recall"], ["recall", "x", "--nonsense"], ["jobs", "resume"]],
    ids=" ".join,
)
def test_wrong_usage_is_invalid(cli: CommandLine, saved: str, arguments: list[str]) -> None:
    answer = cli(*arguments, *(cli.owner[:2] if arguments[0] == "jobs" else ()))
    assert (answer.code, answer.out) == (INVALID, "")
    assert "Usage: memora" in answer.err


def test_a_store_that_another_process_has_is_refused_with_its_pid(
    cli: CommandLine, opened: Memora
) -> None:
    done = memora("doctor", "--path", str(cli.path), "--json")
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "")
    assert done.stderr == (
        f"memora: {cli.path}: the store is in use by process {os.getpid()}; close it there first\n"
    )


def test_a_store_of_another_embedder_is_refused(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORA_EMBEDDER", "wordllama")
    answer = cli("recall", "x", *cli.owner)
    assert (answer.code, answer.out) == (UNAVAILABLE, "")
    assert "hashing/256" in answer.err


def test_a_file_where_a_directory_should_be_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a store")
    for command in ("doctor", "demo"):
        done = memora(command, "--path", str(file))
        assert (done.returncode, done.stdout) == (INVALID, "")
    assert file.read_text() == "not a store"


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "graph.sqlite3").write_bytes(b"certainly not a database" * 100)
    done = memora("doctor", "--path", str(tmp_path))
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "")
    assert "found a file that is not a database" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unreachable_server_is_told_without_its_password(cli: CommandLine) -> None:
    done = memora(
        "doctor",
        MEMORA_GRAPH_URL="bolt://127.0.0.1:1",
        MEMORA_GRAPH_PASSWORD="very-secret-password",
    )
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "")
    assert done.stderr.startswith("memora: neo4j: ")
    assert done.stderr.count("\n") == 1
    assert "very-secret-password" not in done.stderr


def broken(text: str) -> object:
    async def doctor(_self: AsyncMemora) -> None:
        raise ZeroDivisionError(text)

    return doctor


def test_a_defect_is_one_line_without_what_was_stored(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncMemora, "doctor", broken("I am allergic to peanuts"))
    answer = cli("doctor", "--path", str(cli.path))
    assert (answer.code, answer.out) == (DEFECT, "")
    assert answer.err == "memora: unexpected ZeroDivisionError; `memora --debug ...` shows where\n"


def test_debug_shows_where(cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AsyncMemora, "doctor", broken("the reason"))
    answer = cli("--debug", "doctor", "--path", str(cli.path))
    assert answer.code == DEFECT
    assert "Traceback" in answer.err
    assert "ZeroDivisionError: the reason" in answer.err


def test_an_error_of_several_lines_stays_on_one(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def doctor(_self: AsyncMemora) -> None:
        raise MemoraError("first\nsecond \x1b[31m")

    monkeypatch.setattr(AsyncMemora, "doctor", doctor)
    assert cli("doctor", "--path", str(cli.path)).err == "memora: first second \\x1b[31m\n"


def test_a_reader_that_goes_away_is_no_error(cli: CommandLine, saved: str) -> None:
    command = [sys.executable, "-m", "memora", "memories", *cli.owner]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_system_error_names_the_file(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def doctor(_self: AsyncMemora) -> None:
        raise PermissionError(13, "Permission denied", "/the/file")

    monkeypatch.setattr(AsyncMemora, "doctor", doctor)
    answer = cli("doctor", "--path", str(cli.path))
    assert answer.code == UNAVAILABLE
    assert answer.err == "memora: /the/file: Permission denied\n"
