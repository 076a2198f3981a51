"""Turns what was decided into one write plan; nothing here waits or asks anybody."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from memora.core import authority, parting, versions
from memora.core.hashing import content_hash, tombstone
from memora.core.ids import Ids, derived_memory_id
from memora.core.lifetimes import ExpireFrom, Lifetimes
from memora.core.messages import diff, parse_messages
from memora.core.placeholders import agent_span, escape_all_but, neutral, user_span
from memora.errors import InvalidInputError
from memora.schema.jobs import ExtractionJob
from memora.schema.models import Interaction, Memory, Relation, SourceRole
from memora.schema.scope import Scope
from memora.schema.sources import SourceMessage, StoredVersion
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
    MemoryToStore,
)
from memora.schema.times import checked_time
from memora.schema.validation import (
    checked_id,
    checked_json_object,
    checked_labels,
    checked_name,
    checked_share,
    checked_text,
)
from memora.schema.write_plan import (
    Beginning,
    EqualGuard,
    IdempotencyRecord,
    InteractionWrite,
    MemoryEnd,
    MemoryWrite,
    MessageEdit,
    NewMessage,
    SourceLink,
    SourceRef,
    WritePlan,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement that may become a memory.

    Attributes:
        text: As it will be stored, with name placeholders.
        sources: Messages that it came from.
        source_role: The least trusted role among them.
        external_id: Id of the document it came from.
        expires_at: When it is gone from all reads; see `stamped`.
    """

    memory_id: str
    text: str = field(repr=False)
    obtained_at: datetime
    sources: tuple[SourceRef, ...]
    source_role: str
    memory_type: str = "fact"
    importance: float = 0.5
    tags: tuple[str, ...] = field(default=(), repr=False)
    entities: tuple[str, ...] = field(default=(), repr=False)
    relations: tuple[Relation, ...] = field(default=(), repr=False)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    confidence: float | None = None
    external_id: str | None = None
    expires_at: datetime | None = None
    pinned: bool = False


