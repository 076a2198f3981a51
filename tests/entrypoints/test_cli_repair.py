"""`memora doctor` and `memora reconcile` on stores that were damaged behind their back."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from memora.cli.boundary import NEGATIVE
from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

# Each opens stores several times, and the machine may be busy.
pytestmark = pytest.mark.timeout(60)


def harm(cli: CommandLine, *statements: str, file: str = "graph.sqlite3") -> None:
    with closing(sqlite3.connect(cli.path / file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_clean_store_has_nothing_to_repair(cli: CommandLine, own: str) -> None:
    answer = cli("reconcile", "--path", str(cli.path))
    assert (answer.code, answer.out) == (0, "nothing to repair\n")
    assert cli("reconcile", "--path", str(cli.path), "--json").json == {
        "clean": True,
        "applied": False,
        "repairs": [],
        "findings": [],
        "pending": 0,
        "complete": True,
    }


def test_it_plans_repairs_and_is_done(cli: CommandLine, own: str) -> None:
    harm(cli, "DELETE FROM agent")
    where = ("--path", str(cli.path))
    found = cli("doctor", *where)
    assert found.code == NEGATIVE
    assert "dangling_agent" in found.out
    planned = cli("reconcile", *where)
    assert planned.code == NEGATIVE
    assert "planned" in planned.out
    assert "1 findings; --apply repairs what can be repaired" in planned.out
    assert cli("doctor", *where).code == NEGATIVE
    applied = cli("reconcile", *where, "--apply")
    assert applied.code == 0
    assert "1 of 1 findings repaired" in applied.out
    assert cli("doctor", *where).code == 0


def test_json_names_kind_owner_and_outcome(cli: CommandLine, own: str) -> None:
    harm(cli, "UPDATE memory SET superseded_at = obtained_at - 1 WHERE text LIKE '%Oslo%'")
    [finding] = cli("doctor", "--path", str(cli.path), "--json").json["findings"]
    assert finding["kind"] == "clock_regression"
    assert (finding["org_id"], finding["user_id"]) == ("acme", "jake")
    done = cli("reconcile", "--path", str(cli.path), "--apply", "--json").json
    assert done["clean"]
    assert [(each["outcome"], each["finding"]) for each in done["repairs"]] == [
        ("repaired", finding)
    ]


def test_a_store_that_cannot_be_set_up_is_opened_for_repair(cli: CommandLine, own: str) -> None:
    harm(cli, "DROP TABLE outbox")
    assert cli("memories", *cli.owner).code not in (0, NEGATIVE)
    where = ("--path", str(cli.path))
    found = cli("doctor", *where)
    assert found.code == NEGATIVE
    assert "not everything could be checked" in found.out
    assert "not everything could be checked" in cli("reconcile", *where).out
    assert cli("reconcile", *where, "--apply").code == 0
    assert cli("memories", *cli.owner).code == 0


def test_what_is_lost_leaves_the_exit_code_at_one(cli: CommandLine, own: str) -> None:
    harm(cli, "DELETE FROM message WHERE position = 1")
    where = ("--path", str(cli.path))
    answer = cli("reconcile", *where, "--apply", "--json")
    assert answer.code == NEGATIVE
    assert {each["kind"] for each in answer.json["findings"]} == {"damaged_transcript"}
    assert "not_repaired" in cli("reconcile", *where, "--apply").out


def test_it_can_be_called_without_a_loop(cli: CommandLine, own: str) -> None:
    harm(cli, "UPDATE vector SET text_hash = 'x'", file="vectors/vectors.sqlite3")
    calls: list[tuple[int, int]] = []
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        assert len(memora.reconcile().repairs) == 3
        done = memora.reconcile(apply=True, on_progress=lambda *told: calls.append(told))
        assert done.clean
        assert calls == [(3, 3)]
