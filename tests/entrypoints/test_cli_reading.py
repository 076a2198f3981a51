"""Commands that show what is remembered: text for people, JSON for programs."""

from __future__ import annotations

import pytest

from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

# Many stores are opened, each with disk flushes.
pytestmark = pytest.mark.timeout(60)

TEXTS = ["I moved to Oslo.", "I am allergic to peanuts.", "My dog is called Rex."]


def corrected(cli: CommandLine) -> str:
    """Give a statement a second version; return the id of the first one."""
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        [dog] = [
            memory
            for memory in memora.graph.get_all_user_memories("acme", "jake")
            if "Rex" in memory.memory
        ]
        memora.update_memory("acme", "jake", dog.memory_id, "My dog is called Max.", author="jake")
    return dog.memory_id


def test_recall_shows_score_time_text_and_source(cli: CommandLine, saved: str) -> None:
    answer = cli("recall", "peanuts", *cli.owner)
    assert answer.code == 0
    line = next(line for line in answer.out.splitlines() if "peanuts" in line)
    assert line.split()[:3] == ["1.000", "2025-01-10", "09:00"]
    assert f"from {saved} #0 · id " in answer.out
    assert "dense" not in answer.out


def test_recall_explains_its_scores(cli: CommandLine, saved: str) -> None:
    text = cli("recall", "peanuts", *cli.owner, "--explain").out
    assert "dense " in text
    assert "lexical " in text
    document = cli("recall", "peanuts", *cli.owner, "--explain", "--json").json
    assert {"dense", "lexical"} <= document["memories"][0]["score_parts"].keys()


def test_recall_prints_one_document(cli: CommandLine, saved: str) -> None:
    document = cli("recall", "peanuts", *cli.owner, "--limit", "1", "--json").json
    [memory] = document.pop("memories")
    assert document == {"org_id": "acme", "user_id": "jake", "message": "peanuts"}
    assert memory["memory"] == "I am allergic to peanuts."
    assert memory["obtained_at"] == "2025-01-10T09:00:00Z"
    assert memory["score"] == 1.0
    assert "score_parts" not in memory
    assert [source["msg_position"] for source in memory["message_sources"]] == [0]


def test_recall_passes_its_filters_on(cli: CommandLine, saved: str) -> None:
    def texts(*options: str) -> list[str]:
        answer = cli("recall", "peanuts dog Oslo", *cli.owner, *options, "--json")
        return sorted(memory["memory"] for memory in answer.json["memories"])

    assert texts() == sorted(TEXTS)
    assert texts("--agent", "helper") == sorted(TEXTS[1:])
    assert texts("--as-of", "2025-02-01T00:00+00:00") == sorted(TEXTS[1:])
    assert texts("--type", "rule", "--type", "plan") == []
    assert texts("--type", "other") == sorted(TEXTS)
    assert texts("--tag", "family") == []
    assert texts("--limit", "2", "--min-similarity", "0") != []


def test_recall_that_finds_nothing_is_no_failure(cli: CommandLine, saved: str) -> None:
    answer = cli("recall", "peanuts", *cli.owner, "--tag", "family")
    assert (answer.code, answer.err) == (0, "")
    assert "Nothing" in answer.out


def test_memories_are_listed_newest_first(cli: CommandLine, saved: str) -> None:
    listed = [memory["memory"] for memory in cli("memories", *cli.owner, "--json").json["memories"]]
    assert listed[0] == "I moved to Oslo."
    assert sorted(listed) == sorted(TEXTS)
    text = cli("memories", *cli.owner).out
    assert all(memory in text for memory in TEXTS)
    assert "3 current memories" in text


def test_memories_come_in_pages(cli: CommandLine, saved: str) -> None:
    text = cli("memories", *cli.owner, "--limit", "2").out
    assert "--skip 2 shows more" in text
    [last] = cli("memories", *cli.owner, "--skip", "2", "--json").json["memories"]
    assert last["memory"] not in text
    agents = cli("memories", *cli.owner, "--agent", "helper", "--json").json["memories"]
    assert len(agents) == 2


def test_history_shows_all_versions_from_any_of_them(cli: CommandLine, own: str) -> None:
    first = corrected(cli)
    versions = cli("history", first, *cli.owner, "--json").json["versions"]
    assert [version["memory"] for version in versions] == [
        "My dog is called Max.",
        "My dog is called Rex.",
    ]
    assert versions[0]["author"] == "jake"
    assert versions[1]["superseded_by"] == versions[0]["memory_id"]
    text = cli("history", versions[0]["memory_id"], *cli.owner).out
    assert text.index("Max") < text.index("from jake") < text.index("Rex") < text.index(own)


def test_an_interaction_is_found_by_both_ids(cli: CommandLine, saved: str) -> None:
    by_id = cli("interaction", saved, *cli.owner, "--json")
    assert by_id.json == cli("interaction", "chat-1", *cli.owner, "--json").json
    document = by_id.json
    assert [m["content"] for m in document["messages"]] == [TEXTS[1], "Noted.", TEXTS[2]]
    assert sorted(m["memory"] for m in document["memories"]) == sorted(TEXTS[1:])
    text = cli("interaction", "chat-1", *cli.owner).out
    assert text.startswith(f"First chat · {saved} · chat-1 · revision 1\n")
    assert all(message in text for message in [TEXTS[1], "Noted.", TEXTS[2]])


def test_interactions_are_listed_without_an_id(cli: CommandLine, saved: str) -> None:
    listed = cli("interaction", *cli.owner, "--json").json["interactions"]
    assert [(item["title"], item["message_count"]) for item in listed] == [
        (None, 1),
        ("First chat", 3),
    ]
    assert "messages" not in listed[0]
    assert "First chat" in cli("interaction", *cli.owner).out


def test_stored_text_does_not_steer_the_terminal(cli: CommandLine, own: str) -> None:
    hostile = "Call me \x1b[31mred\x1b]0;title\x07 \u202etxet [bold]loud[/bold] :smile:\tend"
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        memora.save_or_update_interaction_and_memories(
            "acme",
            "jake",
            interaction=[{"role": "user", "content": hostile}],
            external_id="hostile",
        )
    for answer in (
        cli("recall", "loud", *cli.owner, "--limit", "1"),
        cli("memories", *cli.owner),
        cli("interaction", "hostile", *cli.owner),
    ):
        assert not {"\x1b", "\x07", "\u202e", "\t"} & set(answer.out)
        assert "Call me \\x1b[31mred" in answer.out
        assert "[bold]loud[/bold] :smile: end" in answer.out
    [memory] = cli("recall", "loud", *cli.owner, "--limit", "1", "--json").json["memories"]
    assert memory["memory"] == hostile
