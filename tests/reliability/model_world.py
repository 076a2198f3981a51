"""The engine that R2 drives, the environment that it is given, and how it is compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.errors import LLMConnectionError, VectorDBError
from memora.graph_db import SQLiteGraph
from memora.graph_db.base import MemoryListing
from memora.schema.index import IndexDocument, QueryHits
from memora.schema.models import Interaction, Memory
from memora.schema.scope import Scope
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from memora.vector_db import EmbeddedVectorDB
from tests.reliability.model import (
    AGENT,
    USER,
    Answers,
    Heard,
    Helper,
    House,
    Model,
    Person,
    Talk,
    Verdict,
    Version,
    neutral,
)

_SUBJECT = re.compile(r"\b(city|dish|pet)\b", re.IGNORECASE)


class FlakyVectors(EmbeddedVectorDB):
    """A vector store that can be made to fail, for a while or (it seems) for good."""

    outage: type[VectorDBError] | None = None

    def _fail(self) -> None:
        if self.outage is not None:
            raise self.outage("embedded", "down")

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        self._fail()
        await super().upsert(documents)

    async def run_queries(self, *args: Any, **kwargs: Any) -> list[QueryHits]:
        self._fail()
        return await super().run_queries(*args, **kwargs)

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        self._fail()
        await super().remove(scope, memory_ids)

    async def remove_user(self, org_id: str, user_id: str) -> None:
        self._fail()
        await super().remove_user(org_id, user_id)

    async def remove_organization(self, org_id: str) -> None:
        self._fail()
        await super().remove_organization(org_id)


@dataclass
class Mind:
    """What the language model will answer in the next call, and what it did answer.

    Attributes:
        thoughts: Statements that it hears, each with a number that picks its messages.
        policy: Picks the verdicts.
        down: The stage at which it is down.
        person: Whose memories it is shown, to name only those whose text is unique.
    """

    thoughts: Sequence[tuple[str, int]] = ()
    policy: int = 0
    down: str = ""
    person: Person | None = None
    answers: Answers = field(default_factory=Answers)

    def __call__(self, call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            return self._extract(call)
        if call.schema == "MemoryComparisonResponse":
            return self._compare(call)
        return {"queries": []}

    def _extract(self, call: Call) -> Answer:
        if self.down == "extract":
            self.answers.heard = None
            return LLMConnectionError("scripted", "down")
        shown = [message["id"] for message in call.data["new_messages"]]
        heard: list[Heard] = []
        items: list[dict[str, Any]] = []
        for text, pick in self.thoughts:
            sources = [number for number in shown if pick >> number % 8 & 1] or shown[:1]
            heard.append(Heard(text, tuple(sources)))
            # A message that it was not shown is not believed.
            named = [*sources, 99] if pick & 1 else sources
            items.append(_item(text, named))
        items.append(_item("Nobody said this.", [98]))
        self.answers.heard = tuple(heard)
        return {"memories": items}

    def _compare(self, call: Call) -> Answer:
        if self.down == "compare":
            self.answers.comparison_failed = True
            return LLMConnectionError("scripted", "down")
        assert self.person is not None
        texts = [neutral(version.text) for version in self.person.current()]
        verdicts: list[dict[str, Any]] = []
        for candidate in call.data["candidates"]:
            number, text = candidate["number"], candidate["memory"]
            kind = ("contradiction", "duplicate", "contradiction", "new")[
                (self.policy + number) % 4
            ]
            about = [
                known
                for known in call.data["existing"]
                if subject(known["memory"]) == subject(text) and texts.count(known["memory"]) == 1
            ]
            if kind == "new" or not about:
                # A number that it was not shown counts as new, and so does no answer.
                verdicts.append({"candidate": number, "verdict": "duplicate", "existing": 77})
                continue
            chosen = about[self.policy // 4 % len(about)]
            self.answers.verdicts[text] = Verdict(kind, chosen["memory"])
            verdicts.append({"candidate": number, "verdict": kind, "existing": chosen["number"]})
        return {"verdicts": verdicts}


def _item(text: str, sources: list[int]) -> dict[str, Any]:
    return {
        "memory": text,
        "msg_source_ids": sources,
        "memory_type": "preference",
        "importance": 0.5,
    }


def subject(text: str) -> str | None:
    """Return what a statement is about."""
    found = _SUBJECT.search(text)
    return None if found is None else found.group().lower()


class World:
    """One pair of stores under two engines, with and without a language model, and the model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FrozenClock()
        self.ids = SequentialIds("r2-")
        self.model = Model()
        self.mind = Mind()
        # Set by an outage, taken back when everything was seen to be drained.
        self.is_behind = False

    async def open(self) -> None:
        """Open the stores, or open them again."""
        self.vectors = FlakyVectors(self.folder / "vectors", embedder=HashingEmbedder())
        graph = SQLiteGraph(self.folder / "graph.sqlite3", clock=self.clock, ids=self.ids)
        self.verbatim = Memora(self.vectors, graph)
        self.thinking = Memora(self.vectors, graph, None, ScriptedBackendLLM(self.mind))
        await self.verbatim.setup()
        self.graph = self.verbatim.graph

    async def close(self) -> None:
        await self.verbatim.close()

    @property
    def now(self) -> datetime:
        return self.clock.now()

    async def recover(self) -> None:
        """End an outage; afterwards the vectors are those of the graph (I5, I6)."""
        self.vectors.outage = None
        await self.graph.retry_outbox(self.now)
        report = await self.verbatim.drain_outbox()
        assert report.failed == 0, report
        self.is_behind = False
        await self.examine()

    async def examine(self) -> None:
        """Let doctor look, and compare the vectors with the model where none may lag."""
        diagnosis = await self.verbatim.doctor()
        status = await self.graph.outbox_status()
        if status.dead == 0:
            assert diagnosis.clean, diagnosis.findings
        expected = {
            version.memory_id: (org_id, user_id)
            for org_id, house in self.model.houses.items()
            for user_id, person in house.people.items()
            for version in person.versions()
        }
        assert diagnosis.memories == len(expected)
        if not self.is_behind:
            assert (status.pending, status.dead) == (0, 0)
            entries = await self.vectors.scan(limit=1000)
            assert {e.memory_id: (e.org_id, e.user_id) for e in entries} == expected

    # Comparison

    async def compare_all(self) -> None:
        """Compare every organization."""
        houses = await self.graph.get_all_organizations()
        assert [(h.org_id, h.org_name, h.created_at) for h in houses] == sorted(
            ((i, h.name, h.created_at) for i, h in self.model.houses.items()),
            key=lambda row: (row[2], row[0]),
        )
        for org_id, house in self.model.houses.items():
            await self._compare_house(org_id, house)
            for user_id in house.people:
                await self.compare(org_id, user_id)

    async def _compare_house(self, org_id: str, house: House) -> None:
        people = await self.graph.get_all_org_users(org_id)
        assert [(p.user_id, p.user_name, p.created_at) for p in people] == sorted(
            ((i, p.name, p.created_at) for i, p in house.people.items()),
            key=lambda row: (row[2], row[0]),
        )
        agents = await self.graph.get_all_org_agents(org_id)
        assert [(a.agent_id, a.agent_label, a.user_id) for a in agents] == _helpers(house)
        for user_id in house.people:
            own = await self.graph.get_all_user_agents(org_id, user_id)
            assert [(a.agent_id, a.agent_label, a.user_id) for a in own] == [
                row for row in _helpers(house) if row[2] == user_id
            ]

    async def compare(self, org_id: str, user_id: str) -> None:
        """Compare everything that belongs to one person, and learn the ids of new versions."""
        house = self.model.houses.get(org_id)
        person = None if house is None else house.people.get(user_id)
        if house is None or person is None:
            return
        scope = Scope(org_id, user_id)
        found = await self.graph.with_names(
            org_id,
            await self.graph.list_memories(scope, MemoryListing(current_only=False)),
        )
        _learn_ids(house, person, user_id, found)
        by_id = {memory.memory_id: memory for memory in found}
        assert [m.memory_id for m in found] == newest_first(person.versions())
        for chain in person.chains:
            _compare_chain(house, person, user_id, chain, by_id)
        current = await self.graph.get_all_user_memories(org_id, user_id)
        assert [memory.memory_id for memory in current] == newest_first(person.current())
        talks = await self.graph.get_all_user_interactions(
            org_id, user_id, with_messages=True, with_memories=True
        )
        assert [talk.interaction_id for talk in talks] == [
            talk.talk_id
            for talk in sorted(
                sorted(person.talks.values(), key=lambda talk: talk.talk_id),
                key=lambda talk: talk.updated_at,
                reverse=True,
            )
        ]
        for talk in talks:
            _compare_talk(person, person.talks[talk.interaction_id], talk)
        jobs = await self.verbatim.list_jobs(org_id, user_id=user_id)
        assert {job.job_id: (job.start, job.end) for job in jobs} == {
            job.job_id: (job.start, job.end) for job in person.jobs.values()
        }


