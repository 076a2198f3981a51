"""Many tenants in one store, each with canaries in every text and id, and how a leak is told.

Whatever belongs to an organization or to a person holds a token of theirs, `zq` and twelve hex
digits: ids, names, labels, titles, texts, metadata. Ids that the engine makes are written down with
their owner as they are made. So a leak is a token, or such an id, in anything that a call answers,
raises or logs, which is neither the caller's own nor in what the caller passed.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from memora import Memora
from memora.core.messages import parse_messages
from memora.errors import ExtractionError
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.schema.imports import ImportRun
from memora.schema.models import Record
from memora.schema.scope import Scope
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
    MemoryToStore,
)
from memora.schema.write_plan import InteractionWrite, MessageEdit, WritePlan
from memora.testing.fakes import OutageError, ScriptedBackendLLM
from memora.vector_db.base import BaseVectorDB

_TRACE = re.compile(
    r"zq[0-9a-f]{12}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\bnum[0-9a-f]{6}x\d+\b"
)


@dataclass(frozen=True)
class House:
    """An organization and the id of the agent that all its people share."""

    org_id: str
    agent_id: str
    token: str


@dataclass
class Person:
    """A user, and one id of each kind that is theirs."""

    house: House
    user_id: str
    token: str
    agent_id: str
    external_id: str
    interaction_id: str = ""
    memory_ids: list[str] = field(default_factory=list[str])
    job_id: str = ""
    import_id: str = ""

    @property
    def scope(self) -> Scope:
        return Scope(self.house.org_id, self.user_id)


class NotedIds:
    """Makes ids, and notes for whom: for whoever is calling."""

    def __init__(self, rng: random.Random, owners: dict[str, str]) -> None:
        self._rng = rng
        self._owners = owners
        self._prefix = f"num{rng.getrandbits(24):06x}x"
        self._count = 0
        self.caller = ""

    def short(self) -> str:
        self._count += 1
        return self._note(f"{self._prefix}{self._count}")

    def memory(self) -> str:
        return self._note(str(uuid.UUID(int=self._rng.getrandbits(128), version=4)))

    def _note(self, made: str) -> str:
        self._owners[made] = self.caller
        return made


class Town:
    """All tenants, and who owns which trace.

    The owner of a trace is the token of a person or, for what is a whole organization's, its own.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.owners: dict[str, str] = {}
        self.houses: dict[str, str] = {}  # token of a person -> token of the house
        self.people: list[Person] = []
        self.ids = NotedIds(rng, self.owners)

    def token(self, house: str | None = None) -> str:
        """Return a new token, of a house or of somebody in it."""
        token = f"zq{self.rng.getrandbits(48):012x}"
        self.owners[token] = token
        self.houses[token] = house or token
        return token

    def new_person(self, house: House) -> Person:
        token = self.token(house.token)
        return Person(house, f"user-{token}", token, f"own-{token}", f"conv-{token}")

    def new_house(self) -> House:
        token = self.token()
        return House(f"org-{token}", f"agent-{token}", token)

    async def settle(self, graph: BaseGraphDB, houses: int, people: int) -> None:
        """Fill a store."""
        for _ in range(houses):
            house = self.new_house()
            self.ids.caller = house.token
            await graph.create_organization(f"House {house.token}", org_id=house.org_id)
            await graph.create_agent(house.org_id, f"Agent {house.token}", agent_id=house.agent_id)
            for _ in range(people):
                person = self.new_person(house)
                await self.move_in(graph, person)
                self.people.append(person)

    async def move_in(self, graph: BaseGraphDB, person: Person) -> None:
        """Create a person with an agent, an interaction and a statement of two versions."""
        token, house = person.token, person.house
        self.ids.caller = token
        await graph.create_user(house.org_id, f"Name {token}", user_id=person.user_id)
        await graph.create_agent(
            house.org_id, f"Label {token}", person.user_id, agent_id=person.agent_id
        )
        talk = await graph.create_interaction(
            house.org_id,
            person.user_id,
            person.agent_id,
            external_id=person.external_id,
            title=f"Title {token}",
            metadata={"note": token},
        )
        person.interaction_id = talk.interaction_id
        messages = [
            {"role": "user", "content": f"My cat is called {token}.", "name": f"By {token}"},
            {"role": "assistant", "content": f"Hello {token}.", "tool_calls": [{"id": token}]},
        ]

        def statement(text: str) -> dict[str, Any]:
            return {
                "memory": f"[[u:{person.user_id}]] {text} {token}",
                "source_msg_block_pos": [0, 1],
                "tags": [token],
                "entities": [token],
                "metadata": {"note": token},
            }

        first = MemoriesAndInteraction(
            interaction=messages, memories=[MemoryToStore(**statement("has a cat called"))]
        )
        await self._write(graph, person, first)
        (memory,) = await graph.get_all_user_memories(house.org_id, person.user_id)
        second = ContraryMemoryToStore(
            **statement("had a cat called"), existing_contrary_memory_id=memory.memory_id
        )
        await self._write(
            graph, person, MemoriesAndInteraction(interaction=messages, contrary_memories=[second])
        )
        chain = await graph.get_user_memory_history(house.org_id, person.user_id, memory.memory_id)
        person.memory_ids = [version.memory_id for version in chain]
        await self._import(graph, person)

    async def _import(self, graph: BaseGraphDB, person: Person) -> None:
        """Import a conversation of theirs."""
        person.import_id = f"import-{person.token}"
        now = graph.clock.now()
        run = ImportRun(
            org_id=person.house.org_id,
            import_id=person.import_id,
            user_id=person.user_id,
            process_id=person.token,
            started_at=now,
        )
        await graph.begin_import(run)
        said = parse_messages([{"role": "user", "content": f"I was {person.token}."}])
        write = InteractionWrite(
            f"imported-{person.token}",
            None,
            MessageEdit(0, said),
            at=now,
            import_id=person.import_id,
        )
        await graph.apply(WritePlan(person.scope, now, interaction=write))

    @staticmethod
    async def _write(graph: BaseGraphDB, person: Person, given: MemoriesAndInteraction) -> None:
        await graph.update_interaction_and_memories(
            person.house.org_id, person.agent_id, person.user_id, person.interaction_id, given
        )

    async def leave_jobs(
        self, vectors: BaseVectorDB, graph: BaseGraphDB, people: Sequence[Person]
    ) -> None:
        """Leave each of these people an extraction that failed."""
        memora = Memora(vectors, graph, None, ScriptedBackendLLM(lambda _call: OutageError()))
        for person in people:
            self.ids.caller = person.token
            message = {"role": "user", "content": f"My dog is called {person.token}."}
            with pytest.raises(ExtractionError) as caught:
                await memora.save_or_update_interaction_and_memories(
                    person.house.org_id,
                    person.user_id,
                    interaction=[message],
                    idempotency_key=f"key-{person.token}",
                )
            person.job_id = caught.value.job_id
            self.owners[caught.value.job_id] = person.token
            self.owners[caught.value.interaction_id] = person.token

    async def claim_unnoted(self, graph: BaseGraphDB, person: Person) -> None:
        """Note ids that the engine derived instead of asking for them."""
        for memory in await graph.list_memories(person.scope, MemoryListing(current_only=False)):
            self.owners.setdefault(memory.memory_id, person.token)
        for talk in await graph.list_interactions(person.scope, skip=0, limit=1000):
            self.owners.setdefault(talk.interaction_id, person.token)

    def leaks(self, text: str, person: Person, *, whole_house: bool, given: str) -> list[str]:
        """Return the traces in a text that are not for this caller's eyes."""
        found: list[str] = []
        for trace in set(_TRACE.findall(text)):
            owner = self.owners.get(trace)
            if owner is None or owner in {person.token, person.house.token} or trace in given:
                continue
            if whole_house and self.houses.get(owner) == person.house.token:
                continue
            found.append(trace)
        return found

    async def dump(self, graph: BaseGraphDB, people: Sequence[Person]) -> dict[str, str]:
        """Return all that these people and their houses have, by token."""
        told: dict[str, str] = {}
        for person in people:
            org_id, user_id = person.house.org_id, person.user_id
            if person.house.token not in told:
                told[person.house.token] = await spelled(
                    [
                        await graph.get_organization(org_id),
                        await graph.get_all_org_users(org_id),
                        await graph.get_all_org_agents(org_id),
                        await graph.list_jobs(org_id),
                        await graph.list_imports(org_id, user_id=None, skip=0, limit=1000),
                    ]
                )
            talks = await graph.get_all_user_interactions(org_id, user_id, with_messages=True)
            listing = MemoryListing(current_only=False)
            told[person.token] = await spelled(
                [
                    [talk.model_dump_json() for talk in talks],
                    await graph.list_memories(person.scope, listing),
                    await graph.find_idempotency(person.scope, f"key-{person.token}"),
                    await graph.read_salt(person.scope),
                ]
            )
        return told