class Verdict(StrEnum):
    """What a candidate is, compared with what is known."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one candidate; `existing_id` names the memory it repeats or contradicts."""

    verdict: Verdict
    existing_id: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What all memories of one write have in common."""

    interaction_id: str | None
    agent_id: str | None
    import_id: str | None = None
    process_id: str | None = None
    author: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Planned:
    """The memories part of a plan, with what it does to which candidate.

    Attributes:
        superseded: Id of the memory that gets the candidate as its successor, by position.
        dropped: Positions of candidates that were purged from the same messages before.
    """

    memories: tuple[MemoryWrite, ...]
    links: tuple[SourceLink, ...]
    superseded: dict[int, str]
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stamped:
    """Candidates with the ends that they have by their type.

    Attributes:
        expired: How many of them are expired as soon as they are stored.
    """

    candidates: tuple[Candidate, ...]
    expired: int


def stamped(
    candidates: Sequence[Candidate],
    lifetimes: Lifetimes,
    now: datetime,
    *,
    expire_from: ExpireFrom = ExpireFrom.OBTAINED_AT,
) -> Stamped:
    """Give those candidates an end that have none and need one; a pinned one needs none.

    Args:
        candidates: What may become memories.
        lifetimes: Settings of the engine.
        now: Store time.
        expire_from: What the days of a short-term memory are counted from. An import of old
            conversations may count from now, or its short-term memories are gone at once.
    """
    ended = tuple(
        replace(
            candidate,
            expires_at=lifetimes.expiry(
                candidate.memory_type,
                candidate.obtained_at,
                now,
                pinned=candidate.pinned,
                expire_from=expire_from,
            ),
        )
        if candidate.expires_at is None
        else candidate
        for candidate in candidates
    )
    gone = [item for item in ended if item.expires_at is not None and item.expires_at <= now]
    return Stamped(ended, len(gone))


def interaction_id_of(plan: WritePlan) -> str:
    """Return the id of the interaction that the plan writes."""
    return cast("InteractionWrite", plan.interaction).interaction_id


def new_interaction(
    scope: Scope,
    interaction_id: str,
    now: datetime,
    external_id: str | None,
    title: str | None,
    metadata: Mapping[str, Any] | None,
) -> WritePlan:
    """Plan an empty interaction.

    Raises:
        InvalidInputError: A field is malformed.
    """
    write = InteractionWrite(
        interaction_id=interaction_id,
        expected_revision=None,
        edit=MessageEdit(0),
        at=now,
        agent_id=scope.agent_id,
        external_id=None if external_id is None else checked_id(external_id, "external_id"),
        title=None if title is None else checked_name(title, "title"),
        metadata=None if metadata is None else checked_json_object(metadata, "metadata"),
    )
    return WritePlan(scope, now, interaction=write)


def transcript(
    scope: Scope,
    write: InteractionWrite,
    now: datetime,
    *,
    planned: Planned | None = None,
    job: ExtractionJob | None = None,
    idempotency: IdempotencyRecord | None = None,
) -> WritePlan:
    """Plan a transcript edit with the job that extracts from it, or with its memories at once."""
    return WritePlan(
        scope,
        now,
        interaction=write,
        memories=planned.memories if planned else (),
        links=planned.links if planned else (),
        job=job,
        idempotency=idempotency,
    )


def build(
    scope: Scope,
    candidates: Sequence[Candidate],
    decisions: Sequence[Decision],
    chains: Mapping[str, Sequence[Memory]],
    origin: Origin,
    buried: Collection[int] = (),
    *,
    across_agents: bool = True,
    equal: Mapping[int, Memory] | None = None,
    stored: Mapping[str, StoredVersion] | None = None,
) -> Planned:
    """Decide for every candidate what is written.

    A contradiction becomes a version of the contradicted statement, at its place in time, if its
    source has the authority for that; otherwise it is stored beside it. Several contradictions of
    one chain in one plan become consecutive versions. A duplicate of what was superseded before
    it was said is the old statement holding again, so it becomes a version too. So does one from a
    more trusted source: what the user confirms, no tool may take back.

    What is told late takes the place that it would have had in time: between older and newer
    versions, or, where the next newer one says the same, as the time from which that one is known.
    A version that was said again after it is parted, so that it holds again from then on.

    Args:
        scope: Owner.
        candidates: What may become memories.
        decisions: One verdict per candidate.
        chains: All versions, newest first, by the id of each memory that a decision names.
        origin: Common fields.
        buried: Positions of candidates that must not come back (tombstones).
        across_agents: Whether a memory of another agent may be superseded, repeated, or gain a
            source.
        equal: The current memory of the same text by position, which the decisions rest on and
            the store must still answer; None: nobody looked.
        stored: Who said the versions of the chains, and when, by memory id; one that is not there
            is never parted.
    """
    built = _Built(scope, origin, chains, dict(stored or {}))
    for position, (candidate, decision) in enumerate(zip(candidates, decisions, strict=True)):
        if position in buried:
            continue
        chain = built.chain(decision)
        place = _place(candidate, chain, origin, across_agents=across_agents)
        repeated = _same_then(decision, candidate, chain) or _repeated(decision, candidate, chain)
        if repeated is not None and not across_agents and repeated.agent_id != origin.agent_id:
            # A source more is a change too: what another agent obtained is left alone.
            repeated = None
        if repeated is not None and _confirms(candidate, repeated, place):
            repeated = None
        if repeated is not None and _is_a_source(candidate, repeated, place):
            built.link(candidate, repeated)
            continue
        if place is not None:
            chain, place = built.part(candidate, chain, place)
        if place is not None and repeated is not None and built.tell(candidate, chain, place):
            continue
        guard = None
        if equal is not None and (place is None or place.superseded_at is None):
            known = equal.get(position)
            guard = EqualGuard(
                None if known is None else known.memory_id,
                None if across_agents else origin.agent_id,
            )
        built.add(position, candidate, chain, place, guard)
    return Planned(
        tuple(built.memories), tuple(built.links), built.superseded, tuple(sorted(buried))
    )


@dataclass(slots=True)
class _Built:
    """A plan so far.

    Attributes:
        stored: Who said the versions of the chains, and when, by memory id.
        grown: Chains as they will be, newest first, by their ids.
    """

    scope: Scope
    origin: Origin
    chains: Mapping[str, Sequence[Memory]]
    stored: dict[str, StoredVersion]
    memories: list[MemoryWrite] = field(default_factory=list[MemoryWrite])
    links: list[SourceLink] = field(default_factory=list[SourceLink])
    superseded: dict[int, str] = field(default_factory=dict[int, str])
    grown: dict[str, list[Memory]] = field(default_factory=dict[str, list[Memory]])

    def chain(self, decision: Decision) -> Sequence[Memory]:
        """Return the chain that the decision is about, newest first; none for what is new."""
        chain = self.chains.get(decision.existing_id or "", ())
        return self.grown.get(chain[0].chain_id, chain) if chain else ()

    def link(self, candidate: Candidate, repeated: Memory) -> None:
        """Make the candidate a source of what it repeats."""
        at = max(candidate.obtained_at, repeated.obtained_at)
        self._keep(SourceLink(repeated.memory_id, _said(candidate, at)), candidate)

    def part(
        self, candidate: Candidate, chain: Sequence[Memory], place: versions.Placement
    ) -> tuple[Sequence[Memory], versions.Placement]:
        """Part the version that held when something else was said, if it was said again later.

        Returns:
            The chain as it is then, and the place of the candidate.
        """
        held = versions.version_at(chain, candidate.obtained_at)
        stored = None if held is None else self.stored.get(held.memory_id)
        if held is None or stored is None or _says_the_same(held, candidate):
            return chain, place
        parted = parting.part(
            chain,
            stored,
            candidate.obtained_at,
            candidate.source_role,
            derived_memory_id(candidate.memory_id, "parted", held.memory_id),
            may_begin=not self._is_new(held.memory_id),
        )
        if parted is None:
            return chain, place
        self.links += [self._timed(link) for link in parted.links]
        self.memories.append(parted.write)
        self.stored |= {each.memory_id: each for each in parted.parts}
        self.grown[place.chain_id] = parted.chain
        return parted.chain, versions.place(parted.chain, candidate.obtained_at)

    def tell(
        self, candidate: Candidate, chain: Sequence[Memory], place: versions.Placement
    ) -> bool:
        """Have what says the same begin with the candidate; return whether it does."""
        told = _told_late(candidate, chain, place)
        if not told or any(self._is_new(link.memory_id) for link in told):
            return False
        for link in told:
            self._keep(self._timed(link), candidate)
        self.grown[place.chain_id] = _with_times(chain, told)
        return True

    def _is_new(self, memory_id: str) -> bool:
        return any(memory.memory_id == memory_id for memory in self.memories)

    def _timed(self, link: SourceLink) -> SourceLink:
        """Return the link with its place among the memories so far."""
        if link.begins is None:
            return link
        return replace(link, begins=replace(link.begins, after=len(self.memories)))

    def _keep(self, link: SourceLink, candidate: Candidate) -> None:
        """Write a link to the candidate's messages, and know of it from now on."""
        self.links.append(link)
        stored = self.stored.get(link.memory_id)
        if stored is None:
            return
        if link.begins is not None:
            stored = replace(
                stored,
                obtained_at=link.begins.obtained_at,
                source_role=link.begins.source_role,
                stated_at=stored.stated_at or stored.obtained_at,
                stated_role=stored.stated_role or stored.source_role,
            )
        said = tuple(
            SourceMessage(
                source.interaction_id,
                source.position,
                candidate.source_role,
                source.prefix_hash,
                self.origin.agent_id,
                self.origin.import_id,
                self.origin.process_id,
                source.said_at,
            )
            for source in link.sources
        )
        self.stored[link.memory_id] = replace(stored, sources=(*stored.sources, *said))

    def add(
        self,
        position: int,
        candidate: Candidate,
        chain: Sequence[Memory],
        place: versions.Placement | None,
        guard: EqualGuard | None,
    ) -> None:
        """Write the candidate at its place, or as a statement of its own."""
        statement = replace(_statement(candidate, self.origin), equal=guard)
        if place is None:
            self.memories.append(statement)
            return
        self.memories.append(placed(statement, place))
        if place.predecessor_id is not None:
            self.superseded[position] = place.predecessor_id
        self.grown[place.chain_id] = _grow(chain, self.scope, candidate, self.origin, place)


