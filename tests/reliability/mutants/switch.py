"""A pytest plugin with the option `--mutant ID`: the run is one of an engine with that defect.

The root `conftest.py` names this module in `pytest_plugins`.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mutant",
        metavar="ID",
        default=None,
        help="put a known defect back into the engine, such as b24; the run must turn red",
    )


def pytest_configure(config: pytest.Config) -> None:
    wanted: str | None = config.getoption("--mutant")
    if wanted is None:
        return
    from tests.reliability.mutants.defects import DEFECTS

    if wanted.lower() not in DEFECTS:
        raise pytest.UsageError(f"--mutant: {wanted!r} is none of {', '.join(sorted(DEFECTS))}")
    DEFECTS[wanted.lower()].put_back()


def pytest_report_header(config: pytest.Config) -> str | None:
    wanted: str | None = config.getoption("--mutant")
    return None if wanted is None else f"MUTANT {wanted}: this engine is defective on purpose"
