"""Listing imports and taking one back, from the command line."""

from __future__ import annotations

import pytest

from memora import SeedData
from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def imported(cli: CommandLine, own: str) -> str:
    """Import a conversation into a store of the test's own; return the import's id."""
    given = [{"id": "old", "messages": [{"role": "user", "content": "I like rye."}]}]
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        data = SeedData.for_conversations("jake", given, org_id="acme", process_id="crm")
        return memora.seed(data).import_id


def test_imports_are_listed_and_one_is_taken_back(cli: CommandLine, imported: str) -> None:
    org = ("--path", str(cli.path), "--org", "acme")
    [run] = cli("imports", *org, "--json").json["imports"]
    assert (run["import_id"], run["status"], run["memories"]) == (imported, "done", 1)
    assert (run["conversations"], run["failed"], run["skipped"]) == (1, 0, 0)
    text = cli("imports", *org, "--user", "jake").out
    assert imported in text
    assert "from crm" in text
    assert "1 imports" in text
    trial = cli("imports", "undo", imported, *org, "--dry-run", "--json").json
    assert (trial["dry_run"], trial["done"]["memories"]) == (True, 1)
    assert "nothing was written" in cli("imports", "undo", imported, *org, "--dry-run").out
    done = cli("imports", "undo", imported, *org).out
    assert "1 conversations removed" in done
    assert cli("imports", "undo", imported, *org, "--json").json["done"]["memories"] == 0
    [run] = cli("imports", *org, "--json").json["imports"]
    assert run["status"] == "undone"
    assert cli("doctor", "--path", str(cli.path)).code == 0


def test_an_import_that_is_not_there_is_an_error(cli: CommandLine, saved: str) -> None:
    org = ("--path", str(cli.path), "--org", "acme")
    missing = cli("imports", "undo", "missing", *org)
    assert missing.code != 0
    assert "import 'missing' does not exist" in missing.err
    assert "0 imports" in cli("imports", *org).out
    assert cli("imports", *org, "--user", "nobody").code != 0
