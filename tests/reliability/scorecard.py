"""The scorecard of the reliability suites: a pytest plugin with the option `--nightly`.

A test reports what it did with the fixture `score`, or names its suite with the marker `suite`, so
that it appears also when it is skipped. At the end of the session the rows are printed and written
to one JSON file, which a later session of the same run adds to (`make test` has two).

The root `conftest.py` names this module in `pytest_plugins`: an option must be registered before
collection.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.reliability.seeds import fresh_seed

ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/reliability/"
# Suites that live where they belong; of these the card has a row per file.
ELSEWHERE = {"tests/contract/": "R14", "tests/docs/": "R15"}
# Where tests count; those of the second folder start real processes.
COUNTED = (SUITE, "tests/e2e/")
FILE = ROOT / ".cache" / "scorecard.json"
PROPERTY = "score"
# The worst first, but for a skipped one beside others: a file of which something ran has run.
OUTCOMES = ("failed", "passed", "skipped")

Score = Callable[..., None]


@dataclass
class Row:
    """What one test contributes.

    Attributes:
        suite: `R1` to `R16`, as in the guarantees page.
        outcome: passed, failed or skipped; a skipped one never counts as passed.
        counts: What was done, how often, with which seed, and how many violations were seen.
        reason: Why it was skipped.
        of_file: It stands for all tests of a file, and counts their outcomes.
    """

    test: str
    suite: str = ""
    outcome: str = ""
    seconds: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict[str, Any])
    reason: str | None = None
    of_file: bool = False


ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly",
        action="store_true",
        help="reliability suites: the large counts, with seeds that nobody has seen before",
    )
    parser.addoption(
        "--seed", type=int, default=None, help="reliability suites: repeat a run with this seed"
    )


# What pyproject.toml passes as `-m`, so that a plain `pytest` leaves the suites out.
QUICK = "not reliability and not e2e"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = {}
    named = any(SUITE.rstrip("/") in argument for argument in config.args)
    if config.option.markexpr == QUICK and (named or config.getoption("--nightly")):
        # Whoever names the suites wants them.
        config.option.markexpr = ""


@pytest.fixture
def nightly(pytestconfig: pytest.Config) -> bool:
    """Whether the large counts are wanted."""
    return bool(pytestconfig.getoption("--nightly"))


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The same in every run, fresh in a nightly one, and the given one where it is repeated."""
    given: int | None = pytestconfig.getoption("--seed")
    return fresh_seed(nightly=bool(pytestconfig.getoption("--nightly"))) if given is None else given


@pytest.fixture
def score(request: pytest.FixtureRequest) -> Score:
    """Reports `score("R1", cycles=2034, violations=0, seed=seed)`; several calls add up."""

    def report(suite: str, **counts: Any) -> None:
        request.node.user_properties.append((PROPERTY, {"suite": suite, **counts}))

    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the seeds of a failed test beside its failure, so that it can be repeated."""
    report = yield
    scores = [value for name, value in item.user_properties if name == PROPERTY]
    if report.failed and scores:
        report.sections.append(("score so far", json.dumps(scores)))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remember where a test is, for those that are skipped before they can say it."""
    for item in items:
        if item.nodeid.startswith(COUNTED):
            suites = [mark.args[0] for mark in item.iter_markers("suite")]
            item.user_properties.append((PROPERTY, {"suite": suites[0] if suites else ""}))


class _Collector:
    """Gathers the rows on the xdist controller, or in the only process."""

    def __init__(self, rows: dict[str, Row], selected: str) -> None:
        self._rows = rows
        # The two runs of `make test` have different tests of one file.
        self._selected = f" -m '{selected}'" if selected else ""
        self._of_files: dict[str, Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = next((ELSEWHERE[f] for f in ELSEWHERE if report.nodeid.startswith(f)), "")
        if report.nodeid.startswith(COUNTED):
            row = self._rows.setdefault(report.nodeid, Row(report.nodeid))
        elif suite:
            row = self._of_files.setdefault(report.nodeid, Row(report.nodeid, suite))
        else:
            return
        row.seconds += report.duration
        if report.failed or hasattr(report, "wasxfail"):
            # What was to be expected has failed all the same.
            row.outcome = "failed"
        elif report.skipped and row.outcome != "failed":
            row.outcome = "skipped"
            row.reason = _reason(report)
        elif not row.outcome and report.when == "call":
            row.outcome = "passed"
        if report.when == "teardown":
            if suite:
                self._add_to_file(row)
            else:
                self._read(row, report)

    def _read(self, row: Row, report: pytest.TestReport) -> None:
        row.counts = {}
        for name, value in report.user_properties:
            if name != PROPERTY:
                continue
            given = dict(cast("Mapping[str, Any]", value))
            row.suite = given.pop("suite") or row.suite
            for key, count in given.items():
                known = row.counts.get(key)
                if isinstance(count, int) and isinstance(known, int) and key != "seed":
                    row.counts[key] = known + count
                else:
                    row.counts[key] = count

    def _add_to_file(self, test: Row) -> None:
        name = test.test.partition("::")[0] + self._selected
        counts: dict[str, Any] = dict.fromkeys(OUTCOMES, 0)
        row = self._rows.setdefault(name, Row(name, test.suite, counts=counts, of_file=True))
        row.seconds += test.seconds
        row.counts[test.outcome] += 1
        row.reason = test.reason or row.reason
        row.outcome = next(outcome for outcome in OUTCOMES if row.counts[outcome])


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(
            _Collector(session.config.stash[ROWS], session.config.option.markexpr)
        )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    reported = (row for row in config.stash[ROWS].values() if row.suite)
    rows = sorted(reported, key=lambda row: (row.suite, row.test))
    ran = any(row.test.startswith(SUITE) for row in rows)
    if not ran or hasattr(config, "workerinput") or config.getoption("--mutant"):
        return
    terminalreporter.section("reliability", sep="-")
    for row in rows:
        if row.counts or row.outcome != "passed":
            counts = [f"{key}={value}" for key, value in row.counts.items()]
            told = " ".join([*counts, *([f"({row.reason})"] if row.reason else [])])
            name = row.test.removeprefix(SUITE)
            terminalreporter.write_line(f"{row.suite:4} {row.outcome:8} {name}: {told}")
    file = write(rows, nightly=bool(config.getoption("--nightly")))
    terminalreporter.write_line(f"scorecard: {file.relative_to(ROOT)}")


def write(rows: list[Row], *, nightly: bool, file: Path = FILE) -> Path:
    """Add the rows to the scorecard; those of the same test are replaced."""
    stored = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    merged = {row["test"]: row for row in stored} | {row.test: asdict(row) for row in rows}
    ordered = sorted(merged.values(), key=lambda row: (row["suite"], row["test"]))
    suites: dict[str, dict[str, Any]] = {}
    for row in ordered:
        total = suites.setdefault(
            row["suite"], {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0}
        )
        for outcome in OUTCOMES:
            own = int(row["outcome"] == outcome)
            total[outcome] += row["counts"][outcome] if row["of_file"] else own
        total["seconds"] = round(total["seconds"] + row["seconds"], 2)
    card = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "nightly": nightly,
        "suites": suites,
        "violations": sum(row["counts"].get("violations", 0) for row in ordered),
        "rows": ordered,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(card, indent=1, ensure_ascii=False), "utf-8")
    fresh.replace(file)
    return file


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "skipped"
