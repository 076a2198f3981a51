"""`kill -9` while a process imports: the same call resumes, and the end is as without the kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memora.sync import Memora
from tests.reliability.scorecard import Score

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
FEW, MANY = 120, 1000
# When it was stored, how often it was tried, what the last run found there, and secrets of the
# store: not what was stored.
OF_THE_RUN = {
    *("recorded_at", "updated_at", "created_at", "started_at", "finished_at", "exported_at"),
    *("attempts", "skipped", "salt"),
}

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.suite("R1"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]


def start(path: Path, size: int, *, with_model: bool) -> subprocess.Popen[str]:
    words = [str(path), str(size), *(["model"] if with_model else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.importer", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def exported(path: Path, target: Path) -> list[dict[str, Any]]:
    """What the store holds, without what belongs to the run; the store is whole."""
    with Memora.embedded(path, embedder="hashing") as memora:
        diagnosis = memora.doctor()
        assert diagnosis.clean, diagnosis.findings
        assert diagnosis.pending == 0
        assert memora.list_jobs("default") == []
        memora.export_to(target)
    lines = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    records = [without(line) for line in lines if line["kind"] not in {"header", "end"}]
    return sorted(records, key=json.dumps)


def without(value: Any) -> Any:
    if isinstance(value, dict):
        kept = sorted((key, item) for key, item in value.items() if key not in OF_THE_RUN)
        return {key: without(item) for key, item in kept}
    return [without(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("with_model", [False, True], ids=["verbatim", "model"])
def test_b35_a_killed_import_ends_like_one_that_was_not(
    tmp_path: Path, with_model: bool, seed: int, nightly: bool, score: Score
) -> None:
    rng = random.Random(seed)
    size = MANY if nightly else FEW
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with start(whole, size, with_model=with_model) as process:
        process.communicate()
        assert process.returncode == 0
    died = 0
    for kill in range(KILLS):
        with start(killed, size, with_model=with_model) as process:
            assert process.stdout is not None
            # Resumed ones pass over what is stored, so each gets a little further.
            for _line in range(rng.randint(1, 2 * size * (kill + 1) // KILLS)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
            os.kill(process.pid, signal.SIGKILL)
            process.stdout.read()
            died += process.wait() == -signal.SIGKILL
    assert died > KILLS // 2
    with start(killed, size, with_model=with_model) as process:
        process.communicate()
        assert process.returncode == 0
    wanted = exported(whole, tmp_path / "whole.jsonl")
    assert len([each for each in wanted if each["kind"] == "interaction"]) == size
    assert exported(killed, tmp_path / "killed.jsonl") == wanted
    score("R1", kills=died, lost=0, violations=0, seed=seed)
