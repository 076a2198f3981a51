"""R16: each named defect, put back into the engine, turns the run of its anchor red."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.mutants.defects import DEFECTS
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(300), pytest.mark.suite("R16")]

ROOT = Path(__file__).resolve().parents[2]
NAMED = [
    *("b01", "b02", "b12", "b13", "b14", "b15", "b24", "b28", "b33", "b45", "b46", "b47", "b48"),
    *("b49", "b52", "b54", "b55", "b58", "b59", "b60", "b70", "b71", "b73", "b83", "b84"),
]
SAMPLE = 6


def test_all_named_defects_can_be_put_back() -> None:
    assert sorted(DEFECTS) == NAMED


@pytest.mark.slow
def test_mutants_are_killed_by_the_tests_that_name_them(
    score: Score, seed: int, nightly: bool
) -> None:
    chosen = NAMED if nightly else sorted(random.Random(seed).sample(NAMED, SAMPLE))
    survivors = [pitfall for pitfall in chosen if pitfall not in killed_by(pitfall)]
    score("R16", mutants=len(chosen), violations=len(survivors), seed=seed)
    assert not survivors, f"no test named after them failed: {survivors}"


def killed_by(pitfall: str) -> set[str]:
    """Return the ids in the names of the tests that fail in an engine with this defect."""
    anchors = "tests/reliability/test_anchors.py"
    command = [sys.executable, "-m", "pytest", anchors, "--mutant", pitfall, "-k", pitfall]
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--servers=off"]
    done = subprocess.run([*command, *quiet], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    failed = re.findall(r"^FAILED \S+::test_(\w+)", done.stdout, re.MULTILINE)
    return {word for name in failed for word in re.findall(r"\bb\d\d\b", name.replace("_", " "))}
