"""What memora promises, as plain lists and dictionaries: R2 compares the engine with this.

It is written from the contract (`graph_db/base.py`, docs/concepts, docs/design) and shares no code
with the engine. What the environment decides is passed in: the ids that the engine made up, what
the language model said, and whether the vector store was down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

# In a stored text these stand for the names of its user and of its agent.
USER, AGENT = "\ue000", "\ue001"
TRUST = {"api": 3, "user": 2, "assistant": 1, "tool": 0}
_MICROSECOND = timedelta(microseconds=1)


class Refused(Exception):  # noqa: N818 - an answer, not a mistake
    """The call is refused with an error of this type, and changes nothing."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(kind)


@dataclass(frozen=True)
class Said:
    """A message: what identifies it, and when it was said."""

    role: str
    content: str | None
    name: str | None = None
    data: str = ""
    at: datetime | None = field(default=None, compare=False)

    def given(self) -> dict[str, Any]:
        """Return the message in the shape in which callers pass it."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.data:
            message |= json.loads(self.data)
        if self.name is not None:
            message["name"] = self.name
        if self.at is not None:
            message["timestamp"] = self.at
        return message

    @property
    def heard(self) -> str:
        """What of it may become a memory."""
        return (self.content or "").strip()


@dataclass(eq=False)
class Version:
    """One version of a statement; its id is not known before the engine was asked for it."""

    text: str
    obtained_at: datetime
    role: str
    agent_id: str | None = None
    talk_id: str | None = None
    sources: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    kind: str = "fact"
    author: str | None = None
    memory_id: str | None = None
    ended: datetime | None = None


@dataclass(eq=False)
class Talk:
    talk_id: str
    agent_id: str | None
    created_at: datetime
    active_at: datetime
    updated_at: datetime
    external_id: str | None = None
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    messages: list[Said] = field(default_factory=list[Said])
    participants: list[str] = field(default_factory=list[str])
    revision: int = 0


@dataclass(frozen=True)
class Heard:
    """One statement as the extraction model words it, and the messages that it names."""

    text: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    """What the comparison model says of a candidate; `existing` is the text it was shown."""

    kind: str
    existing: str


@dataclass
class Answers:
    """What the environment did during one call.

    Attributes:
        heard: Answer of the extraction model; None: it was down.
        verdicts: By the text of the candidate.
        comparison_failed: It was asked, and was down.
        vectors_down: The vector store was.
    """

    heard: tuple[Heard, ...] | None = ()
    verdicts: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    comparison_failed: bool = False
    vectors_down: bool = False


@dataclass(eq=False)
class Job:
    """An extraction that is left: of messages [start, end)."""

    job_id: str
    talk: Talk
    start: int
    end: int
    agent_id: str | None
    at: datetime
    about_agent: bool
    across: bool
    heard: tuple[Heard, ...] | None = None

    @property
    def audible(self) -> set[str]:
        """Roles whose words may be remembered."""
        return {"user", "assistant"} if self.about_agent else {"user"}


@dataclass(eq=False)
class Person:
    name: str
    created_at: datetime
    talks: dict[str, Talk] = field(default_factory=dict[str, Talk])
    # Each chain from its oldest version to its newest.
    chains: list[list[Version]] = field(default_factory=list[list[Version]])
    graves: set[tuple[tuple[Said, ...], str]] = field(
        default_factory=set[tuple[tuple[Said, ...], str]]
    )
    keys: dict[str, tuple[Any, tuple[str, datetime, str | None]]] = field(
        default_factory=dict[str, tuple[Any, tuple[str, datetime, str | None]]]
    )
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])

    def versions(self) -> Iterator[Version]:
        """Yield all versions of all statements."""
        for chain in self.chains:
            yield from chain

    def current(self) -> list[Version]:
        """Return the versions that hold."""
        return [version for version in self.versions() if version.ended is None]

    def chains_at(self, at: datetime | None) -> list[Version]:
        """Return the version of each statement that held at that time, where one did."""
        found = (valid_at(chain, at) for chain in self.chains)
        return [version for version in found if version is not None]

    def chain_of(self, memory_id: str) -> list[Version]:
        """Return the chain of a version, or refuse."""
        for chain in self.chains:
            if any(version.memory_id == memory_id for version in chain):
                return chain
        raise Refused("MemoryNotFoundError")

    def talk(self, talk_id: str) -> Talk:
        """Return the interaction of that id or external id, or refuse."""
        found = self.find_talk(talk_id)
        if found is None:
            raise Refused("InteractionNotFoundError")
        return found

    def find_talk(self, talk_id: str) -> Talk | None:
        """Return the interaction of that id or external id, if there is one."""
        if talk_id in self.talks:
            return self.talks[talk_id]
        return next((t for t in self.talks.values() if t.external_id == talk_id), None)


@dataclass(eq=False)
class Helper:
    """An agent; one that was deleted keeps its label for what it wrote."""

    label: str
    user_id: str | None
    created_at: datetime
    deleted: bool = False


@dataclass(eq=False)
class House:
    """An organization."""

    name: str
    created_at: datetime
    people: dict[str, Person] = field(default_factory=dict[str, Person])
    helpers: dict[str, Helper] = field(default_factory=dict[str, Helper])


@dataclass(frozen=True)
class Save:
    """Arguments of one save."""

    messages: tuple[Said, ...]
    at: datetime
    talk_id: str | None = None
    external_id: str | None = None
    agent_id: str | None = None
    about_agent: bool = False
    across: bool = True
    expected: int | None = None
    key: str | None = None
    title: str | None = None
    metadata: tuple[tuple[str, Any], ...] | None = None

    def body(self) -> Any:
        """Return what two calls with one key must have in common."""
        return (
            self.agent_id, self.talk_id, self.external_id, self.expected, self.messages,
            self.about_agent, self.across, self.title, self.metadata,
        )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a save answers."""

    talk_id: str
    at: datetime


