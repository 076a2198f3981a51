"""Finding and taking back what one source brought in, from the command line."""

from __future__ import annotations

import pytest

from memora.sync import Memora
from tests.entrypoints.conftest import CommandLine

pytestmark = pytest.mark.timeout(60)

NAMES = ("I am allergic to peanuts.", "My dog is called Rex.")


def listed(cli: CommandLine, *arguments: str) -> list[str]:
    memories = cli("memories", *arguments, *cli.owner, "--json").json["memories"]
    return [memory["memory"] for memory in memories]


def test_memories_are_listed_by_their_source(cli: CommandLine, saved: str) -> None:
    for source in (f"interaction:{saved}", "interaction:chat-1", "agent:helper"):
        assert sorted(listed(cli, "--by-source", source)) == sorted(NAMES)
    assert listed(cli, "--by-source", "interaction:chat-1", "--limit", "1", "--skip", "1")
    assert listed(cli, "--by-source", "process:none") == []
    text = cli("memories", "--by-source", "agent:helper", *cli.owner).out
    assert "2 versions from agent:helper" in text


def test_a_source_is_taken_back(cli: CommandLine, own: str) -> None:
    source = ("--by-source", "interaction:chat-1")
    trial = cli("rollback", *source, "--dry-run", "--json", *cli.owner).json
    assert (trial["dry_run"], trial["source"]) == (True, f"interaction:{own}")
    assert len(trial["removed"]) == 2
    assert len(listed(cli)) == 3
    text = cli("rollback", *source, "--dry-run", *cli.owner).out
    assert "nothing was written" in text
    assert "2 versions would be removed" in text

    done = cli("rollback", *source, "--author", "ops", "--json", *cli.owner).json
    assert done["removed"] == trial["removed"]
    assert (done["dry_run"], done["author"], done["user_id"]) == (False, "ops", "jake")
    assert (done["restored"], done["unlinked"], done["cancelled_jobs"]) == ([], [], [])
    assert listed(cli) == ["I moved to Oslo."]
    again = cli("rollback", *source, *cli.owner)
    assert again.code == 0
    assert "0 versions removed" in again.out
    shown = cli("interaction", "chat-1", *cli.owner, "--json").json
    assert [message["content"] for message in shown["messages"]] == [NAMES[0], "Noted.", NAMES[1]]
    assert shown["memories"] == []
    assert cli("doctor", "--path", str(cli.path)).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("memories", "--by-source", "chat-1"),
        ("memories", "--by-source", "user:jake"),
        ("memories", "--by-source", "agent:helper", "--agent", "helper"),
        ("rollback", "--by-source", "chat-1"),
        ("rollback", "--by-source", "interaction:"),
        ("rollback",),
    ],
)
def test_what_names_no_source_is_refused(
    cli: CommandLine, saved: str, arguments: tuple[str, ...]
) -> None:
    answer = cli(*arguments, *cli.owner)
    assert answer.code == 2
    assert "--by-source" in answer.err


def test_the_history_says_who_superseded_what(cli: CommandLine, own: str) -> None:
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        memories = memora.graph.get_all_user_memories("acme", "jake")
        (dog,) = [memory for memory in memories if "dog" in memory.memory]
        memora.update_memory("acme", "jake", dog.memory_id, "My dog is called Max.")
    text = cli("history", dog.memory_id, *cli.owner).out
    assert "from api · trusted as api · agent helper" in text
    assert f"from {own} #2 · trusted as user · agent helper" in text
