"""`memora demo`: the first minute with memora."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memora.agent.main import Memora as AsyncMemora
from memora.cli.boundary import NEGATIVE, UNAVAILABLE
from memora.cli.sample import load
from memora.errors import GraphDBConnectionError
from memora.sync import Memora
from tests.entrypoints.conftest import Answer, CommandLine

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, quick_embedder: None) -> None:
    """The demo and what follows it run as on a fresh machine."""
    monkeypatch.delenv("MEMORA_EMBEDDER")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A store on which the demo was played."""
    path = tmp_path_factory.mktemp("demo") / "store"
    return path, CommandLine(path)("demo", "--path", str(path), "--json")


def test_the_sample_is_large_enough_and_lies_in_the_past() -> None:
    sample = load()
    messages = [message for session in sample.sessions for message in session.messages]
    assert len(messages) >= 60
    assert len({session.at.date() for session in sample.sessions}) >= 5
    times = [session.at for session in sample.sessions]
    assert times == sorted(times)
    assert max(*times, sample.append.at, sample.edit.at) < datetime(2025, 1, 1, tzinfo=UTC)
    assert len(sample.questions) >= 5
    for session in sample.sessions:
        roles = [message["role"] for message in session.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2), session.id


def test_it_saves_changes_recalls_and_corrects(played: tuple[Path, Answer]) -> None:
    path, answer = played
    sample = load()
    assert answer.code == 0
    report = answer.json
    assert (report["store"], report["seen_before"]) == (str(path), False)
    assert len(report["sessions"]) == len(sample.sessions)
    appended = len(sample.session(sample.append.session).messages) + len(sample.append.messages)
    assert report["appended"]["messages"] == appended
    assert report["edited"]["messages"] == 4
    assert report["edited"]["cut"] == 4
    assert report["doctor"]["clean"]
    assert report["doctor"]["pending"] == 0


def test_every_answer_has_source_and_time(played: tuple[Path, Answer]) -> None:
    answers = {item["question"]: item["memories"] for item in played[1].json["questions"]}
    assert set(answers) == set(load().questions)
    expected = {
        "When is Ida's birthday?": "24 March",
        "Where do I live?": "we live in Antwerp now",
        "What am I allergic to?": "hazelnuts",
        "Do I drink coffee or tea?": "green tea",
        "When is my Portuguese lesson?": "Wednesday evenings at seven",
        "What is my dog called?": "Pebble",
    }
    for question, words in expected.items():
        [hit, *_] = [memory for memory in answers[question] if words in memory["memory"]]
        assert hit["obtained_at"].startswith("2024-")
        assert hit["message_sources"][0]["msg_position"] >= 0
        assert hit["score"] > 0.4


def test_it_shows_versions_and_travels_in_time(played: tuple[Path, Answer]) -> None:
    report = played[1].json
    assert [(v["author"], "24 March" in v["memory"]) for v in report["history"]] == [
        ("nora", True),
        ("address-book import", False),
        ("nora", True),
        (None, False),
    ]
    past, present = report["as_of"]["memories"], report["after"]["memories"]
    assert "14 March" in past[0]["memory"]
    assert not any("24 March" in memory["memory"] for memory in past)
    assert present[0]["memory"] == "My sister Ida's birthday is on 24 March."


def test_the_commands_that_it_names_work(played: tuple[Path, Answer], cli: CommandLine) -> None:
    commands = played[1].json["next"]
    assert len(commands) == 5
    for command in commands:
        program, *arguments = shlex.split(command)
        answer = cli(*arguments)
        assert (program, answer.code, answer.err) == ("memora", 0, ""), command
        assert answer.out


def unused(version: dict[str, Any]) -> dict[str, Any]:
    """Return a version without what a recall changes in it."""
    return {k: v for k, v in version.items() if k not in {"access_count", "last_accessed_at"}}


def test_a_second_run_saves_nothing_twice(cli: CommandLine) -> None:
    first = cli("demo", "--path", str(cli.path), "--json").json
    again = cli("demo", "--path", str(cli.path), "--json").json
    assert again["seen_before"]
    # Recalls of the first run are uses by the time of the second; nothing else may differ.
    before, after = ([unused(version) for version in run["history"]] for run in (first, again))
    assert after == before
    for old, new in zip(first["history"], again["history"], strict=True):
        assert new["access_count"] >= old["access_count"]
    for part in ("sessions", "appended", "edited", "doctor", "next"):
        assert again[part] == first[part], part


def test_an_interrupted_run_goes_on(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(*_arguments: Any, **_options: Any) -> None:
        raise GraphDBConnectionError("sqlite", "the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncMemora, "revert_memory", die)
        assert cli("demo", "--path", str(cli.path)).code == UNAVAILABLE
    report = cli("demo", "--path", str(cli.path), "--json").json
    assert len(report["history"]) == 4
    assert report["doctor"]["clean"]


def test_it_bears_that_its_memory_was_removed(cli: CommandLine) -> None:
    first = cli("demo", "--path", str(cli.path), "--json").json
    with Memora.embedded(cli.path) as memora:
        for version in first["history"]:
            memora.delete_memory("demo", "nora", version["memory_id"])
    again = cli("demo", "--path", str(cli.path))
    assert again.code == 0
    assert "no longer here" in again.out
    assert "memora history" not in again.out


def test_it_fails_when_doctor_does(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, played: tuple[Path, Answer]
) -> None:
    doctor = AsyncMemora.doctor

    async def lossy(self: AsyncMemora) -> Any:
        lost = (await self.graph.get_all_user_memories("demo", "nora"))[0].memory_id
        await self.vector_db.delete_memory(lost, "demo", "nora")
        return await doctor(self)

    monkeypatch.setattr(AsyncMemora, "doctor", lossy)
    answer = cli("demo", "--path", str(cli.path))
    assert answer.code == NEGATIVE
    assert "1 findings" in answer.out


def test_it_tells_its_story_on_a_fresh_machine(tmp_path: Path) -> None:
    """A real process, without keys, settings, or a place of its own."""
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    environment |= {"TMPDIR": str(tmp_path), "TEMP": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "memora", "demo"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    [directory] = tmp_path.glob("memora-demo-*")
    lines = done.stdout.splitlines()
    assert len(lines) <= 100
    assert "\x1b" not in done.stdout
    assert f"A store in {directory}" in lines
    for words in (
        "word for word",
        "messages are appended",
        "messages are cut",
        "> When is Ida's birthday?",
        "address-book import",
        "Time travel",
        "the store is clean",
        f"  memora doctor --path {directory}",
    ):
        assert words in " ".join(lines) or words in lines, words
