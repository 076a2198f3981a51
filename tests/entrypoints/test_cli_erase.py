"""`memora erase`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from memora.cli.commands import erase as command
from memora.cli.main import app
from memora.errors import VectorDBConnectionError
from memora.sync import Memora
from memora.vector_db.embedded import EmbeddedVectorDB
from tests.entrypoints.conftest import CommandLine

pytestmark = pytest.mark.timeout(60)


def test_b83_a_user_is_erased_with_a_receipt(cli: CommandLine, own: str, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    done = cli("erase", *cli.owner, "--yes", "--receipt", str(file), "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["complete"]
    assert done.json["graph"]["erased"]["messages"] == 4
    assert json.loads(file.read_text("utf-8")) == done.json
    assert "jake" not in file.read_text("utf-8")
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        assert memora.graph.get_all_org_users("acme") == []
        assert memora.doctor().clean
    # Again is harmless, and an earlier receipt is not overwritten.
    again = cli("erase", *cli.owner, "--yes", "--receipt", str(file))
    assert again.code == 2
    assert "exists" in again.err
    again = cli("erase", *cli.owner, "--yes")
    assert (again.code, again.out.strip()) == (0, "There was nothing to erase.")


def test_b83_an_organization_is_erased(cli: CommandLine, own: str) -> None:
    done = cli("erase", "--path", str(cli.path), "--org", "acme", "--yes")
    assert done.code == 0
    assert "1 organizations" in done.out
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        assert memora.graph.get_all_organizations() == []


def test_nothing_is_erased_without_a_yes(
    cli: CommandLine, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "receipt.json"
    refused = cli("erase", *cli.owner, "--receipt", str(file))
    assert refused.code == 2
    assert "--yes" in refused.err
    monkeypatch.setattr(command, "is_terminal", lambda: True)
    asked = CliRunner().invoke(app, ["erase", *cli.owner], input="n\n", prog_name="memora")
    assert asked.exit_code == 1
    assert "Erase user 'jake' for good?" in asked.output
    assert not file.exists()
    assert cli("memories", *cli.owner, "--json").json["memories"]
    agreed = CliRunner().invoke(app, ["erase", *cli.owner], input="y\n", prog_name="memora")
    assert agreed.exit_code == 0
    assert cli("memories", *cli.owner).code == 3


def test_b83_what_is_left_to_do_is_said(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(_self: object, _org_id: str, _user_id: str) -> None:
        raise VectorDBConnectionError("embedded", "down")

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedVectorDB, "remove_user", down)
        first = cli("erase", *cli.owner, "--yes", "--json")
    assert first.code == 1
    assert "not complete" in first.err
    assert (first.json["graph"]["left"]["users"], first.json["complete"]) == (0, False)
    second = cli("erase", *cli.owner, "--yes", "--json")
    assert (second.code, second.json["complete"]) == (0, True)


def test_a_receipt_that_cannot_be_written_stops_the_erasure(
    cli: CommandLine, own: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing" / "receipt.json"
    stopped = cli("erase", *cli.owner, "--yes", "--receipt", str(missing))
    assert stopped.code == 4
    assert str(missing) in stopped.err
    assert cli("memories", *cli.owner, "--json").json["memories"]


def test_a_receipt_is_taken_back_when_nothing_was_erased(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    assert cli("erase", *cli.owner, "--yes", "--receipt", str(file)).code == 3
    assert not file.exists()