@dataclass(frozen=True)
class Given:
    """A statement that a caller stores together with an interaction."""

    text: str
    sources: tuple[int, ...] = ()
    contradicts: str | None = None


@dataclass(frozen=True)
class _Candidate:
    text: str
    at: datetime
    role: str
    sources: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class _Place:
    """Where in a chain a version would go: before the version at `index`."""

    index: int
    below: Version | None
    above: Version | None


class Model:
    """All organizations, and what each call does to them."""

    def __init__(self) -> None:
        self.houses: dict[str, House] = {}

    # Organizations, people, helpers

    def house(self, org_id: str) -> House:
        if org_id not in self.houses:
            raise Refused("OrganizationNotFoundError")
        return self.houses[org_id]

    def person(self, org_id: str, user_id: str) -> Person:
        house = self.houses.get(org_id)
        if house is None or user_id not in house.people:
            raise Refused("UserNotFoundError")
        return house.people[user_id]

    def helper(self, org_id: str, agent_id: str) -> Helper:
        house = self.houses.get(org_id)
        found = None if house is None else house.helpers.get(agent_id)
        if found is None or found.deleted:
            raise Refused("AgentNotFoundError")
        return found

    def owner(self, org_id: str, user_id: str, agent_id: str | None) -> Person:
        """Return the person on whose behalf the helper acts."""
        person = self.person(org_id, user_id)
        self.usable(org_id, user_id, agent_id)
        return person

    def usable(self, org_id: str, user_id: str, agent_id: str | None) -> None:
        """Refuse a helper that is not there, or serves somebody else."""
        if agent_id is not None and self.helper(org_id, agent_id).user_id not in {None, user_id}:
            raise Refused("AgentNotFoundError")

    def create_house(self, org_id: str, name: str, now: datetime) -> None:
        known = self.houses.setdefault(org_id, House(name, now))
        if known.name != name:
            raise Refused("ConflictError")

    def create_person(self, org_id: str, user_id: str, name: str, now: datetime) -> None:
        known = self.house(org_id).people.setdefault(user_id, Person(name, now))
        if known.name != name:
            raise Refused("ConflictError")

    def create_helper(
        self, org_id: str, agent_id: str, label: str, user_id: str | None, now: datetime
    ) -> None:
        house = self.house(org_id)
        if user_id is not None:
            self.person(org_id, user_id)
        known = house.helpers.get(agent_id)
        if known is None or (known.deleted and known.user_id == user_id):
            house.helpers[agent_id] = Helper(label, user_id, now)
        elif (known.label, known.user_id) != (label, user_id):
            raise Refused("ConflictError")

    def delete_person(self, org_id: str, user_id: str) -> int:
        """Delete somebody with all their helpers; return how many people went."""
        house = self.houses.get(org_id)
        if house is None or house.people.pop(user_id, None) is None:
            return 0
        house.helpers = {k: h for k, h in house.helpers.items() if h.user_id != user_id}
        return 1

    # Transcripts

    def create_talk(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None,
        external_id: str | None,
        made: str,
        now: datetime,
    ) -> Talk:
        # Here the helper is looked for first: whoever reads it need not know the person.
        self.usable(org_id, user_id, agent_id)
        house = self.houses.get(org_id)
        person = None if house is None else house.people.get(user_id)
        known = person.find_talk(external_id) if person and external_id is not None else None
        if known is not None:
            return known
        person = self.person(org_id, user_id)
        talk = self._new_talk(person, made, agent_id, now, now)
        talk.external_id = external_id
        return talk

    @staticmethod
    def _new_talk(
        person: Person, talk_id: str, agent_id: str | None, at: datetime, now: datetime
    ) -> Talk:
        talk = Talk(talk_id, agent_id, created_at=at, active_at=at, updated_at=now)
        if agent_id is not None:
            talk.participants.append(agent_id)
        person.talks[talk_id] = talk
        return talk

    @staticmethod
    def _describe(
        talk: Talk,
        agent_id: str | None,
        title: str | None,
        metadata: tuple[tuple[str, Any], ...] | None,
    ) -> bool:
        """Change what a write says besides messages; tell whether that changed anything."""
        before = (list(talk.participants), talk.title, talk.metadata)
        if agent_id is not None and agent_id not in talk.participants:
            talk.participants.append(agent_id)
        if title is not None:
            talk.title = title
        if metadata is not None:
            talk.metadata = dict(metadata)
        return before != (talk.participants, talk.title, talk.metadata)

    @staticmethod
    def _edit(person: Person, talk: Talk, messages: Sequence[Said], at: datetime) -> int | None:
        """Make the transcript the given one; return where it was cut, None if it is the same."""
        if talk.messages == list(messages):
            return None
        keep = 0
        while (
            keep < min(len(talk.messages), len(messages)) and talk.messages[keep] == messages[keep]
        ):
            keep += 1
        if keep < len(talk.messages):
            for version in person.versions():
                version.sources = {
                    (t, p) for t, p in version.sources if t != talk.talk_id or p < keep
                }
            for job in list(person.jobs.values()):
                if job.talk is talk:
                    job.end = min(job.end, max(keep, job.start))
                    if job.start >= keep:
                        del person.jobs[job.job_id]
        talk.messages[keep:] = messages[keep:]
        talk.revision += 1
        talk.active_at = max(talk.active_at, at)
        return keep

    def save(
        self,
        org_id: str,
        user_id: str,
        call: Save,
        now: datetime,
        made: tuple[str, str],
        answers: Answers | None,
    ) -> Answer:
        """Store a transcript and remember what is new in it.

        Args:
            org_id: The organization.
            user_id: The person.
            call: The arguments.
            now: The store's time.
            made: Ids that the engine made for a new interaction and its job.
            answers: What the environment did; None: there is no extraction model.
        """
        person = self.owner(org_id, user_id, call.agent_id)
        wanted = call.talk_id or call.external_id
        talk = None if wanted is None else person.find_talk(wanted)
        if talk is None and call.talk_id is not None:
            raise Refused("InteractionNotFoundError")
        if call.key is not None and call.key in person.keys:
            body, (talk_id, at, job_id) = person.keys[call.key]
            if body != call.body():
                raise Refused("ConflictError")
            if job_id in person.jobs:
                self._run(person, person.jobs[job_id], answers)
            return Answer(talk_id, at)
        if call.expected is not None and talk is None:
            raise Refused("InvalidInputError")
        if talk is not None and call.expected not in {None, talk.revision}:
            raise Refused("ConflictError")
        is_new = talk is None
        if talk is None:
            talk = self._new_talk(person, made[0], call.agent_id, call.at, now)
            talk.external_id = call.external_id
        described = self._describe(talk, call.agent_id, call.title, call.metadata)
        cut = self._edit(person, talk, call.messages, call.at)
        if not is_new and (described or cut is not None):
            talk.updated_at = max(now, talk.updated_at + _MICROSECOND)
        start = len(talk.messages) if cut is None else cut
        job = Job(
            made[1], talk, start, len(talk.messages), call.agent_id, call.at, call.about_agent,
            call.across,
        )  # fmt: skip
        is_worth_it = any(s.role in job.audible and s.heard for s in talk.messages[start:])
        answer = Answer(talk.talk_id, call.at if is_new else now)
        keeps_job = answers is not None and is_worth_it
        if call.key is not None:
            result = (talk.talk_id, answer.at, job.job_id if keeps_job else None)
            person.keys[call.key] = (call.body(), result)
        elif not is_new and cut is None and not described:
            return Answer(talk.talk_id, talk.updated_at)
        if keeps_job:
            person.jobs[job.job_id] = job
            self._run(person, job, answers)
        elif is_worth_it:
            self._remember(person, job, _verbatim(job), {})
        return answer

    def resume(self, org_id: str, job_id: str, answers: Answers) -> bool:
        """Finish a job that is left; False when it is done."""
        for person in self.house(org_id).people.values():
            if job_id in person.jobs:
                self._run(person, person.jobs[job_id], answers)
                return True
        return False

    def _run(self, person: Person, job: Job, answers: Answers | None) -> None:
        if answers is None:
            # There is no model any more: then it is remembered as it was said.
            del person.jobs[job.job_id]
            self._remember(person, job, _verbatim(job), {})
            return
        if job.heard is None:
            if answers.heard is None:
                raise Refused("ExtractionError")
            job.heard = answers.heard
        candidates = _extracted(job)
        equal = self._equal(person, job, candidates)
        needs_search = any(known is None for known in equal)
        if (needs_search and answers.vectors_down) or answers.comparison_failed:
            raise Refused("ExtractionError")
        del person.jobs[job.job_id]
        self._remember(person, job, candidates, answers.verdicts)

    # Statements

    @staticmethod
    def _equal(person: Person, job: Job, candidates: Sequence[_Candidate]) -> list[Version | None]:
        """Return for each candidate the newest current version that says the same."""
        wanted = None if job.across else job.agent_id
        known = sorted(
            (v for v in person.current() if wanted is None or v.agent_id == wanted),
            key=lambda version: (version.obtained_at, version.memory_id),
        )
        by_text = {same(version.text): version for version in known}
        return [by_text.get(same(candidate.text)) for candidate in candidates]

    def _remember(
        self,
        person: Person,
        job: Job,
        candidates: Sequence[_Candidate],
        verdicts: dict[str, Verdict],
    ) -> None:
        """Take the candidates in, one after the other."""
        talk = job.talk
        equal = self._equal(person, job, candidates)
        by_text = {neutral(version.text): version for version in person.current()}
        grown: list[list[Version]] = []
        for candidate, repeated in zip(candidates, equal, strict=True):
            if _is_buried(person, talk, candidate):
                continue
            verdict, known = verdicts.get(neutral(candidate.text)), repeated
            if repeated is not None:
                verdict = Verdict("duplicate", "")
            elif verdict is not None:
                known = by_text[verdict.existing]
            version = Version(
                text=candidate.text,
                obtained_at=candidate.at,
                role=candidate.role,
                agent_id=job.agent_id,
                talk_id=talk.talk_id,
                sources={(talk.talk_id, position) for position in candidate.sources},
                kind=candidate.kind,
            )
            if verdict is None or known is None:
                person.chains.append([version])
            else:
                _say_again(person, known, version, verdict.kind, grown, across=job.across)

    def store(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None,
        talk_id: str | None,
        made: str,
        messages: Sequence[Said],
        statements: Sequence[Given],
        at: datetime,
        now: datetime,
        expected: int | None = None,
    ) -> Talk:
        """Store an interaction with statements that the application brings along."""
        self.usable(org_id, user_id, agent_id)
        house = self.houses.get(org_id)
        person = None if house is None else house.people.get(user_id)
        talk = None
        if talk_id is not None:
            if person is None:
                raise Refused("InteractionNotFoundError")
            talk = person.talk(talk_id)
            if expected not in {None, talk.revision}:
                raise Refused("ConflictError")
        for given in statements:
            if given.contradicts is not None:
                if person is None:
                    raise Refused("MemoryNotFoundError")
                person.chain_of(given.contradicts)
        if any(p >= len(messages) for given in statements for p in given.sources):
            raise Refused("InvalidInputError")
        person = self.person(org_id, user_id)
        is_new = talk is None
        if talk is None:
            talk = self._new_talk(person, made, agent_id, at, now)
        described = self._describe(talk, agent_id, None, None)
        cut = self._edit(person, talk, messages, at)
        if not is_new and (described or cut is not None):
            talk.updated_at = max(now, talk.updated_at + _MICROSECOND)
        grown: list[list[Version]] = []
        for given in statements:
            candidate = _Candidate(given.text, at, "api", given.sources, "fact")
            if _is_buried(person, talk, candidate):
                continue
            version = Version(
                given.text, at, "api", agent_id, talk.talk_id,
                {(talk.talk_id, position) for position in given.sources},
            )  # fmt: skip
            if given.contradicts is None:
                person.chains.append([version])
            else:
                chain = person.chain_of(given.contradicts)
                _say_again(person, chain[0], version, "contradiction", grown, across=True)
        return talk

    def delete_talks(self, org_id: str, user_id: str, talk_id: str | None) -> tuple[int, int, int]:
        """Delete one interaction, or all, with what was learned in them; return the counts."""
        house = self.houses.get(org_id)
        person = None if house is None else house.people.get(user_id)
        if person is None:
            return 0, 0, 0
        found = list(person.talks.values())
        if talk_id is not None:
            one = person.find_talk(talk_id)
            found = [] if one is None else [one]
        gone = {talk.talk_id for talk in found}
        learned = [version for version in person.versions() if version.talk_id in gone]
        _take_out(person, learned)
        for version in person.versions():
            version.sources = {source for source in version.sources if source[0] not in gone}
        person.jobs = {k: job for k, job in person.jobs.items() if job.talk.talk_id not in gone}
        for talk in found:
            del person.talks[talk.talk_id]
        return len(found), sum(len(talk.messages) for talk in found), len(learned)

    # Single memories

    def update(
        self,
        org_id: str,
        user_id: str,
        memory_id: str,
        text: str,
        author: str | None,
        now: datetime,
    ) -> None:
        person, chain = self._chain(org_id, user_id, memory_id)
        head = _head(chain)
        if head is None:
            raise Refused("MemoryUpdateError")
        if head.text != text:
            _by_hand(person, chain, head, text, author, now)

    def revert(
        self, org_id: str, user_id: str, memory_id: str, author: str | None, now: datetime
    ) -> None:
        person, chain = self._chain(org_id, user_id, memory_id)
        wanted = next(version for version in chain if version.memory_id == memory_id)
        head = _head(chain)
        if head is None or head.text != wanted.text:
            _by_hand(person, chain, wanted, wanted.text, author, now)

    def retract(self, org_id: str, user_id: str, memory_id: str, at: datetime) -> None:
        _person, chain = self._chain(org_id, user_id, memory_id)
        head = _head(chain)
        if head is not None:
            head.ended = max(at, head.obtained_at)

    def purge(self, org_id: str, user_id: str, memory_id: str | None) -> int:
        """Purge one version, or all; return how many went."""
        house = self.houses.get(org_id)
        person = None if house is None else house.people.get(user_id)
        if person is None:
            return 0
        gone = [v for v in person.versions() if memory_id is None or v.memory_id == memory_id]
        for version in gone:
            for talk_id, position in version.sources:
                before = tuple(person.talks[talk_id].messages[: position + 1])
                person.graves.add((before, same(version.text)))
        _take_out(person, gone)
        return len(gone)

    def _chain(self, org_id: str, user_id: str, memory_id: str) -> tuple[Person, list[Version]]:
        house = self.houses.get(org_id)
        if house is None or user_id not in house.people:
            raise Refused("MemoryNotFoundError")
        person = house.people[user_id]
        return person, person.chain_of(memory_id)


