"""The scorecard counts what ran, and never a skipped test as a passed one."""

from __future__ import annotations

import json
from pathlib import Path

from tests.reliability.scorecard import Row, write


def test_a_later_session_adds_its_rows_and_replaces_those_of_the_same_test(tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    first = Row("a", "R1", "failed", 1.0, {"violations": 2})
    other = Row("b", "R2", "skipped", 0.5, reason="no server")
    write([first, other], nightly=False, file=file)
    again = Row("a", "R1", "passed", 2.0, {"cycles": 7, "violations": 0})
    write([again], nightly=False, file=file)
    card = json.loads(file.read_text("utf-8"))
    assert card["violations"] == 0
    assert card["suites"]["R1"] == {"passed": 1, "failed": 0, "skipped": 0, "seconds": 2.0}
    assert card["suites"]["R2"]["skipped"] == 1
    assert card["suites"]["R2"]["passed"] == 0
    assert [row["reason"] for row in card["rows"]] == [None, "no server"]


def test_a_violation_that_was_seen_is_in_the_sum(tmp_path: Path) -> None:
    file = write(
        [Row("a", "R1", "failed", 0.0, {"violations": 3})], nightly=True, file=tmp_path / "c"
    )
    card = json.loads(file.read_text("utf-8"))
    assert card["violations"] == 3
    assert card["nightly"] is True


def test_a_row_of_a_file_counts_its_tests(tmp_path: Path) -> None:
    counts = {"failed": 0, "passed": 4, "skipped": 2}
    row = Row("tests/contract/test_x.py", "R14", "passed", 1.0, counts, "no server", of_file=True)
    card = json.loads(write([row], nightly=False, file=tmp_path / "card").read_text("utf-8"))
    assert card["suites"]["R14"] == {**counts, "seconds": 1.0}