def _repeated(decision: Decision, candidate: Candidate, chain: Sequence[Memory]) -> Memory | None:
    """Return the version that the candidate only repeats: one that held when it was said.

    What is archived or expired by then does not: a source there would be seen by nobody.
    """
    at = candidate.obtained_at
    for version in chain:
        if decision.verdict is Verdict.DUPLICATE and version.memory_id == decision.existing_id:
            ended, expires = version.superseded_at, version.expires_at
            is_hidden = version.archived or (expires is not None and expires <= at)
            is_over = (ended is not None and ended < at) or (is_hidden and version.obtained_at < at)
            return None if is_over else version
    return None


def _same_then(decision: Decision, candidate: Candidate, chain: Sequence[Memory]) -> Memory | None:
    """Return the version of the same text that held when the candidate was said, or came next.

    Whatever is current now: had all been told in order, the candidate would have repeated it.
    """
    if decision.verdict is Verdict.NEW or not chain:
        return None
    at = candidate.obtained_at
    if at >= chain[0].obtained_at:
        return None
    held = versions.version_at(chain, at)
    if held is not None and authority.rank(held.source_role) < authority.rank(
        candidate.source_role
    ):
        # It was confirmed then, by somebody who knows better.
        held = None
    following = next(version for version in reversed(chain) if version.obtained_at > at)
    for version in (held, following):
        if version is not None and _says_the_same(version, candidate):
            return version
    return None