def neutral(text: str) -> str:
    """Return a stored text without names."""
    return text.replace(USER, "the user").replace(AGENT, "the agent")


def same(text: str) -> str:
    """Return what two texts that say the same have in common."""
    return " ".join(re.sub(r"[.!]", " ", neutral(text)).casefold().split())


def valid_at(chain: Sequence[Version], at: datetime | None) -> Version | None:
    """Return the version that holds (`at` None) or held at that time."""
    for version in reversed(chain):
        if at is None:
            if version.ended is None:
                return version
        elif version.obtained_at <= at and (version.ended is None or at < version.ended):
            return version
    return None


def _head(chain: Sequence[Version]) -> Version | None:
    return valid_at(chain, None)


def _verbatim(job: Job) -> list[_Candidate]:
    """Return what was said as it was said; said twice it has two sources."""
    found: dict[tuple[str, str], _Candidate] = {}
    for position in range(job.start, job.end):
        said = job.talk.messages[position]
        if said.role not in job.audible or not said.heard:
            continue
        key = (said.role, same(said.heard))
        first = found.get(key)
        sources = (*first.sources, position) if first else (position,)
        found[key] = _Candidate(
            first.text if first else said.heard,
            first.at if first else said.at or job.at,
            said.role,
            sources,
            "other",
        )
    return list(found.values())