def _helpers(house: House) -> list[tuple[str, str, str | None]]:
    alive = [(i, helper) for i, helper in house.helpers.items() if not helper.deleted]
    alive.sort(key=lambda row: (row[1].created_at, row[0]))
    return [(agent_id, helper.label, helper.user_id) for agent_id, helper in alive]


def newest_first(versions: Any) -> list[str]:
    """Return the ids in the order of a listing."""
    ordered = sorted(versions, key=lambda v: (v.obtained_at, v.memory_id), reverse=True)
    return [version.memory_id for version in ordered]


def shown(house: House, user_id: str, version: Version) -> str:
    """Return the text of a version with the names of today."""
    helper: Helper | None = house.helpers.get(version.agent_id or "")
    label = "the agent" if helper is None else helper.label
    return version.text.replace(USER, house.people[user_id].name).replace(AGENT, label)


def _learn_ids(house: House, person: Person, user_id: str, found: Sequence[Memory]) -> None:
    known = {version.memory_id for version in person.versions()}
    made = [memory for memory in found if memory.memory_id not in known]
    unnamed = [version for version in person.versions() if version.memory_id is None]
    assert len(made) == len(unnamed), ([m.memory for m in made], [v.text for v in unnamed])
    for version in unnamed:
        twins = [
            memory
            for memory in made
            if (memory.memory, memory.obtained_at, memory.interaction_id, memory.source_role)
            == (shown(house, user_id, version), version.obtained_at, version.talk_id, version.role)
        ]
        assert len(twins) == 1, (version, made)
        version.memory_id = twins[0].memory_id
        made.remove(twins[0])


