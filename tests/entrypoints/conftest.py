"""Stores for the command line, and the command line in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from memora.cli.main import app
from memora.sync import Memora

JANUARY = datetime(2025, 1, 10, 9, tzinfo=UTC)
MARCH = datetime(2025, 3, 10, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only document on standard output."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def owner(self) -> tuple[str, ...]:
        """Options that name store, organization and user."""
        return ("--path", str(self.path), "--org", "acme", "--user", "jake")

    def __call__(self, *arguments: str) -> Answer:
        result = CliRunner().invoke(app, list(arguments), prog_name="memora")
        return Answer(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(autouse=True)
def quick_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands use the embedder of the test stores."""
    monkeypatch.setenv("MEMORA_EMBEDDER", "hashing")


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command line beside a store that does not exist yet."""
    return CommandLine(tmp_path / "store")


@pytest.fixture
def opened(cli: CommandLine) -> Iterator[Memora]:
    """The store, open in this process: commands are locked out."""
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        yield memora


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A closed store with two conversations of one user, and the id of the first one."""
    path = tmp_path_factory.mktemp("template") / "store"
    with Memora.embedded(path, embedder="hashing") as memora:
        memora.graph.create_organization("Acme", org_id="acme")
        memora.graph.create_user("acme", "Jake", user_id="jake")
        memora.graph.create_agent("acme", "Helper", agent_id="helper")
        first, _at = memora.save_or_update_interaction_and_memories(
            "acme",
            "jake",
            "helper",
            [
                {"role": "user", "content": "I am allergic to peanuts."},
                {"role": "assistant", "content": "Noted."},
                {"role": "user", "content": "My dog is called Rex."},
            ],
            current_datetime=JANUARY,
            external_id="chat-1",
            title="First chat",
        )
        memora.save_or_update_interaction_and_memories(
            "acme",
            "jake",
            interaction=[{"role": "user", "content": "I moved to Oslo."}],
            current_datetime=MARCH,
        )
    return path, first


@pytest.fixture
def saved(cli: CommandLine, template: tuple[Path, str]) -> str:
    """Lets the command line read the store that all tests share; the id of its first chat."""
    cli.path, first = template
    return first


@pytest.fixture
def own(cli: CommandLine, template: tuple[Path, str]) -> str:
    """As `saved`, with a store that the test may change."""
    path, first = template
    # The engine's shard is large and sparse; it is made again from the rows beside it.
    shutil.copytree(path, cli.path, ignore=lambda _folder, names: {"segments", "wal"} & set(names))
    return first