def _extracted(job: Job) -> list[_Candidate]:
    """Return what the model heard in the messages that are still there; each text once."""
    new = job.talk.messages[job.start : job.end]
    found: dict[str, _Candidate] = {}
    for heard in job.heard or ():
        positions = sorted({number for number in heard.sources if number < len(new)})
        if not positions:
            continue
        named = USER, "the assistant" if job.agent_id is None else AGENT
        text = heard.text.replace("[[user]]", named[0]).replace("[[agent]]", named[1])
        times = [time for number in positions if (time := new[number].at) is not None]
        candidate = _Candidate(
            text,
            max(times, default=job.at),
            min((new[number].role for number in positions), key=TRUST.__getitem__),
            tuple(job.start + number for number in positions),
            "preference",
        )
        known = found.get(same(text))
        if known is not None:
            candidate = _Candidate(
                known.text,
                known.at,
                max(known.role, candidate.role, key=TRUST.__getitem__),
                tuple(dict.fromkeys([*known.sources, *candidate.sources])),
                known.kind,
            )
        found[same(text)] = candidate
    return list(found.values())


def _is_buried(person: Person, talk: Talk, candidate: _Candidate) -> bool:
    """Tell whether it was purged from every message it comes from."""
    marks = {
        (tuple(talk.messages[: position + 1]), same(candidate.text))
        for position in candidate.sources
    }
    return bool(marks) and marks <= person.graves