def _says_the_same(version: Memory, candidate: Candidate) -> bool:
    return content_hash(neutral(version.memory)) == content_hash(neutral(candidate.text))


def _is_a_source(candidate: Candidate, repeated: Memory, place: versions.Placement | None) -> bool:
    """Tell whether what the candidate repeats begins when it did, by hand for one."""
    is_late = candidate.obtained_at < repeated.obtained_at
    return not is_late or place is None or repeated.author is not None


def _said(candidate: Candidate, at: datetime) -> tuple[SourceRef, ...]:
    return tuple(replace(source, said_at=at) for source in candidate.sources)


def _told_late(
    candidate: Candidate, chain: Sequence[Memory], place: versions.Placement
) -> list[SourceLink]:
    """Return what makes the versions after the place begin with the candidate, which says the same.

    That is the next one, and those that only confirm it, as far as the candidate's authority
    reaches. None: another statement lies between; then the candidate is a version of its own.
    """
    rank = authority.rank(candidate.source_role)
    at, before, ended = candidate.obtained_at, place.predecessor_id, place.predecessor_superseded_at
    told: list[SourceLink] = []
    for version in reversed(chain):
        if version.obtained_at <= at:
            continue
        if not told and place.superseded_at != version.obtained_at:
            # A purge left a gap between, which stays one.
            break
        is_same = _says_the_same(version, candidate)
        if not told:
            # What is called a duplicate may be worded in another way.
            is_same = is_same or version.superseded_at is None
        is_made = version.author is not None
        if not is_same or is_made or authority.rank(version.source_role) > rank:
            break
        begins = Beginning(at, version.obtained_at, candidate.source_role, before, ended)
        told.append(SourceLink(version.memory_id, (), begins))
        before, ended = version.memory_id, at
        if version.superseded_at is not None and version.superseded_by is None:
            break
    return [*told[:-1], *(replace(link, sources=_said(candidate, at)) for link in told[-1:])]


def _with_times(chain: Sequence[Memory], told: Sequence[SourceLink]) -> list[Memory]:
    """Return the chain as it will be when versions begin earlier, newest first."""
    changes: dict[str, dict[str, datetime | str | None]] = {
        version.memory_id: {} for version in chain
    }
    for link in told:
        if link.begins is not None:
            changes[link.memory_id]["obtained_at"] = link.begins.obtained_at
            changes[link.memory_id]["source_role"] = link.begins.source_role
            if link.begins.predecessor_id is not None:
                ended = link.begins.predecessor_superseded_at
                changes[link.begins.predecessor_id]["superseded_at"] = ended
    return [version.model_copy(update=changes[version.memory_id]) for version in chain]


def _confirms(candidate: Candidate, repeated: Memory, place: versions.Placement | None) -> bool:
    """Tell whether the candidate repeats the current version on better authority."""
    return (
        place is not None
        and place.replaces_head == repeated.memory_id
        and authority.rank(candidate.source_role) > authority.rank(repeated.source_role)
    )


def _place(
    candidate: Candidate, chain: Sequence[Memory], origin: Origin, *, across_agents: bool
) -> versions.Placement | None:
    """Return where in the chain the candidate goes, or None where it has no place.

    A chain without a current version gets none by what somebody says. Authority is asked for over
    the version whose time is cut short; below the head that is another one than the current.
    """
    if versions.version_at(chain, None) is None:
        return None
    place = versions.place(chain, candidate.obtained_at)
    beside = place.predecessor_id or place.successor_id
    neighbour = next(version for version in chain if version.memory_id == beside)
    ended = neighbour.superseded_at
    cuts = place.predecessor_id is not None and (ended is None or ended > candidate.obtained_at)
    allowed = authority.may_supersede(
        candidate.source_role,
        origin.agent_id,
        neighbour.source_role if cuts else candidate.source_role,
        neighbour.agent_id,
        across_agents=across_agents,
    )
    return place if allowed else None


