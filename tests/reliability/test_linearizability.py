"""R3: concurrent calls on one interaction answer as if they had been made one by one.

Thousands of small programs run on the real store, in an order that chance decides at every await,
and each history is checked. The checker itself is tried on histories that are known to be bad.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.core.ids import RandomIds
from memora.errors import (
    ConflictError,
    GraphDBConnectionError,
    InteractionNotFoundError,
    InvalidInputError,
    MemoryUpdateError,
)
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.models import Interaction, Memory
from memora.schema.scope import Scope
from memora.schema.write_plan import WritePlan, WriteReceipt
from memora.sync import Memora as SyncMemora
from tests.neo4j_server.process import Neo4jServer
from tests.reliability.interleaving import SteppedLoop, pausing, stepped
from tests.reliability.kit import assert_clean
from tests.reliability.linearizability import Answer, Call, Stored, Transcript, linearizable
from tests.reliability.rows_index import RowsIndex
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(600), pytest.mark.suite("R3")]

HISTORIES = 5000
MANY = 200_000
ON_DISK = 150
MEMORY_PROGRAMS = 200
ROOT = Path(__file__).resolve().parents[2]
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
        call(2, 8, "save", "a", "b", began=4, writing=6),
        call(3, 9, "save", "a", "c", began=5, writing=7),
        call(10, 11, "read", "a", "c", revision=3),
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


@dataclass
class Probe:
    """When a save had read, and when it had not written yet."""

    moments: itertools.count[int]
    began: int | None = None
    writing: int | None = None


PROBE: ContextVar[Probe | None] = ContextVar("probe", default=None)


class Probing(BaseGraphDB):
    """A store whose answer to a write is lost now and then, before or after it was written."""

    rng: random.Random
    loses = 0.0

    async def find_interaction(self, scope: Scope, interaction_id: str) -> Interaction | None:
        found = await super().find_interaction(scope, interaction_id)
        self._has_read()
        return found

    async def read_prefix_hashes(self, scope: Scope, interaction_id: str) -> list[str]:
        found = await super().read_prefix_hashes(scope, interaction_id)
        self._has_read()
        return found

    def _has_read(self) -> None:
        probe = PROBE.get()
        if probe is not None and probe.writing is None:
            probe.began = next(probe.moments)

    async def apply(self, plan: WritePlan) -> WriteReceipt:
        probe = PROBE.get()
        if probe is not None:
            probe.writing = next(probe.moments)
        lost = self.rng.random() < self.loses
        if lost and self.rng.random() < 0.5:
            raise GraphDBConnectionError("sqlite", "not written")
        receipt = await super().apply(plan)
        if lost:
            raise GraphDBConnectionError("sqlite", "written, but who knows")
        return receipt


class Forgetful(Probing, SQLiteGraph):
    """The embedded one."""


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
        probe = Probe(self.moments)
        PROBE.set(probe)
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
        self.history.append(
            replace(
                shape,
                called=called,
                returned=returned,
                answer=answer,
                began=probe.began,
                writing=probe.writing,
            )
        )
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
        steps = [self.rng.randint(1, 2) for _ in range(clients)]
        await asyncio.gather(*(self.client(known, each) for each in steps))
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


@pytest.mark.slow
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


# Memories


@dataclass
class Corner:
    """One user on a store that is shared by many programs."""

    memora: Memora
    user_id: str

    async def remember(self, text: str, **options: Any) -> None:
        await self.memora.save_or_update_interaction_and_memories(
            "acme", self.user_id, interaction=[{"role": "user", "content": text}], **options
        )

    async def current(self) -> list[Memory]:
        return await self.memora.graph.get_all_user_memories("acme", self.user_id)


async def on_each(
    loop: SteppedLoop,
    graph: SQLiteGraph,
    vectors: Path,
    numbers: range,
    program: Callable[[Corner, random.Random], Awaitable[None]],
) -> None:
    """Run a program once per number, each time for a user of its own and in another order."""
    async with Memora(RowsIndex(vectors), graph) as memora:
        for number in numbers:
            user = memora.for_user(f"user-{number}", org_id="acme")
            await user.ensure()
            loop.rng = random.Random(f"{number} order")
            loop.is_stepping = True
            await program(Corner(memora, f"user-{number}"), random.Random(number))
            loop.is_stepping = False
        await assert_clean(memora)


async def correct_at_once(corner: Corner, rng: random.Random) -> None:
    """Correct, retract and revert one statement at the same time: one chain, one head at most."""
    await corner.remember("I like tea")
    [first] = await corner.current()
    memora, owner = corner.memora, ("acme", corner.user_id, first.memory_id)
    texts = [f"I like drink {number}" for number in range(rng.randint(2, 3))]
    calls: list[Awaitable[Any]] = [memora.update_memory(*owner, text) for text in texts]
    ends = rng.random() < 0.3
    if ends:
        calls.append(memora.retract_memory(*owner))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    unexpected = [o for o in outcomes if isinstance(o, BaseException)]
    # Who comes after the end is told so.
    assert all(isinstance(each, MemoryUpdateError) for each in unexpected), outcomes
    assert ends or not unexpected
    history = await memora.memory_history(*owner)
    written = [text for text, o in zip(texts, outcomes, strict=False) if isinstance(o, Memory)]
    assert sorted(version.memory for version in history) == sorted(["I like tea", *written])
    heads = [version for version in history if version.is_current]
    assert len(heads) == (0 if ends else 1)


async def say_at_once(corner: Corner, rng: random.Random) -> None:
    """Save the same statements in several conversations, while one of them is corrected."""
    texts = ["I like tea", "I have a dog"]
    calls = [corner.remember(rng.choice(texts)) for _ in range(rng.randint(2, 4))]
    if rng.random() < 0.5:
        await corner.remember(texts[0])
        [first] = await corner.current()
        owner = ("acme", corner.user_id, first.memory_id)
        calls.append(corner.memora.update_memory(*owner, "I like coffee"))  # type: ignore[arg-type] - others
    await asyncio.gather(*calls)
    current = [memory.memory for memory in await corner.current()]
    assert len(current) == len(set(current)), current


async def delete_while_updating(corner: Corner, rng: random.Random) -> None:
    """Delete a conversation while it grows: nothing of it is left, or it was made again."""
    memora = corner.memora
    await corner.remember("I like tea", external_id="talk")
    grown = [{"role": "user", "content": text} for text in ("I like tea", "I have a dog")]
    outcomes = await asyncio.gather(
        memora.save_or_update_interaction_and_memories(
            "acme", corner.user_id, interaction=grown, external_id="talk"
        ),
        memora.graph.delete_user_interaction_and_its_memories("acme", corner.user_id, "talk"),
        return_exceptions=True,
    )
    assert not isinstance(outcomes[1], BaseException)
    assert not isinstance(outcomes[0], BaseException) or isinstance(
        outcomes[0], (InteractionNotFoundError, ConflictError)
    )
    left = await memora.graph.find_interaction(Scope("acme", corner.user_id), "talk")
    said = {memory.memory for memory in await corner.current()}
    assert said == (set() if left is None else {"I like tea", "I have a dog"})


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(correct_at_once, id="b28-one-head"),
        pytest.param(say_at_once, id="b28-one-memory"),
        pytest.param(delete_while_updating, id="b17-delete"),
    ],
)
def test_b28_b17_interleavings_on_memories(
    tmp_path: Path,
    program: Callable[[Corner, random.Random], Awaitable[None]],
    seed: int,
    nightly: bool,
    score: Score,
) -> None:
    total = 20 * MEMORY_PROGRAMS if nightly else MEMORY_PROGRAMS
    numbers = range(seed, seed + total)
    with stepped(seed) as loop:
        graph = pausing(SQLiteGraph)(None)
        loop.run_until_complete(on_each(loop, graph, tmp_path / "v", numbers, program))
    score("R3", programs=total, violations=0, seed=seed)


# Threads and processes


def test_b28_threads_of_one_process_share_a_store_that_another_one_is_refused(
    tmp_path: Path, nightly: bool, score: Score
) -> None:
    path, rounds = tmp_path / "store", 100 if nightly else 12
    command = [sys.executable, "-m", "tests.reliability.intruder", str(path), str(os.getpid())]
    with SyncMemora.embedded(path, embedder="hashing") as memora:
        memora.for_user("jake", org_id="acme").ensure()
        memora.graph.create_interaction("acme", "jake", external_id="shared")

        def work(thread: int) -> int:
            conflicts = 0
            for number in range(rounds):
                text = f"thread {thread} says {number}"
                while True:
                    known = memora.graph.get_interaction("acme", "jake", "shared")
                    said = [message.as_message() for message in known.messages or []]
                    try:
                        memora.save_or_update_interaction_and_memories(
                            "acme",
                            "jake",
                            interaction=[*said, {"role": "user", "content": text}],
                            interaction_id="shared",
                            expected_revision=known.revision,
                            idempotency_key=text,
                        )
                    except ConflictError:
                        conflicts += 1
                        continue
                    break
            return conflicts

        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as intruder:
            with ThreadPoolExecutor(4) as threads:
                conflicts = sum(threads.map(work, range(4)))
            assert intruder.stdout is not None
            refused = int(intruder.stdout.read())
            assert intruder.wait() == 0
        shared = memora.graph.get_interaction("acme", "jake", "shared")
        said = {message.content for message in shared.messages or []}
        assert said == {f"thread {t} says {n}" for t in range(4) for n in range(rounds)}
        assert memora.doctor().clean
    assert refused > 0
    score("R3", thread_saves=4 * rounds, conflicts=conflicts, refused=refused, violations=0)


# The same on a server


@pytest.mark.neo4j
async def test_b25_b26_histories_on_neo4j_are_linearizable(
    neo4j_server: Neo4jServer, tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    """Here the server's locks decide, so the order is not repeatable; the check is the same."""

    class Probed(Probing, Neo4jGraphInterface):
        pass

    graph = Probed(
        neo4j_server.uri,
        neo4j_server.username,
        str(neo4j_server.password),
        neo4j_server.database,
    )
    graph.rng = random.Random(f"{seed} answers")
    org_id = f"lin-{RandomIds().short()}"
    total, calls = 500 if nightly else 60, 0
    async with Memora(RowsIndex(tmp_path / "vectors"), graph) as memora:
        await memora.for_user("jake", org_id=org_id).ensure()
        for number in range(total):
            program = Program(memora, org_id, f"talk-{number}", random.Random(f"{seed} {number}"))
            graph.loses = 0.15 if number % 3 == 0 else 0.0
            await program.play()
            assert linearizable(program.history), (number, program.history)
            calls += len(program.history)
        graph.loses = 0.0
        await memora.graph.delete_organization(org_id)
    score("R3", neo4j_histories=total, calls=calls, violations=0, seed=seed)
