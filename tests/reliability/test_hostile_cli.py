"""R6: hostile texts as arguments of the command line: an exit code, one line, and no traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from memora.cli.boundary import DEFECT
from memora.cli.main import app
from memora.sync import Memora
from tests.reliability import hostile
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(300), pytest.mark.suite("R6")]

ORG, USER = "acme", "jake"
# Options before the text, so that one that begins with a dash is a text as well.
OWNER = ("--org", ORG, "--user", USER)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("recall", *OWNER, "--path", "{path}", "--", "{text}"),
    ("history", *OWNER, "--path", "{path}", "--", "{text}"),
    ("interaction", *OWNER, "--path", "{path}", "--", "{text}"),
    ("memories", "--path", "{path}", "--org={text}", "--user", USER),
    ("memories", "--path", "{path}", "--org", ORG, "--user={text}"),
    ("recall", *OWNER, "--path", "{path}", "--agent={text}", "x"),
    ("jobs", "--path", "{path}", "--org={text}"),
    ("jobs", "resume", "--org", ORG, "--path", "{path}", "--", "{text}"),
    ("recall", *OWNER, "--path", "{path}", "--as-of={text}", "x"),
    ("recall", *OWNER, "--path", "{path}", "--limit={text}", "x"),
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMORA_EMBEDDER", "hashing")
    store = tmp_path / "store"
    with Memora.embedded(store, embedder="hashing") as memora:
        memora.graph.create_organization("Acme", org_id=ORG)
        memora.graph.create_user(ORG, "Jake", user_id=USER)
        for number, text in enumerate(hostile.every(up_to=256)):
            if text.isprintable() and text.strip():
                memora.save_or_update_interaction_and_memories(
                    ORG, USER, interaction=[{"role": "user", "content": text}],
                    external_id=f"talk {number}",
                )  # fmt: skip
    return store


def some(seed: int, share: int, *, every: bool) -> list[str]:
    """All texts, or one out of so many: a command takes tens of milliseconds."""
    texts = hostile.every(up_to=10_000)
    random.Random(seed).shuffle(texts)
    return texts if every else texts[::share]


def given(command: tuple[str, ...], path: Path, text: str) -> Result:
    words = [word.replace("{path}", str(path)).replace("{text}", text) for word in command]
    return CliRunner().invoke(app, words, prog_name="memora")


def check(result: Result) -> int:
    assert result.exit_code not in {DEFECT, None}, result.stderr
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    # What somebody stored must not steer the terminal that shows it.
    assert not {"\x1b", "\x07", "\x00", "\u202e"} & set(result.output)
    return result.exit_code


def test_r6_every_text_as_an_argument(path: Path, seed: int, nightly: bool, score: Score) -> None:
    codes = [
        check(given(command, path, text))
        for number, command in enumerate(COMMANDS)
        for text in some(seed + number, 45, every=nightly)
    ]
    for command in (("memories", *OWNER), ("interaction", *OWNER), ("outbox",), ("doctor",)):
        for extra in ((), ("--json",)):
            assert check(given((*command, *extra, "--path", "{path}"), path, "")) == 0
    score("R6", commands=len(codes), violations=0, seed=seed)


def test_r6_every_text_as_a_directory(
    tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    """There is no store anywhere there, and none is made."""
    texts = some(seed, 6, every=nightly)
    for text in texts:
        assert check(given(("doctor", "--path={path}/x{text}"), tmp_path, text)) != 0
    assert list(tmp_path.iterdir()) == []
    score("R6", directories=len(texts), violations=0)


def test_r6_every_text_as_a_key_file(path: Path, seed: int, nightly: bool, score: Score) -> None:
    texts = some(seed, 9, every=nightly)
    for text in texts:
        file = path.with_name("key")
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        command = ("rotate-key", "--new-key", str(file), "--path", "{path}")
        result = given(command, path, "")
        assert check(result) == 2
        assert len(text) < 9 or text not in result.output
    score("R6", key_files=len(texts), violations=0)
