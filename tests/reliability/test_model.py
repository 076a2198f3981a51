"""R2: random lives of a store, step by step beside a model of plain dictionaries.

Every rule makes a call of the public API and the same call of `model.py`; both must answer alike,
and after each step whatever the call may have touched is read back and compared: transcripts,
chains, heads, sources, the order of listings, jobs, and (drained) the vectors.

A failing life is kept in `.cache/hypothesis`, replayed first by the next run, and printed with a
`reproduce_failure` blob.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from memora.errors import (
    ExtractionError,
    MemoraError,
    VectorDBConnectionError,
    VectorDBError,
)
from memora.schema.models import Memory
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
    MemoryToStore,
)
from tests.reliability.interleaving import stepped
from tests.reliability.model import (
    USER,
    Answers,
    Given,
    Model,
    Person,
    Refused,
    Said,
    Save,
    Talk,
    Version,
    valid_at,
)
from tests.reliability.model_world import World, newest_first, shown
from tests.reliability.scorecard import ROOT, Score

# The nightly run takes about an hour.
pytestmark = [pytest.mark.timeout(14_400), pytest.mark.suite("R2")]

STEPS = 40
# Not every life has all of its steps: these make 6,000, and half a million.
LIVES = 186
NIGHTLY_LIVES = 16_000
# One call comes after the other, so that threads only cost time; every tenth life has them.
WITH_THREADS = 10

T = TypeVar("T")
R = TypeVar("R")

HOUR = timedelta(hours=1)
ORGS = ("acme", "umbra")
PLACES = [("acme", "ann")] * 5 + [("acme", "bob")] * 3 + [("umbra", "ann"), ("umbra", "eve")]
AGENTS = ("jenny", "anns-own", "rob")
NAMES = ("Ann", "Ke$ha\\", "agent_007", "[[user]]", "Null")

places = st.sampled_from(PLACES)
picks = st.integers(0, 63)
names = st.sampled_from(NAMES)
agents = st.sampled_from([None, None, *AGENTS])
hours = st.integers(-3, 3)
subjects = st.sampled_from(["city", "dish", "pet"])
values = st.sampled_from(["Rome", "rice", "a cat"])
statements = st.builds("The {} of [[user]] is {}.".format, subjects, values)
contents = st.one_of(
    st.builds("My {} is {}.".format, subjects, values),
    st.builds("my {} is  {}".format, subjects, values),
    st.sampled_from(["[[u:ann]] and [[=x", "  ", "Hello!"]),
)


def _said(role: str, content: str, name: str | None, hour: int | None) -> Said:
    if role == "assistant" and hour == 0:
        return Said(role, None, name, data='{"tool_calls":[{"id":"t1"}]}')
    at = None if hour is None else WORLD_START + hour * HOUR
    return Said(role, content, name, at=at)


WORLD_START = World(Path()).now
messages = st.builds(
    _said,
    st.sampled_from(["user", "user", "user", "assistant", "tool", "system"]),
    contents,
    st.sampled_from([None, None, None, "Ann B."]),
    st.sampled_from([None, None, None, 0, -2, 2]),
)
talks = st.lists(messages, min_size=1, max_size=3)
thoughts = st.lists(st.tuples(statements, picks), max_size=3)


# What a rule needs, so that a step is seldom about nothing.
rarely = precondition(lambda self: self.step % 8 == 7)
with_vectors = precondition(lambda self: self.world.vectors.outage is None)
with_talks = precondition(lambda self: any(person.talks for person in self.everybody()))
with_memories = precondition(lambda self: any(person.chains for person in self.everybody()))


class Life(RuleBasedStateMachine):
    """One store from its first call to its last."""

    folder: ClassVar[Path]
    steps: ClassVar[int] = 0
    lives: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).lives += 1
        self.resources = ExitStack()
        loop = None
        if self.lives % WITH_THREADS:
            loop = self.resources.enter_context(stepped(self.lives))
        self.runner = asyncio.Runner(loop_factory=None if loop is None else lambda: loop)
        self.path = self.folder / f"life{self.lives}"
        self.world = World(self.path)
        self.run(self.world.open())
        self.touched: set[tuple[str, str]] = set()
        self.step = -1
        self.reopened = False

    def run(self, call: Awaitable[R]) -> R:
        async def main() -> R:
            return await call

        self.agreed = False
        return self.runner.run(main())

    def teardown(self) -> None:
        try:
            if self.agreed:
                self.run(self.world.recover())
                self.run(self.world.compare_all())
        finally:
            self.run(self.world.close())
            self.runner.close()
            self.resources.close()
            shutil.rmtree(self.path, ignore_errors=True)

    # What every rule does

    @property
    def model(self) -> Model:
        return self.world.model

    def agree(
        self,
        call: Awaitable[R],
        told: Callable[[R], T],
        touches: tuple[str, str] | None = None,
    ) -> tuple[R, T] | None:
        """Make a call of the engine and of the model; both must do, or both refuse alike.

        The model is told the engine's answer, because that has the ids that it made up. Where the
        engine refused, it is told the error.
        """
        answer: Any
        failure: MemoraError | None = None
        try:
            answer = self.run(call)
        except MemoraError as error:
            answer = failure = error
        if touches is not None:
            self.touched.add(touches)
        try:
            expected = told(answer)
        except Refused as refused:
            found = "no error" if failure is None else f"{type(failure).__name__}: {failure}"
            if type(failure).__name__ != refused.kind:
                raise AssertionError(f"expected {refused.kind}, {found}") from failure
            return None
        if failure is not None:
            raise AssertionError(f"expected {expected!r}") from failure
        return answer, expected

    def person(self, place: tuple[str, str]) -> Person | None:
        house = self.model.houses.get(place[0])
        return None if house is None else house.people.get(place[1])

    def everybody(self) -> list[Person]:
        return [person for _, person in self.people()]

    def people(self) -> list[tuple[tuple[str, str], Person]]:
        """Return everybody with where they are."""
        return [
            ((org_id, user_id), person)
            for org_id, house in self.model.houses.items()
            for user_id, person in house.people.items()
        ]

    def some_talk(self, place: tuple[str, str], pick: int) -> Talk | None:
        person = self.person(place)
        found = [] if person is None else list(person.talks.values())
        return found[pick % len(found)] if found else None

    def some_memory(self, place: tuple[str, str], pick: int) -> str:
        """Return the id of one of the person's versions, rarely one that nobody has."""
        person = self.person(place)
        found = [] if person is None else list(person.versions())
        if not found or pick == 0:
            return "5b0c1de2-0000-4000-8000-000000000000"
        return str(found[pick % len(found)].memory_id)

    @initialize()
    def two_people_and_a_helper(self) -> None:
        for user_id in ("ann", "bob"):
            self.create_person(("acme", user_id), "Ann")
        self.create_helper("acme", "jenny", "Jenny", None)
        self.create_helper("acme", "anns-own", "Own", "ann")
        for place, city in ((("acme", "ann"), "Rome"), (("acme", "bob"), "rice")):
            said = (Said("user", f"My city is {city}."), Said("assistant", "I see."))
            thought = ("The city of [[user]] is Rome.", 1)
            self.save(
                place, Save(said, self.world.now - HOUR, agent_id="jenny"), ([thought], 0, "")
            )
            self.run(self.world.compare(*place))

    @invariant()
    def both_tell_the_same(self) -> None:
        type(self).steps += self.step >= 0
        self.step += 1
        for org_id, user_id in self.touched:
            self.run(self.world.compare(org_id, user_id))
        self.touched.clear()
        if self.step % 12 == 0:
            self.run(self.world.examine())
        self.agreed = True

    # Organizations, people, helpers

    @rule(org_id=st.sampled_from(ORGS), name=names)
    def create_house(self, org_id: str, name: str) -> None:
        now = self.world.now
        self.agree(
            self.world.graph.create_organization(name, org_id=org_id),
            lambda _: self.model.create_house(org_id, name, now),
        )

    @rule(org_id=st.sampled_from(ORGS), name=names)
    def rename_house(self, org_id: str, name: str) -> None:
        def told(_: Any) -> None:
            self.model.house(org_id).name = name

        self.agree(self.world.graph.update_organization(org_id, name), told)

    @rarely
    @rule(org_id=st.sampled_from(ORGS))
    def delete_house(self, org_id: str) -> None:
        house = self.model.houses.pop(org_id, None)
        counts = self.run(self.world.graph.delete_organization(org_id))
        assert counts.users == (0 if house is None else len(house.people))

    @rule(place=places, name=names)
    def create_person(self, place: tuple[str, str], name: str) -> None:
        org_id, user_id = place
        if org_id not in self.model.houses and name == "Ann":
            self.create_house(org_id, "Acme")
        now = self.world.now
        self.agree(
            self.world.graph.create_user(org_id, name, user_id=user_id),
            lambda _: self.model.create_person(org_id, user_id, name, now),
        )

    @rule(place=places, name=names)
    def rename_person(self, place: tuple[str, str], name: str) -> None:
        def told(_: Any) -> None:
            self.model.person(*place).name = name

        self.agree(self.world.graph.update_user(*place, name), told, place)

    @rarely
    @rule(place=places)
    def delete_person(self, place: tuple[str, str]) -> None:
        answer = self.agree(
            self.world.graph.delete_user(*place), lambda _: self.model.delete_person(*place)
        )
        assert answer is not None
        assert answer[0].users == answer[1]

    @rule(
        org_id=st.sampled_from(ORGS),
        agent_id=st.sampled_from(AGENTS),
        label=names,
        user_id=st.sampled_from([None, "ann", "bob"]),
    )
    def create_helper(self, org_id: str, agent_id: str, label: str, user_id: str | None) -> None:
        now = self.world.now
        self.agree(
            self.world.graph.create_agent(org_id, label, user_id, agent_id=agent_id),
            lambda _: self.model.create_helper(org_id, agent_id, label, user_id, now),
        )

    @rule(org_id=st.sampled_from(ORGS), agent_id=st.sampled_from(AGENTS), label=names)
    def rename_helper(self, org_id: str, agent_id: str, label: str) -> None:
        def told(_: Any) -> None:
            self.model.helper(org_id, agent_id).label = label

        self.agree(self.world.graph.update_agent(org_id, agent_id, label), told, (org_id, "ann"))

    @rule(org_id=st.sampled_from(ORGS), agent_id=st.sampled_from(AGENTS))
    def delete_helper(self, org_id: str, agent_id: str) -> None:
        self.run(self.world.graph.delete_agent(org_id, agent_id))
        house = self.model.houses.get(org_id)
        helper = None if house is None else house.helpers.get(agent_id)
        if helper is not None:
            helper.deleted = True
        self.touched.add((org_id, "ann"))

    # Saving

    def save(
        self,
        place: tuple[str, str],
        call: Save,
        mind: tuple[list[tuple[str, int]], int, str] | None = None,
    ) -> None:
        """Save on both sides; with a mind, memories are extracted by it."""
        memora = self.world.verbatim if mind is None else self.world.thinking
        answers = self.think(place, mind)
        now = self.world.now
        saving = memora.save_or_update_interaction_and_memories(
            *place,
            call.agent_id,
            [said.given() for said in call.messages],
            call.talk_id,
            call.at,
            call.about_agent,
            call.across,
            expected_revision=call.expected,
            idempotency_key=call.key,
            external_id=call.external_id,
            title=call.title,
            metadata=None if call.metadata is None else dict(call.metadata),
        )

        def told(answer: Any) -> tuple[str, Any]:
            made = ("", "")
            if isinstance(answer, ExtractionError):
                made = (answer.interaction_id, answer.job_id)
            elif isinstance(answer, tuple):
                made = (answer[0], "done")
            expected = self.model.save(*place, call, now, made, answers)
            return expected.talk_id, expected.at

        answer = self.agree(saving, told, place)
        if answer is not None:
            assert answer[0] == answer[1]

    def think(
        self, place: tuple[str, str], mind: tuple[list[tuple[str, int]], int, str] | None
    ) -> Answers | None:
        if mind is None:
            return None
        answers = Answers(vectors_down=self.world.vectors.outage is not None)
        world = self.world.mind
        world.thoughts, world.policy, world.down = mind
        world.person, world.answers = self.person(place), answers
        return answers

    minds = st.one_of(
        st.none(),
        st.tuples(thoughts, picks, st.sampled_from([""] * 4 + ["extract", "compare"])),
    )

    @rule(
        place=places, said=talks, agent=agents, hour=hours, mind=minds,
        about_agent=st.booleans(), pick=picks,
    )  # fmt: skip
    def save_a_new_talk(
        self,
        place: tuple[str, str],
        said: list[Said],
        agent: str | None,
        hour: int,
        mind: Any,
        about_agent: bool,
        pick: int,
    ) -> None:
        across = agent is None or bool(pick & 1)
        call = Save(
            tuple(said),
            self.world.now + hour * HOUR,
            agent_id=agent,
            about_agent=about_agent,
            across=across,
            external_id=f"ext{pick % 3}" if pick & 2 else None,
            title="T" if pick & 4 else None,
        )
        self.save(place, call, mind)

    @with_talks
    @rule(place=places, said=talks, agent=agents, hour=hours, mind=minds, pick=picks)
    def save_a_longer_talk(
        self,
        place: tuple[str, str],
        said: list[Said],
        agent: str | None,
        hour: int,
        mind: Any,
        pick: int,
    ) -> None:
        self.edit(place, pick, mind, hour, agent, keep=None, said=said)

    @with_talks
    @rule(place=places, keep=st.integers(0, 3), said=talks, hour=hours, mind=minds, pick=picks)
    def save_another_ending(
        self, place: tuple[str, str], keep: int, said: list[Said], hour: int, mind: Any, pick: int
    ) -> None:
        self.edit(place, pick, mind, hour, None, keep=keep, said=said)

    @with_talks
    @rule(place=places, keep=st.integers(0, 2), mind=minds, pick=picks)
    def save_a_shorter_talk(self, place: tuple[str, str], keep: int, mind: Any, pick: int) -> None:
        self.edit(place, pick, mind, 0, None, keep=keep, said=[])

    @with_talks
    @rule(place=places, agent=agents, mind=minds, pick=picks, title=names)
    def save_the_same_talk(
        self, place: tuple[str, str], agent: str | None, mind: Any, pick: int, title: str
    ) -> None:
        told = {"title": title, "metadata": (("n", pick),)} if pick & 1 else {}
        self.edit(place, pick, mind, 0, agent, keep=None, said=[], **told)

    def edit(
        self,
        place: tuple[str, str],
        pick: int,
        mind: Any,
        hour: int,
        agent: str | None,
        *,
        keep: int | None,
        said: list[Said],
        **options: Any,
    ) -> None:
        talk = self.some_talk(place, pick)
        kept = [] if talk is None else talk.messages[:keep]
        wanted = "nobody's" if talk is None else talk.talk_id
        if talk is not None and talk.external_id is not None and pick & 8:
            wanted = talk.external_id
        expected = None if talk is None or pick & 16 else talk.revision
        call = Save(
            (*kept, *said),
            self.world.now + hour * HOUR,
            talk_id=wanted,
            agent_id=agent,
            expected=expected,
            **options,
        )
        self.save(place, call, mind)

    @with_talks
    @rule(place=places, said=talks, pick=picks)
    def save_on_a_stale_revision(self, place: tuple[str, str], said: list[Said], pick: int) -> None:
        talk = self.some_talk(place, pick)
        wanted, revision = ("nobody's", 1) if talk is None else (talk.talk_id, talk.revision)
        stale = max(0, revision - 1) if pick & 1 else revision + 1
        if stale != revision:
            call = Save(tuple(said), self.world.now, talk_id=wanted, expected=stale)
            self.save(place, call)

    @rule(place=places, said=talks, mind=minds, key=st.integers(0, 4), pick=picks)
    def save_with_a_key_and_again(
        self, place: tuple[str, str], said: list[Said], mind: Any, key: int, pick: int
    ) -> None:
        talk = self.some_talk(place, pick) if pick & 1 else None
        call = Save(
            tuple(said),
            self.world.now,
            talk_id=None if talk is None else talk.talk_id,
            key=f"key{key}",
        )
        self.save(place, call, mind)
        self.run(self.world.compare(*place))
        self.save(place, call, mind)

    @precondition(lambda self: any(person.keys for person in self.everybody()))
    @rule(said=talks, mind=minds, pick=picks)
    def repeat_a_key(self, said: list[Said], mind: Any, pick: int) -> None:
        used = [(place, person, key) for place, person in self.people() for key in person.keys]
        place, person, key = used[pick % len(used)]
        agent_id, talk_id, external_id, *_ = body = person.keys[key][0]
        call = Save(
            tuple(said) if pick & 1 else body[4],
            self.world.now,
            talk_id=talk_id,
            external_id=external_id,
            agent_id=agent_id,
            key=key,
        )
        self.save(place, call, mind)

    @precondition(lambda self: any(person.jobs for person in self.everybody()))
    @rule(pick=picks, mind=minds)
    def resume_a_job(self, pick: int, mind: Any) -> None:
        left = [(place, job_id) for place, person in self.people() for job_id in person.jobs]
        place, job_id = left[pick % len(left)]
        answers = self.think(place, mind or ([], 0, ""))
        assert answers is not None
        answer = self.agree(
            self.world.thinking.resume_job(place[0], job_id),
            lambda _: self.model.resume(place[0], job_id, answers),
            place,
        )
        assert answer is None or answer == (True, True)

    @rule(place=places, agent=agents, pick=picks)
    def create_a_talk(self, place: tuple[str, str], agent: str | None, pick: int) -> None:
        external_id = f"ext{pick % 3}" if pick & 4 else None
        now = self.world.now

        def told(answer: Any) -> str:
            made = getattr(answer, "interaction_id", "")
            return self.model.create_talk(*place, agent, external_id, made, now).talk_id

        answer = self.agree(
            self.world.graph.create_interaction(*place, agent, external_id=external_id),
            told,
            place,
        )
        assert answer is None or answer[0].interaction_id == answer[1]

    @rule(
        place=places, said=talks, agent=agents, hour=hours, pick=picks,
        given=st.lists(st.tuples(statements, picks, st.booleans()), max_size=3),
    )  # fmt: skip
    def store_known_memories(
        self,
        place: tuple[str, str],
        said: list[Said],
        agent: str | None,
        hour: int,
        pick: int,
        given: list[tuple[str, int, bool]],
    ) -> None:
        talk = self.some_talk(place, pick) if pick & 1 else None
        transcript = [*talk.messages, *said] if talk is not None and pick & 2 else said
        # Each of its own text, so that its version can be told from its siblings.
        by_text = {text: (number, contradicts) for text, number, contradicts in given}
        stated = [
            self.given(place, transcript, text, number, contradicts=contradicts)
            for text, (number, contradicts) in by_text.items()
        ]
        # Those that contradict are taken in after the others.
        stated.sort(key=lambda item: item.contradicts is not None)
        now = self.world.now
        at = now + hour * HOUR
        body = _as_stored(transcript, stated, at, place[1])
        graph = self.world.graph
        expected = None
        if talk is None:
            call = graph.save_interaction_with_memories(place[0], agent, place[1], body)
        else:
            expected = (None, talk.revision, talk.revision + 1)[pick // 4 % 3]
            call = graph.update_interaction_and_memories(
                place[0], agent, place[1], talk.talk_id, body, expected_revision=expected
            )

        def told(answer: Any) -> tuple[str, Any]:
            made = answer[0] if isinstance(answer, tuple) else ""
            known = None if talk is None else talk.talk_id
            stored = self.model.store(
                *place, agent, known, made, transcript, stated, at, now, expected
            )
            return stored.talk_id, stored.created_at if talk is None else stored.updated_at

        answer = self.agree(call, told, place)
        assert answer is None or answer[0] == answer[1]

    def given(
        self,
        place: tuple[str, str],
        transcript: list[Said],
        text: str,
        pick: int,
        *,
        contradicts: bool,
    ) -> Given:
        sources = {position for position in range(len(transcript)) if pick >> position & 1}
        return Given(
            text.replace("[[user]]", USER),
            tuple(sorted(sources)) if pick != 63 else (len(transcript),),
            self.some_memory(place, pick) if contradicts else None,
        )

    # Single memories

    @with_memories
    @rule(place=places, pick=picks, text=statements, author=st.sampled_from([None, "Eve"]))
    def update_a_memory(
        self, place: tuple[str, str], pick: int, text: str, author: str | None
    ) -> None:
        memory_id, now = self.some_memory(place, pick), self.world.now
        self.agree(
            self.world.verbatim.update_memory(
                *place, memory_id, text.replace("[[user]]", f"[[u:{place[1]}]]"), author=author
            ),
            lambda _: self.model.update(
                *place, memory_id, text.replace("[[user]]", USER), author, now
            ),
            place,
        )

    @with_memories
    @rule(place=places, pick=picks)
    def revert_a_memory(self, place: tuple[str, str], pick: int) -> None:
        memory_id, now = self.some_memory(place, pick), self.world.now
        self.agree(
            self.world.verbatim.revert_memory(*place, memory_id),
            lambda _: self.model.revert(*place, memory_id, None, now),
            place,
        )

    @with_memories
    @rule(place=places, pick=picks, hour=hours)
    def retract_a_memory(self, place: tuple[str, str], pick: int, hour: int) -> None:
        memory_id = self.some_memory(place, pick)
        at = self.world.now + hour * HOUR
        self.agree(
            self.world.verbatim.retract_memory(*place, memory_id, at=at if hour else None),
            lambda _: self.model.retract(*place, memory_id, at),
            place,
        )

    @with_memories
    @rule(place=places, pick=picks)
    def delete_a_memory(self, place: tuple[str, str], pick: int) -> None:
        memory_id = self.some_memory(place, pick)
        answer = self.agree(
            self.world.verbatim.delete_memory(*place, memory_id),
            lambda _: self.model.purge(*place, memory_id),
            place,
        )
        assert answer is not None
        assert answer[0].deleted == bool(answer[1])

    @precondition(lambda self: any(len(c) > 1 for p in self.everybody() for c in p.chains))
    @rule(pick=picks, which=st.sampled_from(["head", "middle", "tail"]))
    def delete_of_a_long_chain(self, pick: int, which: str) -> None:
        chains = [(place, chain) for place, person in self.people() for chain in person.chains]
        long = [(place, chain) for place, chain in chains if len(chain) > 1]
        place, chain = long[pick % len(long)]
        version = chain[{"head": -1, "middle": len(chain) // 2, "tail": 0}[which]]
        counts = self.run(self.world.graph.delete_user_memory(*place, str(version.memory_id)))
        assert counts.memories == self.model.purge(*place, version.memory_id) == 1
        self.touched.add(place)

    @precondition(lambda self: any(v.sources for p in self.everybody() for v in p.versions()))
    @rule(pick=picks, thinking=st.booleans())
    def delete_a_memory_and_say_it_again(self, pick: int, thinking: bool) -> None:
        """I12: what was purged is not remembered again from the same messages."""
        sourced = [(place, v) for place, p in self.people() for v in p.versions() if v.sources]
        place, version = sourced[pick % len(sourced)]
        talk_id, position = min(version.sources)
        said = tuple(self.model.person(*place).talks[talk_id].messages)
        mind = ([(version.text.replace(USER, "[[user]]"), 1 << position % 8)], 0, "")
        purged = self.run(self.world.verbatim.delete_memory(*place, str(version.memory_id)))
        assert purged.deleted == bool(self.model.purge(*place, version.memory_id))
        for messages_now in ((), said):
            self.run(self.world.compare(*place))
            call = Save(messages_now, version.obtained_at, talk_id=talk_id)
            self.save(place, call, mind if thinking else None)

    @rarely
    @rule(place=places)
    def delete_all_memories(self, place: tuple[str, str]) -> None:
        counts = self.run(self.world.graph.delete_all_user_memories(*place))
        assert counts.memories == self.model.purge(*place, None)
        self.touched.add(place)

    @with_talks
    @rule(place=places, pick=picks)
    def delete_a_talk(self, place: tuple[str, str], pick: int) -> None:
        talk = self.some_talk(place, pick)
        talk_id = "nobody's" if talk is None else talk.talk_id
        counts = self.run(
            self.world.graph.delete_user_interaction_and_its_memories(*place, talk_id)
        )
        expected = self.model.delete_talks(*place, talk_id)
        assert (counts.interactions, counts.messages, counts.memories) == expected
        self.touched.add(place)

    @rarely
    @rule(place=places)
    def delete_all_talks(self, place: tuple[str, str]) -> None:
        counts = self.run(self.world.graph.delete_all_user_interactions_and_their_memories(*place))
        expected = self.model.delete_talks(*place, None)
        assert (counts.interactions, counts.messages, counts.memories) == expected
        self.touched.add(place)

    # Reading

    @rule(place=places, skip=st.integers(0, 3), limit=st.integers(1, 4), agent=agents)
    def read_pages(self, place: tuple[str, str], skip: int, limit: int, agent: str | None) -> None:
        answer = self.agree(
            self.world.graph.get_all_user_memories(*place, agent, skip, limit),
            lambda _: [
                version
                for version in self.model.person(*place).current()
                if agent in {None, version.agent_id}
            ],
        )
        if answer is not None:
            page = newest_first(answer[1])[skip : skip + limit]
            assert [memory.memory_id for memory in answer[0]] == page

    @with_memories
    @rule(place=places, pick=picks)
    def read_one_memory(self, place: tuple[str, str], pick: int) -> None:
        memory_id = self.some_memory(place, pick)

        def told(_: Any) -> list[Version]:
            person = self.person(place)
            if person is None:
                raise Refused("MemoryNotFoundError")
            return person.chain_of(memory_id)

        answer = self.agree(self.world.verbatim.memory_history(*place, memory_id), told)
        self.agree(self.world.graph.get_user_memory(*place, memory_id), told)
        found = self.run(
            self.world.graph.fetch_user_memories_resolved_batch(
                [[memory_id, memory_id], []], org_id=place[0], user_id=place[1]
            )
        )
        assert len(found) == 2
        if answer is None:
            assert found == [[], []]
            return
        history, chain = answer
        assert [v.memory_id for v in history] == [v.memory_id for v in reversed(chain)]
        head = valid_at(chain, None)
        wanted = [] if head is None else [head.memory_id]
        assert [[m.memory_id for m in batch] for batch in found] == [wanted, []]

    @with_vectors
    @rule(place=places, hour=st.integers(-6, 6), pick=picks)
    def search_the_present_and_the_past(self, place: tuple[str, str], hour: int, pick: int) -> None:
        person = self.person(place)
        if person is None:
            return
        as_of = self.world.now + hour * HOUR if pick & 1 else None
        if pick & 4:
            # The moment at which something began or ended.
            times = {time for v in person.versions() for time in (v.obtained_at, v.ended) if time}
            as_of = sorted(times)[pick % len(times)] if times else None
        excluded = {self.some_memory(place, pick)} if pick & 2 else set()
        queries = ["my city", "the dish of Ann"]
        batch = self.run(
            self.world.verbatim.search_memories_as_batch(
                place[0], queries, excluded, place[1], limit=1000, as_of=as_of
            )
        )
        assert len(batch) == len(queries)
        one = self.run(
            self.world.verbatim.search_memories_as_one(
                *place, queries, excluded, limit=1000, as_of=as_of
            )
        )
        for found in (*batch, one):
            self.check_found(
                place, found, {(place[1], v) for v in person.chains_at(as_of)}, excluded
            )
        nobody = self.run(
            self.world.verbatim.search_memories_as_batch(place[0], [], user_id=place[1])
        )
        assert nobody == []

    @with_vectors
    @rule(org_id=st.sampled_from(ORGS), agent=st.sampled_from([None, "jenny"]))
    def search_an_organization(self, org_id: str, agent: str | None) -> None:
        house = self.model.houses.get(org_id)
        if house is None:
            return
        if agent is not None and (agent not in house.helpers or house.helpers[agent].deleted):
            return
        (found,) = self.run(
            self.world.verbatim.search_memories_as_batch(
                org_id, ["city"], agent_id=agent, memory_search_scope="organization",
                search_across_agents=agent is None, limit=1000,
            )
        )  # fmt: skip
        everybody = {
            (user_id, version)
            for user_id, person in house.people.items()
            for version in person.current()
            if agent in {None, version.agent_id}
        }
        self.check_found((org_id, ""), found, everybody, set(), complete=agent is None)
        assert all(memory.message_sources == [] for memory in found)

    @with_vectors
    @rule(place=places, limit=st.integers(1, 3), always=st.sampled_from([(), ("other",)]))
    def recall(self, place: tuple[str, str], limit: int, always: tuple[str, ...]) -> None:
        person = self.person(place)
        answer = self.agree(
            self.world.verbatim.recall_memories_for_message(
                *place, "What is my city?", limit=limit, always=always
            ),
            lambda _: self.model.person(*place).current(),
        )
        if answer is None:
            return
        (memories, ids), current = answer
        assert ids == [memory.memory_id for memory in memories]
        assert len(ids) == len(set(ids)) <= limit
        if not self.world.is_behind:
            assert len(ids) == min(limit, len(current))
        first = newest_first(v for v in current if v.kind in always)[:limit]
        assert ids[: len(first)] == first
        assert person is not None
        self.check_found(
            place, memories[len(first) :], {(place[1], v) for v in current}, set(), complete=False
        )

    def check_found(
        self,
        place: tuple[str, str],
        found: list[Memory],
        expected: set[tuple[str, Version]],
        excluded: set[str],
        *,
        complete: bool = True,
    ) -> None:
        """Compare hits with what holds: all of it, unless the vectors may lag; best first."""
        house = self.model.houses[place[0]]
        texts = {v.memory_id: shown(house, user_id, v) for user_id, v in expected}
        wanted = {memory_id: text for memory_id, text in texts.items() if memory_id not in excluded}
        answers = {memory.memory_id: memory.memory for memory in found}
        assert answers.items() <= wanted.items()
        if complete and not self.world.is_behind:
            assert answers == wanted
        ranks = [(-(memory.score or 0.0), memory.memory_id) for memory in found]
        assert ranks == sorted(ranks)

    @with_talks
    @rule(place=places, said=talks, pick=picks)
    def preview_a_save(self, place: tuple[str, str], said: list[Said], pick: int) -> None:
        talk = self.some_talk(place, pick)
        if talk is None:
            return
        keep = pick % (len(talk.messages) + 1)
        expected = [*talk.messages[:keep], *said]
        while keep < min(len(talk.messages), len(expected)) and (
            talk.messages[keep] == expected[keep]
        ):
            keep += 1
        preview = self.run(
            self.world.verbatim.preview_save(
                *place, None, [message.given() for message in expected], talk.talk_id
            )
        )
        cut, new = len(talk.messages) - keep, len(expected) - keep
        assert (preview.cut_messages, preview.new_messages) == (cut, new)
        self.touched.add(place)

    # The world around

    @rule(minutes=st.sampled_from([1, 60, 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.world.clock.advance(timedelta(minutes=minutes))

    @rule(seconds=st.integers(1, 30))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.world.clock.advance(-timedelta(seconds=seconds))

    @rule(kind=st.sampled_from([VectorDBConnectionError, VectorDBError]))
    def the_vectors_go_down(self, kind: type[VectorDBError]) -> None:
        self.world.vectors.outage = (
            VectorDBConnectionError if kind is VectorDBConnectionError else VectorDBError
        )
        self.world.is_behind = True

    @precondition(lambda self: self.world.is_behind)
    @rule()
    def the_vectors_come_back(self) -> None:
        self.run(self.world.recover())

    @rule()
    def drain(self) -> None:
        report = self.run(self.world.verbatim.drain_outbox())
        assert report.failed == 0 or self.world.is_behind

    @rarely
    @precondition(lambda self: not self.world.is_behind)
    @rule()
    def make_all_vectors_again(self) -> None:
        done = self.run(self.world.verbatim.reindex())
        assert done == sum(1 for person in self.everybody() for _ in person.versions())
        self.run(self.world.examine())

    @precondition(lambda self: not self.reopened and self.step > 15)
    @rule()
    def close_and_open(self) -> None:
        self.reopened = True
        outage = self.world.vectors.outage
        self.run(self.world.close())
        self.run(self.world.open())
        self.world.vectors.outage = outage
        self.run(self.world.compare_all())


def _as_stored(
    transcript: list[Said], stated: list[Given], at: Any, user_id: str
) -> MemoriesAndInteraction:
    def fields(given: Given) -> dict[str, Any]:
        text = given.text.replace(USER, f"[[u:{user_id}]]")
        return {"memory": text, "source_msg_block_pos": list(given.sources)}

    return MemoriesAndInteraction(
        interaction=[message.given() for message in transcript],
        interaction_date=at,
        memories=[MemoryToStore(**fields(g)) for g in stated if g.contradicts is None],
        contrary_memories=[
            ContraryMemoryToStore(**fields(g), existing_contrary_memory_id=g.contradicts)
            for g in stated
            if g.contradicts is not None
        ],
    )


@pytest.mark.slow
def test_r2_random_lives_agree_with_the_model(
    tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    Life.folder = tmp_path
    Life.steps = Life.lives = 0
    score("R2", seed=seed)
    life = seeded(seed)(type("Life", (Life,), {}))
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=NIGHTLY_LIVES if nightly else LIVES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            database=DirectoryBasedExampleDatabase(ROOT / ".cache" / "hypothesis"),
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ],
        ),
    )
    score("R2", lives=life.lives, steps=life.steps, violations=0)
    assert life.steps >= (12_500 if nightly else 150) * STEPS