def _say_again(
    person: Person,
    known: Version,
    version: Version,
    verdict: str,
    grown: list[list[Version]],
    *,
    across: bool,
) -> None:
    """Take in a statement that repeats or contradicts a version of a known one.

    `grown` are the chains that got a version from the same write.
    """
    chain = next(chain for chain in person.chains if known in chain)
    place = _place(chain, version, across=across)
    holds = known.ended is None or known.ended >= version.obtained_at
    repeated = _said_then(chain, version)
    if repeated is None and verdict == "duplicate" and holds:
        repeated = known
    # A source more is a change too: what another agent obtained is left alone.
    if repeated is not None and (across or version.agent_id == repeated.agent_id):
        replaces_it = place is not None and place.above is None and _head(chain) is repeated
        if not (replaces_it and TRUST[version.role] > TRUST[repeated.role]):
            is_late = version.obtained_at < repeated.obtained_at
            if not is_late or place is None or repeated.author is not None:
                repeated.sources |= version.sources
                return
            late = [] if chain in grown else _told_late(chain, version, place)
            if late:
                _begin_with(late, version, place)
                return
    if place is None:
        person.chains.append([version])
    else:
        _insert(chain, version, place)
        grown.append(chain)


def _said_then(chain: Sequence[Version], version: Version) -> Version | None:
    """Return what said the same when an older statement was made, or was the next to be said."""
    later = [other for other in chain if other.obtained_at > version.obtained_at]
    if not later:
        return None
    held = valid_at(chain, version.obtained_at)
    if held is not None and TRUST[held.role] < TRUST[version.role]:
        held = None
    twins = (other for other in (held, later[0]) if other is not None)
    return next((other for other in twins if same(other.text) == same(version.text)), None)