def _compare_chain(
    house: House, person: Person, user_id: str, chain: list[Version], by_id: dict[str, Memory]
) -> None:
    before = [None, *(version.memory_id for version in chain)]
    after = [*(version.memory_id for version in chain[1:]), None]
    memories = [by_id[str(version.memory_id)] for version in chain]
    assert len({memory.chain_id for memory in memories}) == 1
    for version, memory, earlier, later in zip(chain, memories, before, after, strict=False):
        expected = {
            "memory": shown(house, user_id, version),
            "obtained_at": version.obtained_at,
            "superseded_at": version.ended,
            "supersedes": earlier,
            "superseded_by": later,
            "agent_id": version.agent_id,
            "interaction_id": version.talk_id,
            "source_role": version.role,
            "memory_type": version.kind,
            "author": version.author,
        }
        assert {name: memory[name] for name in expected} == expected
        sources = [
            (position, person.talks[talk_id].messages[position].given())
            for talk_id, position in sorted(version.sources)
        ]
        assert [(m.msg_position, m.as_message()) for m in memory.message_sources] == sources


def _compare_talk(person: Person, talk: Talk, found: Interaction) -> None:
    expected = {
        "agent_id": talk.agent_id,
        "external_id": talk.external_id,
        "title": talk.title,
        "metadata": talk.metadata,
        "participants": talk.participants,
        "created_at": talk.created_at,
        "last_activity_at": talk.active_at,
        "updated_at": talk.updated_at,
        "revision": talk.revision,
        "message_count": len(talk.messages),
    }
    assert {name: found[name] for name in expected} == expected
    assert found.messages is not None
    assert [m.as_message() for m in found.messages] == [m.given() for m in talk.messages]
    assert [m.msg_position for m in found.messages] == list(range(len(talk.messages)))
    learned = [version for version in person.versions() if version.talk_id == talk.talk_id]
    assert found.memories is not None
    assert [memory.memory_id for memory in found.memories] == newest_first(learned)
