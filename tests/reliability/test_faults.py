"""R1: whatever breaks an operation off, wherever, the store is sound and a repetition finishes it.

A cycle copies a prepared store, lets one fault happen at one boundary of one operation, recovers,
checks the invariants, repeats the operation with the same keys, and compares what is there with
what an undisturbed run leaves: exactly one effect.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import MemoraError, NotFoundError
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.vector_db import EmbeddedVectorDB
from memora.vector_db.base import BaseVectorDB
from tests.reliability import faults
from tests.reliability.fault_operations import (
    BEFORE,
    GRAPH,
    NOW,
    OPERATIONS,
    ORG,
    USER,
    Operation,
    World,
    build,
    script,
    state,
)
from tests.reliability.faults import Fault, Injector, WatchedModel
from tests.reliability.interleaving import at_once
from tests.reliability.kit import assert_clean
from tests.reliability.rows_index import RowsIndex
from tests.reliability.scorecard import Score

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.suite("R1"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
]

# Longer than any lease and any pause.
LATER = timedelta(hours=1)
# Cycles of one fault in one operation, in a run that is not nightly.
SAMPLE = 22
SHARD_SAMPLE = 2
ACKNOWLEDGED, REFUSED, UNEXPECTED = 0, 3, 1

Strike = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One fault at one boundary.

    Attributes:
        at: Name of the boundary and how many of that name come before; of a cancellation, the
            number of the pause.
        late: A cancellation that comes when what was waited for is there.
        deletes_user: The model answers after its user was deleted.
    """

    fault: Fault
    at: tuple[str, int]
    strike: Strike = faults.nothing
    late: bool = False
    deletes_user: bool = False