def _grow(
    chain: Sequence[Memory],
    scope: Scope,
    candidate: Candidate,
    origin: Origin,
    place: versions.Placement,
) -> list[Memory]:
    """Return the chain as it will be after this plan, newest first."""
    added = Memory(
        org_id=scope.org_id,
        user_id=scope.user_id,
        agent_id=origin.agent_id,
        memory_id=candidate.memory_id,
        memory=candidate.text,
        obtained_at=candidate.obtained_at,
        recorded_at=candidate.obtained_at,
        source_role=candidate.source_role,
        chain_id=place.chain_id,
        superseded_at=place.superseded_at,
        superseded_by=place.successor_id,
    )
    changed = [
        version.model_copy(
            update={
                "superseded_at": place.predecessor_superseded_at,
                "superseded_by": candidate.memory_id,
            }
        )
        if version.memory_id == place.predecessor_id
        else version
        for version in chain
    ]
    at = sum(1 for version in chain if version.obtained_at > candidate.obtained_at)
    return [*changed[:at], added, *changed[at:]]


def _statement(candidate: Candidate, origin: Origin) -> MemoryWrite:
    return MemoryWrite(
        memory_id=candidate.memory_id,
        chain_id=candidate.memory_id,
        text=candidate.text,
        obtained_at=candidate.obtained_at,
        content_hash=content_hash(neutral(candidate.text)),
        agent_id=origin.agent_id,
        interaction_id=origin.interaction_id,
        sources=_said(candidate, candidate.obtained_at),
        memory_type=candidate.memory_type,
        importance=candidate.importance,
        tags=candidate.tags,
        entities=candidate.entities,
        relations=candidate.relations,
        metadata=candidate.metadata,
        expires_at=candidate.expires_at,
        pinned=candidate.pinned,
        source_role=candidate.source_role,
        confidence=candidate.confidence,
        external_id=candidate.external_id,
        import_id=origin.import_id,
        process_id=origin.process_id,
        author=origin.author,
    )


def placed(write: MemoryWrite, place: versions.Placement) -> MemoryWrite:
    """Return the write as a version at that place of an existing chain."""
    return replace(
        write,
        chain_id=place.chain_id,
        predecessor_id=place.predecessor_id,
        predecessor_superseded_at=place.predecessor_superseded_at,
        successor_id=place.successor_id,
        superseded_at=place.superseded_at,
        replaces_head=place.replaces_head,
    )


def tombstones_of(candidate: Candidate, salt: str) -> tuple[str, ...]:
    """Return the tombstones that would keep this candidate buried, one per source."""
    statement = content_hash(neutral(candidate.text))
    return tuple(tombstone(salt, source.prefix_hash, statement) for source in candidate.sources)


def tombstones_of_writes(memories: Sequence[MemoryWrite], salt: str) -> list[tuple[str, ...]]:
    """Return for each memory the tombstones that would keep it buried, one per source."""
    return [
        tuple(tombstone(salt, source.prefix_hash, memory.content_hash) for source in memory.sources)
        for memory in memories
    ]


def manual_version(
    memory: Memory,
    chain: Sequence[Memory],
    memory_id: str,
    text: str,
    obtained_at: datetime,
    author: str | None,
    lifetimes: Lifetimes,
    entities: Sequence[str] | None = None,
) -> MemoryWrite:
    """Plan a version made by hand: the text is new, what describes the statement stays.

    Where it came from does not: sources, import and confidence belong to the version they made,
    and relations to its words.

    Args:
        memory: The version it starts from, as stored.
        chain: All versions, newest first.
        memory_id: Id of the new version.
        text: Stored form of the statement.
        obtained_at: Its time.
        author: Who made it; None: the application. That there is one tells it from what was said.
        lifetimes: Settings of the engine; a short-term memory starts anew.
        entities: Names in the new text; None: those of the version it starts from.
    """
    is_same = text == memory.memory
    write = MemoryWrite(
        memory_id=memory_id,
        chain_id=memory.chain_id,
        text=text,
        obtained_at=obtained_at,
        content_hash=content_hash(neutral(text)),
        agent_id=memory.agent_id,
        interaction_id=memory.interaction_id,
        memory_type=memory.memory_type,
        importance=memory.importance,
        tags=tuple(memory.tags),
        entities=tuple(memory.entities if entities is None else entities),
        relations=tuple(memory.relations) if is_same else (),
        metadata=dict(memory.metadata),
        expires_at=lifetimes.renewed(memory, obtained_at),
        pinned=memory.pinned,
        source_role="api",
        external_id=memory.external_id,
        process_id=memory.process_id,
        author=author or SourceRole.API.value,
    )
    return placed(write, versions.place(chain, obtained_at))