def _told_late(chain: Sequence[Version], version: Version, place: _Place) -> list[Version]:
    """Return the versions that say what an older statement said, from its place on."""
    late: list[Version] = []
    for other in chain[place.index :]:
        says_it = same(other.text) == same(version.text) or (not late and other.ended is None)
        if not says_it or other.author is not None or TRUST[other.role] > TRUST[version.role]:
            break
        late.append(other)
    return late


def _begin_with(late: Sequence[Version], version: Version, place: _Place) -> None:
    """Have versions begin when an older statement said it; the last of them has its sources."""
    at = version.obtained_at
    if place.below is not None:
        place.below.ended = min(place.below.ended or at, at)
    for earlier in late[:-1]:
        earlier.ended = at
    for each in late:
        each.obtained_at, each.role = at, version.role
    late[-1].sources |= version.sources


def _place(chain: Sequence[Version], version: Version, *, across: bool) -> _Place | None:
    """Return where the version goes by its time, if it may."""
    if _head(chain) is None:
        return None
    place = _by_time(chain, version)
    below = place.below
    beside = below or place.above
    if beside is None or (not across and version.agent_id != beside.agent_id):
        return None
    cuts_short = below is not None and (below.ended is None or below.ended > version.obtained_at)
    if cuts_short and TRUST[version.role] < TRUST[beside.role]:
        return None
    return place