class Bench:
    """Runs the cycles of one operation.

    Args:
        operation: The operation.
        folder: A directory of the test's own.
        vectors: The vector store under test; rows without a shard unless said otherwise.
    """

    def __init__(
        self, operation: Operation, folder: Path, vectors: Callable[[Path], BaseVectorDB]
    ) -> None:
        self.operation = operation
        self.vectors = vectors
        self.folder = folder
        self.template = folder / "template"
        self.copies = 0

    # Stores

    def copy(self) -> Path:
        """Return a fresh copy of the prepared store."""
        self.copies += 1
        copy = self.folder / str(self.copies)
        shutil.copytree(self.template, copy, ignore=shutil.ignore_patterns("*.lock"))
        return copy

    def discard(self) -> None:
        """Delete the last copy; that of a failed cycle stays for whoever looks into it."""
        shutil.rmtree(self.folder / str(self.copies))

    @asynccontextmanager
    async def opened(
        self,
        folder: Path,
        injector: Injector,
        *,
        ids: str,
        now: timedelta = timedelta(0),
        deletes_user: bool = False,
    ) -> AsyncIterator[World]:
        """Open an engine whose statements and calls the injector sees."""
        clock = FrozenClock(NOW + now)
        graph = faults.watched_graph(injector)(
            folder / GRAPH, clock=clock, ids=SequentialIds(f"{ids}-")
        )
        model = WatchedModel(script) if self.operation.with_model else None
        memora = Memora(self.watched_vectors(folder / "vectors", injector), graph, None, model)
        if model is not None:
            model.injector = injector
            if deletes_user:
                model.meanwhile = partial(memora.graph.delete_user, ORG, USER)
        with faults.watched_sqlite(injector):
            async with AsyncExitStack() as stack:
                stack.push_async_callback(memora.close)
                if not self.operation.opens or ids != "first":
                    await memora.setup()
                yield World(memora, clock, folder)

    def watched_vectors(self, path: Path, injector: Injector) -> BaseVectorDB:
        store = self.vectors(path)
        store.__class__ = faults.watched_vectors(type(store), injector)
        return store

    async def prepare(self) -> None:
        """Make the store that every cycle starts from."""
        self.template.mkdir()
        if self.operation.from_nothing:
            return
        clock = FrozenClock(BEFORE)
        graph = faults.watched_graph(Injector())(
            self.template / GRAPH, clock=clock, ids=SequentialIds("old-")
        )
        async with Memora(self.vectors(self.template / "vectors"), graph) as memora:
            world = World(memora, clock, self.template)
            await build(world)
            if self.operation.prepare is not None:
                await self.operation.prepare(world)
        shutil.rmtree(self.template / "vectors" / "vectors", ignore_errors=True)

    # One run

    async def run(self, world: World, injector: Injector) -> None:
        """Run the operation while the injector counts."""
        with injector.arm():
            if self.operation.opens and not injector.seen:
                await world.memora.setup()
            await self.operation.run(world)

    async def settle(self, world: World, *, checked: bool = True) -> None:
        """Let all pauses and leases pass, and bring the vectors up to date.

        Args:
            world: The store.
            checked: Ask doctor. Where all rows are compared with those of a store that doctor
                called clean, it would say the same again.
        """
        world.clock.advance(LATER)
        if self.operation.opens:
            await world.memora.setup()
        await world.graph.retry_outbox(world.clock.now())
        await world.memora.drain_outbox()
        if checked:
            await assert_clean(world.memora)

    async def undisturbed(self) -> tuple[list[str], int, Any]:
        """Return the boundaries and the number of pauses of a run, and what it leaves."""
        injector = Injector()
        async with self.opened(self.copy(), injector, ids="first") as world:
            pauses = await faults.count_pauses(self.run(world, injector))
            await self.settle(world)
            left = state(world.folder)
            await self.operation.run(world)
            await self.settle(world)
            assert state(world.folder) == left, "a repetition has an effect of its own"
            return injector.seen, pauses, left

    async def without_user(self) -> Any:
        """Return what is left when the user is deleted and the operation never ran."""
        async with self.opened(self.copy(), Injector(), ids="first") as world:
            await world.graph.delete_user(ORG, USER)
            await self.settle(world)
            return state(world.folder)

    # One cycle

    async def cycle(self, case: Case, expected: Any) -> bool:
        """Break an operation off inside this process; return whether the fault came to pass."""
        cancelled = case.fault is Fault.CANCELLED
        injector = Injector(None if cancelled else case.at, case.strike)
        async with self.opened(self.copy(), injector, ids="first") as world:
            work: Coroutine[Any, Any, None] = self.run(world, injector)
            try:
                if cancelled:
                    await faults.cancelled_at(work, case.at[1], late=case.late)
                else:
                    await work
            except MemoraError:
                acknowledged = False
            except asyncio.CancelledError:
                acknowledged, injector.struck = False, "cancelled"
            else:
                acknowledged = True
            await self.finish(world, expected, acknowledged=acknowledged)
        return injector.struck is not None

    async def finish(self, world: World, expected: Any, *, acknowledged: bool) -> None:
        """Recover, check, repeat, compare."""
        await self.settle(world)
        if acknowledged:
            assert state(world.folder) == expected, "acknowledged, and not there"
        await self.operation.run(world)
        await self.settle(world, checked=False)
        assert state(world.folder) == expected, "a repetition does not finish it"

    async def late_answer(self, case: Case, deleted: Any) -> bool:
        """Let the user be deleted while the model thinks: nothing of the answer is kept (B14)."""
        injector = Injector(case.at, case.strike)
        async with self.opened(self.copy(), injector, ids="first", deletes_user=True) as world:
            with pytest.raises(NotFoundError):
                await self.run(world, injector)
            await self.settle(world)
            assert state(world.folder) == deleted
            with suppress(NotFoundError):
                await self.operation.run(world)
            await self.settle(world)
            assert state(world.folder) == deleted
        return injector.struck is not None

    def killed(self, case: Case, expected: Any) -> bool:
        """Break an operation off by the death of a process, and go on in another one."""
        folder = self.copy()
        status = in_child(partial(self.until_killed, folder, case))
        assert status in {faults.KILLED, ACKNOWLEDGED}, f"the child ended with {status}"

        async def recover() -> None:
            async with self.opened(folder, Injector(), ids="second", now=LATER) as world:
                await assert_clean(world.memora)
                await self.finish(world, expected, acknowledged=status == ACKNOWLEDGED)

        at_once(recover())
        return status == faults.KILLED

    async def until_killed(self, folder: Path, case: Case) -> None:
        injector = Injector(case.at, case.strike)
        async with self.opened(folder, injector, ids="first") as world:
            await self.run(world, injector)
            os._exit(ACKNOWLEDGED)