def ended(scope: Scope, memory: Memory, ended_at: datetime, now: datetime) -> WritePlan:
    """Plan the end of a statement: it keeps its history and has no current version any more."""
    return WritePlan(scope, now, ends=(MemoryEnd(memory.memory_id, ended_at),))


def stored_interaction(
    scope: Scope,
    stored: Interaction | None,
    stored_hashes: Sequence[str],
    given: MemoriesAndInteraction,
    chains: Mapping[str, Sequence[Memory]],
    now: datetime,
    ids: Ids,
    buried: Collection[int] = (),
    *,
    lifetimes: Lifetimes,
) -> WritePlan:
    """Plan what `save_interaction_with_memories` and its update form ask for.

    Args:
        scope: Owner and writing agent.
        stored: The interaction to change; None: a new one.
        stored_hashes: Its prefix hashes.
        given: Whole transcript and new memories.
        chains: Versions by the id of each contradicted memory.
        now: Store time.
        ids: Source of new ids.
        buried: Positions, contradictions last, of memories that must not come back.
        lifetimes: Settings of the engine.

    Raises:
        InvalidInputError: A message or memory is malformed.
    """
    messages = parse_messages(given.interaction)
    date = given.interaction_date
    at = now if date is None else checked_time(date, "interaction_date")
    write = InteractionWrite(
        interaction_id=ids.short() if stored is None else stored.interaction_id,
        expected_revision=None if stored is None else stored.revision,
        edit=diff(stored_hashes, messages),
        at=at,
        agent_id=scope.agent_id,
    )
    items: dict[str, MemoryToStore] = {
        **{f"memories[{i}]": item for i, item in enumerate(given.memories)},
        **{f"contrary_memories[{i}]": item for i, item in enumerate(given.contrary_memories)},
    }
    candidates = [
        _given_candidate(item, where, write.interaction_id, messages, at, scope, ids)
        for where, item in items.items()
    ]
    decisions = [
        Decision(Verdict.CONTRADICTION, item.existing_contrary_memory_id)
        if isinstance(item, ContraryMemoryToStore)
        else Decision(Verdict.NEW)
        for item in items.values()
    ]
    candidates = stamped(candidates, lifetimes, now).candidates
    origin = Origin(write.interaction_id, scope.agent_id)
    return transcript(
        scope, write, now, planned=build(scope, candidates, decisions, chains, origin, buried)
    )


def _given_candidate(
    item: MemoryToStore,
    where: str,
    interaction_id: str,
    messages: Sequence[NewMessage],
    at: datetime,
    scope: Scope,
    ids: Ids,
) -> Candidate:
    positions = sorted(set(item.source_msg_block_pos))
    if any(not 0 <= position < len(messages) for position in positions):
        raise InvalidInputError(
            f"{where}.source_msg_block_pos", f"positions of the {len(messages)} messages"
        )
    return Candidate(
        memory_id=ids.memory(),
        text=storable(checked_text(item.memory, f"{where}.memory"), scope),
        obtained_at=at,
        sources=tuple(
            SourceRef(interaction_id, position, messages[position].prefix_hash)
            for position in positions
        ),
        source_role="api",
        memory_type=checked_name(item.memory_type, f"{where}.memory_type"),
        importance=checked_share(item.importance, f"{where}.importance"),
        tags=checked_labels(item.tags, f"{where}.tags"),
        entities=checked_labels(item.entities, f"{where}.entities"),
        metadata=checked_json_object(item.metadata, f"{where}.metadata"),
    )


def storable(text: str, scope: Scope) -> str:
    """Return a caller's text as stored: spans of this user and agent stay, others are literal."""
    spans = {user_span(scope.user_id)}
    if scope.agent_id is not None:
        spans.add(agent_span(scope.agent_id))
    return escape_all_but(text, frozenset(spans))
