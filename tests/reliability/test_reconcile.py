"""R10: doctor finds every kind of damage, and reconcile repairs it without deleting anything.

The store is damaged behind the engine's back, on the closed files (`damage.py`), in the shard, or
by raw Cypher on a Neo4j of the test's own.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import qdrant_edge

from memora import Memora
from memora.core.hashing import content_hash
from memora.core.ids import derived_memory_id
from memora.errors import GraphDBError, SchemaVersionError
from memora.graph_db.base import BaseGraphDB
from memora.ops.reconcile import Reconciliation, RepairOutcome
from memora.schema.findings import Finding, FindingKind
from memora.schema.scope import Scope
from memora.schema.write_plan import MemoryWrite, WritePlan
from tests.reliability import damage
from tests.reliability.damage import AUTHORITATIVE, FIFTEEN, FORMS, START, Damage, Files
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(120), pytest.mark.suite("R10")]

K = FindingKind
ROOT = Path(__file__).resolve().parents[2]
GATE_SECONDS = 10.0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole store, closed."""
    path = tmp_path_factory.mktemp("reconcile") / "store"
    asyncio.run(damage.fill(path))
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    """A copy of it; the engine's shard, which is large and sparse, is made again from the rows."""
    path = tmp_path / "store"
    shutil.copytree(template, path, ignore=lambda _at, names: {"segments", "wal"} & set(names))
    return path


def harm(path: Path, *damages: Damage) -> None:
    """Damage the closed store."""
    with (
        closing(sqlite3.connect(path / "graph.sqlite3", isolation_level=None)) as graph,
        closing(sqlite3.connect(path / "vectors" / "vectors.sqlite3", isolation_level=None)) as v,
    ):
        for each in damages:
            each(Files(graph, v))


def dump(path: Path, *, only: Iterable[str] = ()) -> list[str]:
    """Everything that is committed in both databases, or the rows of some tables of the graph."""
    lines: list[str] = []
    for file in (path / "graph.sqlite3", path / "vectors" / "vectors.sqlite3"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            lines += connection.iterdump()
    wanted = tuple(f'INSERT INTO "{table}"' for table in only)
    return [line for line in lines if not wanted or line.startswith(wanted)]


def counts(path: Path) -> dict[str, int]:
    """How many authoritative rows there are, by table."""
    with closing(sqlite3.connect(f"file:{path / 'graph.sqlite3'}?mode=ro", uri=True)) as graph:
        return {
            table: graph.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in AUTHORITATIVE
        }


def kinds(findings: Iterable[Finding]) -> set[FindingKind]:
    return {finding.kind for finding in findings}


async def cure(path: Path, kind: FindingKind) -> Reconciliation:
    """Check, plan and repair a damaged store; in the end it opens as any other and is clean."""
    before = counts(path)
    memora = damage.open_memora(path)
    try:
        diagnosis = await memora.doctor()
        assert kind in kinds(diagnosis.findings), diagnosis.findings
        stored = dump(path)
        planned = await memora.reconcile()
        assert [repair.finding for repair in planned.repairs] == list(diagnosis.findings)
        assert {repair.outcome for repair in planned.repairs} == {RepairOutcome.PLANNED}
        assert dump(path) == stored
        done = await memora.reconcile(apply=True)
        assert done.clean, done.findings
        assert {repair.outcome for repair in done.repairs} == {RepairOutcome.REPAIRED}
        again = await memora.reconcile(apply=True)
        assert again.repairs == ()
    finally:
        await memora.close()
    after = counts(path)
    assert all(after[table] >= number for table, number in before.items()), (before, after)
    async with damage.open_memora(path) as memora:
        await assert_clean(memora)
        found = await memora.for_user("ann", org_id="acme").recall("What is my cat called?")
        assert "Tom" in found[0].memory
    return done


@pytest.mark.parametrize("kind", FIFTEEN, ids=str)
async def test_b18_each_of_the_fifteen_is_found_and_repaired(
    store: Path, kind: FindingKind, score: Score
) -> None:
    harm(store, FIFTEEN[kind])
    done = await cure(store, kind)
    score("R10", kinds=1, detected=1, repaired=len(done.repairs), violations=0)


@pytest.mark.parametrize(("kind", "form"), FORMS, ids=lambda value: getattr(value, "__name__", ""))
async def test_other_forms_are_found_and_repaired(
    store: Path, kind: FindingKind, form: Damage, score: Score
) -> None:
    harm(store, form)
    done = await cure(store, kind)
    score("R10", forms=1, repaired=len(done.repairs), violations=0)


async def test_all_fifteen_at_once(store: Path, score: Score) -> None:
    harm(store, *FIFTEEN.values())
    done = await cure(store, K.CYCLE)
    found = kinds(repair.finding for repair in done.repairs)
    assert found >= FIFTEEN.keys()
    score("R10", at_once=len(FIFTEEN), repaired=len(done.repairs), violations=0)
