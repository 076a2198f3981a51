"""Every example runs as a script in a process of its own, with warnings as errors."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT
from tests.docs.player import Player, lines_of
from tests.docs.provider import REPLY

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.timeout(60)


async def run(name: str, *arguments: str, typed: str = "", directory: Path) -> str:
    """Run an example and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        str(EXAMPLES / name),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    printed, complaints = await process.communicate(typed.encode())
    assert process.returncode == 0, complaints.decode()
    assert complaints == b""
    return printed.decode()


async def test_quickstart(tmp_path: Path) -> None:
    assert (await run("quickstart.py", directory=tmp_path)).splitlines() == [
        "When is the baby due? -> My wife Sarah and I expect a baby in December. (04 May 2026)",
        "What shall we call the baby girl? -> We want to call her Nora. (20 June 2026)",
        " current: Jake's baby is due in January.",
        "    past: My wife Sarah and I expect a baby in December.",
        "the store is clean",
    ]


async def test_backfill(tmp_path: Path) -> None:
    assert (await run("backfill.py", directory=tmp_path)).splitlines() == [
        "first run:  {'created': 4}",
        "second run: {'duplicate': 4}",
        "My sister Ana visits me in May. (07 April 2024, from backfill:chat-2:3)",
        "taken back: 4 memories",
    ]


async def test_seed_history(tmp_path: Path) -> None:
    printed = (await run("seed_history.py", directory=tmp_path)).splitlines()
    assert [
        line.split()[-1] for line in printed if line[0].isdigit() and "conversation" in line
    ] == [
        *["created"] * 3,
        *["unchanged"] * 3,
    ]
    assert printed[3] == "3 of 3, 3 new memories"
    assert printed[7:] == ["3 of 3, 0 new memories", "2024-03-01: I am allergic to peanuts."]


async def test_personal_assistant_remembers_in_the_next_run(tmp_path: Path) -> None:
    first = await run(
        "personal_assistant.py", typed="I have a dog called Otto.\nquit()\n", directory=tmp_path
    )
    assert "memora-recall" not in first
    assert re.search(r"Saved as interaction \w{22}$", first.strip())

    second = await run(
        "personal_assistant.py",
        typed="Who is Otto, my dog?\nWhat did I say about Otto, my dog?\n",
        directory=tmp_path,
    )
    assert second.count("- I have a dog called Otto.") == 1, "recalled once, then in the prompt"


async def test_recall_as_a_tool(tmp_path: Path) -> None:
    printed = await run("tool_call_recall.py", directory=tmp_path)
    with_tool, plainly = printed.split("Plainly:")
    for answer in (with_tool, plainly):
        assert "- My sister Ana is a marine biologist. (" in answer


async def test_own_backend(tmp_path: Path) -> None:
    printed = await run("own_backend.py", directory=tmp_path)
    assert printed == "jake said: I play the cello in an orchestra.\n"


def loaded(name: str) -> dict[str, Any]:
    """Return the names of an example, in this process: its providers and servers are played."""
    names: dict[str, Any] = {"__name__": "example"}
    file = EXAMPLES / name
    exec(compile(file.read_text("utf-8"), str(file), "exec"), names)
    return names


async def test_personal_assistant_with_a_key(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines_of(monkeypatch, "I have a dog called Otto.", "quit()")
    await loaded("personal_assistant.py")["main"](str(player.directory / "assistant"))
    printed = capsys.readouterr().out
    assert f"Assistant: {REPLY}" in printed
    assert "Saved as interaction" in printed


@pytest.mark.usefixtures("player")
async def test_recall_as_a_tool_with_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    """The provider plays a model that calls the tool, and one that answers without it."""
    await loaded("tool_call_recall.py")["main"]()
    with_tool, plainly = capsys.readouterr().out.split("Plainly:")
    assert "- My sister Ana is a marine biologist. (" in with_tool
    assert plainly.strip() == REPLY


@pytest.mark.neo4j
@pytest.mark.usefixtures("player", "live_neo4j")
async def test_neo4j_qdrant(capsys: pytest.CaptureFixture[str]) -> None:
    await loaded("neo4j_qdrant.py")["main"]()
    assert capsys.readouterr().out.splitlines() == [
        "I keep bees on the roof.",
        "deleted 1 memories",
    ]


def test_every_example_is_tested_and_listed() -> None:
    named = {file.name for file in EXAMPLES.glob("*.py")}
    listed = set(re.findall(r"`(\w+\.py)`", (EXAMPLES / "README.md").read_text("utf-8")))
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text("utf-8")))
    assert named == listed == tested