def in_child(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run in a forked process, which opens what it uses by itself; return its exit status."""
    with warnings.catch_warnings():
        # Of threads that wait while this one forks; the child never looks at them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(work())
        except BaseException:
            traceback.print_exc()
        os._exit(UNEXPECTED)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def cases(seen: Sequence[str], pauses: int) -> Iterator[Case]:
    """Yield every fault at every boundary where it can happen."""
    vector_failures = (faults.vectors_are_down, faults.vectors_refuse)
    for number, name in enumerate(seen):
        kind = name.partition(" ")[0]
        at = (name, seen[:number].count(name))
        yield Case(Fault.DEATH, at, faults.die)
        if kind == "sql" and not name.endswith("committed"):
            yield Case(Fault.DATABASE, at, faults.database_fails)
            yield Case(Fault.DISK, at, faults.disk_is_full)
        if kind == "sql" and name.endswith("BEGIN IMMEDIATE"):
            yield Case(Fault.DISK, at, faults.is_locked)
        if kind == "sql" and name.endswith(("COMMIT", "committed")):
            yield Case(Fault.UNKNOWN, at, faults.database_fails)
        if name.startswith("port vectors"):
            yield Case(Fault.VECTORS, at, vector_failures[number % 2])
        if kind == "model":
            yield Case(Fault.MODEL, at, faults.model_is_down)
        if name == "model before":
            yield Case(Fault.MODEL, at, deletes_user=True)
    for pause in range(pauses):
        yield Case(Fault.CANCELLED, ("pause", pause))
        yield Case(Fault.CANCELLED, ("pause", pause), late=True)


def sampled(every: Sequence[Case], most: int | None, rng: random.Random) -> list[Case]:
    """Return at most so many cases of each fault, chosen at random."""
    chosen: list[Case] = []
    for fault in Fault:
        own = [case for case in every if case.fault is fault]
        chosen += own if most is None or len(own) <= most else rng.sample(own, most)
    return chosen


def play(
    bench: Bench, most: int | None, seed: int, score: Score, *, only: Fault | None = None
) -> None:
    """Run the cycles of one operation, and report how many there were of each fault."""
    asyncio.run(bench.prepare())
    seen, pauses, expected = asyncio.run(bench.undisturbed())
    assert len(seen) > 4, seen
    operation = bench.operation
    every = [case for case in cases(seen, pauses) if only in {None, case.fault}]
    deleted = asyncio.run(bench.without_user()) if operation.with_model else None
    counts = dict.fromkeys(Fault, 0)
    with asyncio.Runner() as runner:
        for case in sampled(every, most, random.Random(f"{seed} {operation}")):
            try:
                if case.fault is Fault.DEATH:
                    happened = bench.killed(case, expected)
                elif case.deletes_user:
                    happened = runner.run(bench.late_answer(case, deleted))
                else:
                    # Threads matter where somebody is cancelled while they work.
                    run = runner.run if case.fault is Fault.CANCELLED else at_once
                    happened = run(bench.cycle(case, expected))
            except BaseException:
                score("R1", violations=1, seed=seed)
                print(f"{operation}: {case.fault} at {case.at}, late={case.late}")
                raise
            bench.discard()
            counts[case.fault] += happened
    score(
        "R1",
        **{fault.value: count for fault, count in counts.items() if count},
        cycles=sum(counts.values()),
        operation=operation.name,
        boundaries=len(seen),
        violations=0,
        seed=seed,
    )


def shard(path: Path) -> BaseVectorDB:
    """Return the whole embedded vector store."""
    return EmbeddedVectorDB(path, embedder=HashingEmbedder(16))


PLAYED: set[str] = set()


def of(*names: str) -> pytest.MarkDecorator:
    """Run a test with these operations."""
    PLAYED.update(names)
    chosen = [operation for operation in OPERATIONS if operation.name in names]
    assert len(chosen) == len(names)
    return pytest.mark.parametrize("operation", chosen, ids=str)


@dataclass(frozen=True)
class Matrix:
    """What every part of the matrix needs."""

    folder: Path
    seed: int
    nightly: bool
    score: Score

    def play(self, operation: Operation) -> None:
        bench = Bench(operation, self.folder, RowsIndex)
        play(bench, None if self.nightly else SAMPLE, self.seed, self.score)


@pytest.fixture
def matrix(tmp_path: Path, seed: int, nightly: bool, score: Score) -> Matrix:
    return Matrix(tmp_path, seed, nightly, score)


@of("save", "save-model", "append", "truncate", "supersede", "correct", "retract", "revert")
def test_b13_a_write_broken_off_anywhere_is_there_once_when_repeated(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("empty")
def test_b16_an_update_to_nothing_broken_off_anywhere(operation: Operation, matrix: Matrix) -> None:
    matrix.play(operation)


@of("extract-commit")
def test_b35_an_extraction_broken_off_anywhere_is_finished_once(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("delete-memory-head", "delete-memory-middle", "delete-memory-tail")
def test_b18_a_purge_broken_off_anywhere_leaves_both_stores_alike(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("delete-interaction-0", "delete-interaction-1", "delete-interaction-n")
def test_b17_a_delete_of_an_interaction_broken_off_anywhere(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("delete-user", "delete-organization", "delete-agent", "rename-user", "rename-agent")
def test_b83_an_erasure_or_renaming_broken_off_anywhere(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("undo-import")
def test_d8_an_undo_of_an_import_broken_off_anywhere_is_finished_once(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("drain", "reindex")
def test_b20_vector_work_broken_off_anywhere_is_driven_again(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


@of("setup")
def test_b43_a_migration_broken_off_anywhere_is_resumed(
    operation: Operation, matrix: Matrix
) -> None:
    matrix.play(operation)


def test_no_operation_is_left_out() -> None:
    assert {operation.name for operation in OPERATIONS} == PLAYED


@of("save", "drain")
def test_b12_with_the_shard(
    operation: Operation, tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    play(Bench(operation, tmp_path, shard), 50 if nightly else SHARD_SAMPLE, seed, score)


def test_b15_a_cancellation_at_every_await_leaves_no_orphan(
    tmp_path: Path, seed: int, score: Score
) -> None:
    [operation] = [each for each in OPERATIONS if each.name == "save-model"]
    bench = Bench(operation, tmp_path, RowsIndex)
    play(bench, None, seed, score, only=Fault.CANCELLED)
