"""Single memories and their care, from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

pytestmark = pytest.mark.timeout(60)


def listed(cli: CommandLine) -> list[str]:
    memories = cli("memories", *cli.owner, "--json").json["memories"]
    return [memory["memory"] for memory in memories]


def test_a_memory_is_added_to_a_store_that_is_not_there_yet(cli: CommandLine) -> None:
    options = ("--type", "rule", "--tag", "sql", "--tag", "style", "--importance", "0.8", "--pin")
    more = ("--metadata", '{"lang": "sql"}', "--obtained-at", "2025-05-01T10:00+00:00")
    text = "Use table aliases"
    added = cli("add", text, *options, *more, "--json", *cli.owner).json
    assert (added["status"], added["summary"], added["superseded_ids"]) == ("created", text, [])
    again = cli("add", text, *cli.owner)
    assert again.code == 0
    assert f"duplicate: {added['id']}" in again.out
    [memory] = cli("memories", *cli.owner, "--json").json["memories"]
    expected = {
        "memory_id": added["id"],
        "memory_type": "rule",
        "tags": ["sql", "style"],
        "importance": 0.8,
        "pinned": True,
        "metadata": {"lang": "sql"},
        "obtained_at": "2025-05-01T10:00:00Z",
    }
    assert {name: memory[name] for name in expected} == expected


def test_a_memory_is_updated_and_deleted(cli: CommandLine, own: str) -> None:
    added = cli("add", "I like tea", "--json", *cli.owner).json
    shown = cli(
        "update", added["id"], "I like coffee", "--author", "ops", "--json", *cli.owner
    ).json
    assert (shown["memory"], shown["author"]) == ("I like coffee", "ops")
    assert "I like coffee" in cli("update", added["id"], "I like coffee", *cli.owner).out
    gone = cli("delete", shown["memory_id"], "--json", *cli.owner)
    assert (gone.code, gone.json["status"], gone.json["deleted"]) == (0, "deleted", True)
    assert "I like coffee" not in listed(cli)
    again = cli("delete", shown["memory_id"], *cli.owner)
    assert (again.code, again.out.strip()) == (1, "not found")
    assert cli("update", shown["memory_id"], "x", *cli.owner).code == 3


def test_memories_are_searched_with_filters(cli: CommandLine, own: str) -> None:
    for year in (2019, 2021):
        metadata = json.dumps({"year": year})
        cli("add", f"Trip of {year}", "--metadata", metadata, "--tag", "trip", *cli.owner)

    def found(*arguments: str) -> list[str]:
        answer = cli("search", "trip", "dog", *arguments, "--json", *cli.owner).json
        assert answer["queries"] == ["trip", "dog"]
        return sorted(memory["memory"] for memory in answer["memories"])

    assert {"Trip of 2019", "Trip of 2021", "My dog is called Rex."} <= set(found())
    assert found("--tag", "trip") == ["Trip of 2019", "Trip of 2021"]
    assert found("--where", '{"year": {"gte": 2020}}') == ["Trip of 2021"]
    assert found("--type", "rule") == []
    assert "Nothing found." in cli("search", "dog", "--type", "rule", *cli.owner).out
    assert "Rex" in cli("search", "dog", "--limit", "1", *cli.owner).out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("search", "x", "--where", "year"), "--where"),
        (("search", "x", "--where", "[1]"), "--where"),
        (("add", "x", "--metadata", "1"), "--metadata"),
        (("add", "x", "--expires-at", "soon"), "--expires-at"),
        (("add", " "), "content"),
        (("add", "x", "--importance", "2"), "importance"),
        (("sweep", "--user", "jake"), "--user needs --org"),
        (("health", "--sample", "5000"), "sample"),
    ],
)
def test_what_is_malformed_is_refused(
    cli: CommandLine, saved: str, arguments: tuple[str, ...], named: str
) -> None:
    owner = () if arguments[0] == "sweep" else cli.owner[2:]
    answer = cli(*arguments, "--path", str(cli.path), *owner)
    assert answer.code == 2
    assert named in answer.err


def test_health_is_told(cli: CommandLine, saved: str) -> None:
    document = cli("health", "--json", *cli.owner).json
    assert document["by_status"] == {"current": 3, "archived": 0, "expired": 0, "past": 0}
    assert (document["index_pending"], document["sampled"]) == (0, 3)
    organization = cli("health", "--path", str(cli.path), "--org", "acme")
    assert organization.code == 0
    for words in ("current", "3", "obtained from 2025-01-10", "0 changes wait"):
        assert words in organization.out
    assert cli("health", "--path", str(cli.path), "--org", "nobody").code == 3


def test_the_sweep_forgets(cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORA_ARCHIVE_AFTER_DAYS", "never")
    cli("add", "soon gone", "--expires-at", "2025-01-01", "--obtained-at", "2024-12-01", *cli.owner)
    path = ("--path", str(cli.path))

    def swept(*arguments: str) -> dict[str, Any]:
        return cli("sweep", *arguments, "--json", *path).json

    dry = swept("--dry-run")
    assert (dry["expired"], dry["archived"], dry["dry_run"]) == (1, 0, True)
    assert "1 expired memories would be removed" in cli("sweep", "--dry-run", *path).out
    assert swept("--org", "acme", "--user", "jake")["expired"] == 1
    assert "0 expired memories removed" in cli("sweep", *path).out
    monkeypatch.setenv("MEMORA_ARCHIVE_AFTER_DAYS", "30")
    assert swept()["archived"] == 3
    assert listed(cli) == []
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        assert memora.doctor().findings == ()