async def vectors_of(vectors: BaseVectorDB, tokens: set[str]) -> dict[str, str]:
    """Return what the vector store holds of these people, by memory id."""
    found: dict[str, str] = {}
    after: str | None = None
    while page := await vectors.scan(after=after, limit=1000):
        after = page[-1].memory_id
        found |= {e.memory_id: repr(e) for e in page if e.user_id.removeprefix("user-") in tokens}
    return found


async def spelled(value: object) -> str:
    """Return everything that an answer holds as text, also what its repr hides."""
    if isinstance(value, AsyncIterator):
        value = [item async for item in value]
    return "\n".join(_spell(value))


def _spell(value: object) -> Iterator[str]:
    if isinstance(value, Record):
        yield value.model_dump_json()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__
        for item in dataclasses.fields(value):
            yield item.name
            yield from _spell(getattr(value, item.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield repr(key)
            yield from _spell(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield f"{type(value).__name__} of {len(value)}"
        for item in value if not isinstance(value, (set, frozenset)) else sorted(value, key=repr):
            yield from _spell(item)
    else:
        yield repr(value)


def spelled_error(error: BaseException) -> str:
    """Return what an error tells: text, fields, notes, and the same of its causes."""
    told: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        told += [type(seen).__name__, str(seen), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(told)


class _Keeper(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def kept_log() -> Iterator[list[str]]:
    """Keep what memora logs, down to DEBUG, until the list is cleared."""
    logger = logging.getLogger("memora")
    lines: list[str] = []
    keeper = _Keeper(lines)
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
