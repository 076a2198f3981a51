"""`kill -9` while a process saves: what was acknowledged is there, once, and the store is clean."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from memora.sync import Memora
from tests.e2e.lives import Lives
from tests.e2e.saver import CONVERSATIONS, said, scripted_model, transcript
from tests.reliability.scorecard import Score

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
MANY_ROUNDS = 100

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.suite("R1"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]


def check(path: Path, last: int, *, with_model: bool) -> None:
    """Reopen the store after step `last` was acknowledged, and nothing after it."""
    model = scripted_model() if with_model else None
    with Memora.embedded(path, embedder="hashing", extraction_model=model) as memora:
        diagnosis = memora.doctor()
        assert diagnosis.clean, diagnosis.findings
        assert diagnosis.pending == 0
        if not memora.graph.get_all_organizations():
            assert last < 0
            return
        # A save that was not acknowledged may have been stored all the same, but as a whole.
        left = memora.list_jobs("acme")
        assert len(left) <= (1 if with_model else 0)
        for job in left:
            memora.resume_job("acme", job.job_id)
        stored = stored_transcripts(memora)
        expected = [expected_transcripts(step) for step in (last, last + 1)]
        assert stored in expected
        reached = last + expected.index(stored)
        memories = memora.graph.get_all_user_memories("acme", "jake") if reached >= 0 else []
        assert Counter(memory.memory for memory in memories) == Counter(said(reached))
        if memories:
            [newest, *_] = memora.for_user("jake", org_id="acme").recall(said(last)[-1], limit=1)
            assert newest.memory == said(last)[-1]
        assert memora.doctor().clean


def expected_transcripts(last: int) -> dict[str, list[tuple[str, str]]]:
    chats = {f"chat-{number}" for number in range(CONVERSATIONS)}
    found = {chat: transcript(chat, last) for chat in chats}
    return {
        chat: [(message["role"], message["content"]) for message in messages]
        for chat, messages in found.items()
        if messages
    }


def stored_transcripts(memora: Memora) -> dict[str, list[tuple[str, str]]]:
    interactions = memora.graph.get_all_user_interactions("acme", "jake", with_messages=True)
    names = [str(interaction.external_id) for interaction in interactions]
    assert len(set(names)) == len(names)
    return {
        str(interaction.external_id): [
            (message.role, str(message.content)) for message in interaction.messages or []
        ]
        for interaction in interactions
    }


@pytest.mark.parametrize("with_model", [False, True], ids=["verbatim", "model"])
def test_b35_killed_saves_lose_nothing_and_repeat_nothing(
    tmp_path: Path, with_model: bool, seed: int, nightly: bool, score: Score
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "store"
    last = -1
    rounds = MANY_ROUNDS if nightly else ROUNDS
    with Lives("tests.e2e.saver") as lives:
        for _round in range(rounds):
            acknowledged = lives.save_and_die([str(path), last + 1, with_model], rng, most=20)
            last = last if acknowledged is None else acknowledged
            if path.exists():
                check(path, last, with_model=with_model)
    score("R1", kills=rounds, acknowledged=last + 1, lost=0, violations=0, seed=seed)
    assert last >= 0
    done = subprocess.run(
        [sys.executable, "-m", "memora", "doctor", "--path", str(path)],
        cwd=ROOT,
        env={**os.environ, "MEMORA_EMBEDDER": "hashing"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