def _by_time(chain: Sequence[Version], version: Version) -> _Place:
    index = sum(1 for other in chain if other.obtained_at <= version.obtained_at)
    return _Place(
        index,
        chain[index - 1] if index else None,
        chain[index] if index < len(chain) else None,
    )


def _insert(chain: list[Version], version: Version, place: _Place) -> None:
    """Put the version in; what held before it ends there, a gap that was there stays one."""
    if place.above is not None:
        version.ended = place.above.obtained_at
    if place.below is not None:
        ended = place.below.ended
        if version.ended is not None and ended is not None and version.obtained_at < ended:
            version.ended = min(version.ended, ended)
        place.below.ended = min(ended or version.obtained_at, version.obtained_at)
    chain.insert(place.index, version)


def _by_hand(
    person: Person,
    chain: list[Version],
    template: Version,
    text: str,
    author: str | None,
    now: datetime,
) -> None:
    assert chain in person.chains
    version = Version(
        text,
        max(now, chain[-1].obtained_at),
        "api",
        template.agent_id,
        template.talk_id,
        kind=template.kind,
        author=author or "api",
    )
    _insert(chain, version, _by_time(chain, version))


def _take_out(person: Person, gone: Sequence[Version]) -> None:
    """Times stay as they are: nothing becomes current by it."""
    for chain in person.chains:
        chain[:] = [version for version in chain if version not in gone]
    person.chains = [chain for chain in person.chains if chain]
