"""R3: concurrent calls on one interaction answer as if they had been made one by one.

Thousands of small programs run on the real store, in an order that chance decides at every await,
and each history is checked. The checker itself is tried on histories that are known to be bad.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.errors import (
    ConflictError,
    GraphDBConnectionError,
    InteractionNotFoundError,
    InvalidInputError,
)
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.write_plan import WritePlan, WriteReceipt
from tests.reliability.interleaving import SteppedLoop, pausing, stepped
from tests.reliability.linearizability import Answer, Call, Stored, Transcript, linearizable
from tests.reliability.rows_index import RowsIndex
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(600), pytest.mark.suite("R3")]

HISTORIES = 5000
MANY = 200_000
ON_DISK = 300
# Programs that share one store, so that opening it costs nothing.
SHARED = 250


# The checker


def call(
    called: int, returned: int, kind: str, *messages: str, answer: Answer = Answer.DONE, **more: Any
) -> Call:
    return Call(called, returned, kind, answer, messages, **more)


GOOD = {
    "one after the other": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "a", "b"),
        call(4, 5, "read", "a", "b", revision=2),
    ],
    "the loser of two appends is told": [
        call(0, 1, "save", "a"),
        call(2, 5, "save", "a", "b"),
        call(3, 6, "save", "a", "c", answer=Answer.CONFLICT),
        call(7, 8, "read", "a", "b", revision=2),
    ],
    "what was there at the beginning may be cut": [
        call(0, 1, "save", "a", "b"),
        call(2, 3, "save", "x"),
        call(4, 5, "read", "x", revision=2),
    ],
    "a read beside a save sees either state": [
        call(0, 1, "save", "a"),
        call(2, 9, "save", "a", "b"),
        call(3, 4, "read", "a", revision=1),
        call(5, 6, "read", "a", "b", revision=2),
    ],
    "a lost answer that was written": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "a", "b", answer=Answer.UNKNOWN),
        call(4, 5, "read", "a", "b", revision=2),
    ],
    "a lost answer that was not written": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "a", "b", answer=Answer.UNKNOWN),
        call(4, 5, "read", "a", revision=1),
    ],
    "a deleted one is made again": [
        call(0, 1, "save", "a"),
        call(2, 3, "delete"),
        call(4, 5, "save", "b"),
        call(6, 7, "read", "b", revision=1),
    ],
    "deleted while it was saved": [
        call(0, 1, "save", "a"),
        call(2, 6, "save", "a", "b", answer=Answer.MISSING),
        call(3, 4, "delete"),
    ],
}

BAD = {
    "B24: two appends to one base, both acknowledged, one lost": [
        call(0, 1, "save", "a"),
        call(2, 5, "save", "a", "b"),
        call(3, 6, "save", "a", "c"),
        call(7, 8, "read", "a", "c", revision=3),
    ],
    "two saves on one revision, both acknowledged": [
        call(0, 1, "save", "a"),
        call(2, 5, "save", "a", "b", expected=1),
        call(3, 6, "save", "a", "c", expected=1),
    ],
    "an acknowledged save is not there": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "a", "b"),
        call(4, 5, "read", "a", revision=1),
    ],
    "a read goes back in time": [
        call(0, 1, "save", "a"),
        call(2, 9, "save", "a", "b"),
        call(3, 4, "read", "a", "b", revision=2),
        call(5, 6, "read", "a", revision=1),
    ],
    "messages and revision of two moments": [
        call(0, 1, "save", "a"),
        call(2, 9, "save", "a", "b"),
        call(3, 4, "read", "a", "b", revision=1),
    ],
    "a half-deleted interaction": [
        call(0, 1, "save", "a"),
        call(2, 5, "delete"),
        call(3, 4, "read", revision=1),
    ],
    "a message that nobody wrote": [
        call(0, 1, "save", "a"),
        call(2, 3, "read", "z", revision=1),
    ],
    "a conflict with nobody": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "a", "b", answer=Answer.CONFLICT),
    ],
    "a refused save is there": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "b", expected=7, answer=Answer.CONFLICT),
        call(4, 5, "read", "b", revision=2),
    ],
    "deleted, and there again": [
        call(0, 1, "save", "a"),
        call(2, 3, "delete"),
        call(4, 5, "read", "a", revision=1),
    ],
    "a lost answer is written twice": [
        call(0, 1, "save", "a"),
        call(2, 3, "save", "a", "b", answer=Answer.UNKNOWN),
        call(4, 5, "read", "a", "b", revision=3),
    ],
    "forked: each sees only its own": [
        call(0, 1, "save", "a"),
        call(2, 5, "save", "a", "b"),
        call(3, 6, "save", "a", "c"),
        call(7, 8, "read", "a", "b", revision=2),
        call(9, 10, "read", "a", "c", revision=2),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_the_checker_accepts(name: str) -> None:
    assert linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_b24_the_checker_rejects(name: str) -> None:
    assert not linearizable(BAD[name])


# Programs


class Forgetful(SQLiteGraph):
    """A store whose answer to a write is lost now and then, before or after it was written."""

    rng: random.Random
    loses = 0.0

    async def apply(self, plan: WritePlan) -> WriteReceipt:
        lost = self.rng.random() < self.loses
        if lost and self.rng.random() < 0.5:
            raise GraphDBConnectionError("sqlite", "not written")
        receipt = await super().apply(plan)
        if lost:
            raise GraphDBConnectionError("sqlite", "written, but who knows")
        return receipt


@dataclass
class Program:
    """Clients that work on one interaction at the same time, and what they saw."""

    memora: Memora
    org_id: str
    talk: str
    rng: random.Random
    history: list[Call] = field(default_factory=list[Call])
    moments: itertools.count[int] = field(default_factory=itertools.count)
    letters: itertools.count[int] = field(default_factory=itertools.count)

    async def record(self, shape: Call, work: Awaitable[Any]) -> Any:
        """Make a call, and note how it ended."""
        called = next(self.moments)
        found: Any = None
        try:
            found = await work
        except ConflictError:
            answer = Answer.CONFLICT
        except (InteractionNotFoundError, InvalidInputError):
            answer = Answer.MISSING
        except GraphDBConnectionError:
            answer = Answer.UNKNOWN
        else:
            answer = Answer.DONE
        returned = next(self.moments)
        self.history.append(replace(shape, called=called, returned=returned, answer=answer))
        return found

    async def save(self, messages: Transcript, expected: int | None = None) -> None:
        shape = Call(0, 0, "save", Answer.DONE, messages, expected)
        # Said by the assistant: a transcript without memories.
        await self.record(
            shape,
            self.memora.save_or_update_interaction_and_memories(
                self.org_id,
                "jake",
                interaction=[{"role": "assistant", "content": text} for text in messages],
                external_id=self.talk,
                expected_revision=expected,
            ),
        )

    async def delete(self) -> None:
        work = self.memora.graph.delete_user_interaction_and_its_memories(
            self.org_id, "jake", self.talk
        )
        await self.record(Call(0, 0, "delete", Answer.DONE), work)

    async def read(self) -> Stored | None:
        shape = Call(0, 0, "read", Answer.DONE)
        found = await self.record(
            shape, self.memora.graph.get_interaction(self.org_id, "jake", self.talk)
        )
        if found is None:
            return None
        messages = tuple(str(message.content) for message in found.messages)
        last = self.history.pop()
        self.history.append(replace(last, messages=messages, revision=found.revision))
        return Stored(found.revision, messages)

    async def client(self, known: Stored | None, steps: int) -> None:
        """Act on what it knows, which may be old by then."""
        for _step in range(steps):
            choice = self.rng.random()
            old = () if known is None else known.messages
            fresh = f"m{next(self.letters)}"
            expected = None if known is None or self.rng.random() < 0.5 else known.revision
            if choice < 0.4:
                await self.save((*old, fresh), expected)
            elif choice < 0.6:
                await self.save((*old[: self.rng.randint(0, len(old))], fresh), expected)
            elif choice < 0.7:
                await self.delete()
            else:
                known = await self.read()

    async def play(self) -> None:
        """Let clients act at the same time, and look at the end."""
        if self.rng.random() < 0.8:
            await self.save(("m",))
        known = await self.read()
        clients = self.rng.randint(2, 4)
        steps = 3 if clients == 2 else 2
        await asyncio.gather(*(self.client(known, steps) for _ in range(clients)))
        await self.read()


async def histories(
    loop: SteppedLoop, graph: Forgetful, vectors: Path, seed: int, numbers: range
) -> int:
    """Play and check these programs on one store; return how many calls they made."""
    calls = 0
    graph.rng = random.Random(f"{seed} answers")
    async with Memora(RowsIndex(vectors), graph) as memora:
        await memora.for_user("jake", org_id="acme").ensure()
        for number in numbers:
            loop.rng = random.Random(f"{seed} order {number}")
            program = Program(memora, "acme", f"talk-{number}", random.Random(f"{seed} {number}"))
            graph.loses = 0.15 if number % 3 == 0 else 0.0
            loop.is_stepping = True
            await program.play()
            loop.is_stepping = False
            assert linearizable(program.history), (number, program.history)
            calls += len(program.history)
        graph.loses = 0.0
        assert await memora.graph.inspect() == []
    return calls


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_b24_b25_b26_interleavings_on_one_interaction_are_linearizable(
    tmp_path: Path, where: str, seed: int, nightly: bool, score: Score
) -> None:
    total = ON_DISK if where == "disk" else MANY if nightly else HISTORIES
    for start in range(0, total, SHARED):
        numbers = range(start, min(start + SHARED, total))
        path = None if where == "memory" else tmp_path / f"{start}.sqlite3"
        with stepped(f"{seed} {start}") as loop:
            graph = pausing(Forgetful)(path)
            work = histories(loop, graph, tmp_path / f"vectors-{where}-{start}", seed, numbers)
            calls = loop.run_until_complete(work)
        score("R3", histories=len(numbers), calls=calls, violations=0, seed=seed)
