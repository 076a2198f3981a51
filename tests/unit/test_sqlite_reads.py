"""Reads that wait at the same moment: what they share, and what they do not."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from memora._sqlite_reads import Reads


class Held:
    """A read that stays in its thread until it is let go."""

    def __init__(self):
        self.begun, self.release = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.release.wait(5)
        return "held"


@pytest.fixture
def states():
    """Numbers of the states that were entered."""
    return []


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.fixture
def reads(states, thread):
    @contextmanager
    def state():
        states.append(len(states))
        yield

    return Reads(thread, state)


@pytest.fixture
async def held(reads):
    """The thread is busy with a read."""
    held = Held()
    running = asyncio.create_task(reads.run(held))
    assert await asyncio.to_thread(held.begun.wait, 5)
    yield held
    held.release.set()
    assert await running == "held"


async def waiting(reads, works):
    tasks = [asyncio.create_task(reads.run(work)) for work in works]
    await asyncio.sleep(0)
    return tasks


async def test_reads_that_wait_share_one_state_that_began_after_them(reads, held, states):
    tasks = await waiting(reads, [lambda: states[-1]] * 5)
    assert states == [0]
    held.release.set()
    assert await asyncio.gather(*tasks) == [1] * 5


async def test_a_failing_read_fails_alone_and_in_its_place(reads, held):
    def fail():
        raise sqlite3.OperationalError("on purpose")

    tasks = await waiting(reads, [lambda: 1, fail, lambda: 3])
    held.release.set()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, third) == (1, 3)
    assert isinstance(second, sqlite3.OperationalError)


async def test_a_cancelled_read_is_left_out(reads, held):
    done = []
    tasks = await waiting(reads, [lambda: done.append(1), lambda: done.append(2)])
    tasks[0].cancel()
    await asyncio.sleep(0)
    held.release.set()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await tasks[1]
    assert done == [2]


async def test_who_waits_for_a_long_read_gets_a_later_state(reads, held, states):
    """What comes after a slow read is not kept on the state that the slow one has held open."""
    slow = threading.Event()
    tasks = await waiting(reads, [lambda: slow.wait(0.01), lambda: states[-1]])
    held.release.set()
    assert await asyncio.gather(*tasks) == [False, 2]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_state_that_cannot_be_held_is_told_to_all_and_the_next_go_on(thread, when):
    failing = True

    @contextmanager
    def state():
        if failing and when == "before":
            raise OSError("on purpose")
        yield
        if failing:
            raise OSError("on purpose")

    reads = Reads(thread, state)
    found = await asyncio.gather(*(reads.run(lambda: 1) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [OSError] * 3
    failing = False
    assert await reads.run(lambda: 1) == 1


async def test_loops_are_answered_by_themselves_also_beside_one_that_is_closed(reads, held):
    def ask_and_leave():
        async def ask():
            reading = asyncio.ensure_future(reads.run(lambda: 1))
            await asyncio.sleep(0)
            reading.cancel()

        asyncio.run(ask())

    await asyncio.to_thread(ask_and_leave)
    elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, reads.run(lambda: 2)))
    here = await waiting(reads, [lambda: 3])
    held.release.set()
    assert await asyncio.wait_for(asyncio.gather(elsewhere, *here), 5) == [2, 3]


async def test_b86_a_read_that_waits_shows_nothing_of_its_answer(reads, held):
    [task] = await waiting(reads, [lambda: ["canary"]])
    waits = list(reads._waiting)
    held.release.set()
    assert await task == ["canary"]
    assert any(each.result == ["canary"] for each in waits)
    assert "canary" not in repr(waits)
