"""What people read before they run something."""

from __future__ import annotations

import pytest
import typer.main

from memora import __version__
from memora.cli import boundary
from memora.cli.main import app
from tests.entrypoints.conftest import CommandLine


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def walk(command: object, path: tuple[str, ...]) -> None:
        found.append(path)
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()


def test_these_are_the_commands() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "",
        "demo",
        "seed",
        "recall",
        "memories",
        "history",
        "entities",
        "interaction",
        "add",
        "update",
        "delete",
        "search",
        "health",
        "sweep",
        "rollback",
        "jobs",
        "jobs resume",
        "imports",
        "imports undo",
        "outbox",
        "outbox drain",
        "outbox retry",
        "erase",
        "doctor",
        "reconcile",
        "reindex",
        "export",
        "import",
        "backup",
        "restore",
        "new-key",
        "rotate-key",
    }


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_every_command_explains_itself(cli: CommandLine, path: tuple[str, ...]) -> None:
    text = " ".join(cli(*path, "--help").out.split())
    assert f"Usage: memora {' '.join(path)} " in text
    assert f"Example: memora {path[0]}" in text
    # A key belongs to no store yet, and is printed as it is.
    assert ("--path" in text, "--json" in text) == ((path != ("new-key",),) * 2)


def test_the_root_explains_exit_codes_and_where_to_start(cli: CommandLine) -> None:
    answer = cli("--help")
    text = " ".join(answer.out.split())
    assert answer.code == 0
    for code in range(1, 5):
        assert f"{code} " in text
    for line in boundary.EXIT_CODES.split("\n\n"):
        assert line in text
    assert "Start with: memora demo" in text
    assert "MEMORA_" in text


def test_nothing_is_help(cli: CommandLine) -> None:
    answer = cli()
    assert "Usage: memora" in answer.out + answer.err


def test_the_version_is_told(cli: CommandLine) -> None:
    assert cli("--version").out == f"memora {__version__}\n"
