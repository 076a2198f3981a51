"""export, import, backup and restore, as an operator types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memora.schema.transfer import VERSION
from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def other(cli: CommandLine, own: str) -> tuple[str, str]:
    """Options for a store that does not exist yet."""
    return ("--path", str(cli.path.parent / "other"))


def statements(cli: CommandLine, path: str) -> list[str]:
    """Return what the user's memories say."""
    found = cli("memories", "--path", path, "--org", "acme", "--user", "jake", "--json").json
    return sorted(memory["memory"] for memory in found["memories"])


def test_a_store_is_moved_by_a_file(
    cli: CommandLine, own: str, other: tuple[str, str], tmp_path: Path
) -> None:
    store, file = ("--path", str(cli.path)), str(tmp_path / "all.jsonl")
    told = cli("export", file, *store)
    assert (told.code, told.err) == (0, "")
    assert f"written to {file}" in " ".join(told.out.split())
    again = cli("export", str(tmp_path / "again.jsonl"), *store, "--json").json
    lines = (tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    assert sum(again["records"].values()) == len(lines) - 2
    assert json.loads(lines[0]) == {"format": "memora-export", "kind": "header", "version": VERSION}
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()

    brought = cli("import", file, *other)
    assert brought.code == 0, brought.err
    assert statements(cli, other[1]) == statements(cli, str(cli.path))
    assert cli("doctor", *other).code == 0
    again = " ".join(cli("import", file, *other).out.split())
    count = len(lines) - 2
    assert f"{count} records of {file} imported; {count} of them were there" in again
    assert cli("import", file, *other, "--json").json["resumed"] == len(lines) - 2


def test_one_organization_is_exported(cli: CommandLine, own: str, tmp_path: Path) -> None:
    report = cli("export", str(tmp_path / "x"), "--path", str(cli.path), "--org", "acme", "--json")
    assert report.json["records"]["organizations"] == 1
    nobody = cli("export", str(tmp_path / "y"), "--path", str(cli.path), "--org", "nobody")
    assert nobody.code == 3
    assert not (tmp_path / "y").exists()


def test_an_import_that_is_refused_says_where(
    cli: CommandLine, own: str, other: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "x"
    cli("export", str(file), "--path", str(cli.path))
    text = file.read_text("utf-8")
    file.write_text(text.replace('"importance":0.5', '"importance":7', 1), "utf-8")
    answer = cli("import", str(file), *other)
    assert answer.code == 2
    assert "importance: must be a number from 0 to 1, got 7" in answer.err
    assert "peanuts" not in answer.err
    file.write_text(text.replace(f'"version":{VERSION}', f'"version":{VERSION + 1}', 1), "utf-8")
    assert cli("import", str(file), *other).code == 4
    file.write_text(text.replace('"Jake"', '"James"'), "utf-8")
    conflict = cli("import", str(file), "--path", str(cli.path))
    assert conflict.code == 1


OLDER = '{"format": "memora-export", "kind": "header", "version": 1}'


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("import", None, 2),
        ("import", '[{"messages": []}]', 2),
        ("import", f'{OLDER}\n{{"kind": "organization"}}\n', 2),
        ("restore", None, 2),
        ("restore", '{"version": 1}', 4),
    ],
)
def test_what_cannot_be_read_leaves_no_store(
    cli: CommandLine, tmp_path: Path, command: str, text: str | None, code: int
) -> None:
    source = tmp_path / "source"
    if text is not None and command == "import":
        source.write_text(text, "utf-8")
    elif text is not None:
        source.mkdir()
        (source / "manifest.json").write_text(text, "utf-8")
    answer = cli(command, str(source), "--path", str(cli.path))
    assert (answer.code, answer.out) == (code, "")
    assert answer.err
    assert not cli.path.exists()


def test_a_file_that_is_not_there_is_wrong_usage_also_beside_a_store(
    cli: CommandLine, own: str, tmp_path: Path
) -> None:
    for command in ("import", "restore", "seed"):
        assert cli(command, str(tmp_path / "none"), "--path", str(cli.path)).code == 2


def test_a_backup_is_restored_into_a_new_store(
    cli: CommandLine, own: str, other: tuple[str, str], tmp_path: Path
) -> None:
    told = cli("backup", str(tmp_path / "backup"), "--path", str(cli.path))
    assert told.code == 0, told.err
    assert "native backup" in told.out
    again = cli("backup", str(tmp_path / "backup"), "--path", str(cli.path))
    assert again.code == 4
    assert "a new or empty directory" in again.err
    files = cli("backup", str(tmp_path / "second"), "--path", str(cli.path), "--json").json["files"]
    assert [file["name"] for file in files] == ["graph.sqlite3", "vectors.sqlite3"]

    restored = cli("restore", str(tmp_path / "backup"), *other)
    assert restored.code == 0, restored.err
    assert "nothing found" in restored.out
    assert statements(cli, other[1]) == statements(cli, str(cli.path))
    full = cli("restore", str(tmp_path / "backup"), *other)
    assert full.code == 1
    assert "an empty store" in full.err


def test_looking_at_a_backup_leaves_it_as_it_is(
    cli: CommandLine, own: str, other: tuple[str, str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "backup")
    cli("backup", folder, "--path", str(cli.path))
    for command in (["doctor"], ["add", "Keeps bees"], ["export", str(tmp_path / "x")]):
        answer = cli(*command, "--path", folder)
        assert answer.code == 2
        assert f"memora restore {folder} --path DIR" in answer.err
    assert cli("restore", folder, *other).code == 0
    assert cli("doctor", *other).code == 0


def test_a_damaged_backup_is_refused(
    cli: CommandLine, own: str, other: tuple[str, str], tmp_path: Path
) -> None:
    cli("backup", str(tmp_path / "backup"), "--path", str(cli.path))
    with (tmp_path / "backup" / "graph.sqlite3").open("ab") as file:
        file.write(b"x")
    answer = cli("restore", str(tmp_path / "backup"), *other)
    assert answer.code == 4
    assert "it is not as it was written" in answer.err
    answer = cli("restore", str(tmp_path / "backup"), *other, "--json")
    assert (answer.code, answer.out) == (4, "")


def test_a_restore_as_json(
    cli: CommandLine, own: str, other: tuple[str, str], tmp_path: Path
) -> None:
    cli("backup", str(tmp_path / "backup"), "--path", str(cli.path))
    told = cli("restore", str(tmp_path / "backup"), *other, "--json").json
    assert (told["clean"], told["kind"], told["findings"]) == (True, "native", [])


@pytest.mark.parametrize("command", ["export", "import", "backup", "restore"])
def test_a_store_in_use_names_its_owner(
    cli: CommandLine, opened: Memora, tmp_path: Path, command: str
) -> None:
    if command == "import":
        (tmp_path / "x").touch()
    if command == "restore":
        (tmp_path / "x").mkdir()
    answer = cli(command, str(tmp_path / "x"), "--path", str(cli.path))
    assert answer.code == 4
    assert "in use by process" in answer.err


@pytest.mark.parametrize("command", ["export", "backup"])
def test_what_is_not_there_is_not_created(cli: CommandLine, tmp_path: Path, command: str) -> None:
    answer = cli(command, str(tmp_path / "x"), "--path", str(cli.path))
    assert answer.code == 3
    assert not cli.path.exists()
