"""From candidates and verdicts to one write plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from memora.core import planning
from memora.core.hashing import content_hash
from memora.core.lifetimes import Lifetimes
from memora.core.messages import parse_messages
from memora.core.planning import Candidate, Decision, Origin, Planned, Verdict
from memora.errors import InvalidInputError
from memora.schema.models import Interaction, Memory
from memora.schema.scope import Scope
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
    MemoryToStore,
)
from memora.schema.write_plan import InteractionWrite, MessageEdit, SourceRef
from memora.testing.clocks import SequentialIds
from tests.unit.kit import DAY, T0, USER, memory

SCOPE = Scope("acme", USER, "jenny")
ORIGIN = Origin("i1", "jenny", import_id="imp", process_id="proc", author="me")
NEW = Decision(Verdict.NEW)


def candidate(number: int = 1, day: float = 9, **fields: Any) -> Candidate:
    given: dict[str, Any] = {
        "memory_id": f"n{number}",
        "text": f"statement {number}",
        "obtained_at": T0 + day * DAY,
        "sources": (SourceRef("i1", number, f"p{number}"),),
        "source_role": "user",
    }
    return Candidate(**{**given, **fields})


def said(given: Candidate) -> tuple[SourceRef, ...]:
    """Its sources as they are linked, with the time at which they said it."""
    return tuple(replace(source, said_at=given.obtained_at) for source in given.sources)


def duplicate(existing: str) -> Decision:
    return Decision(Verdict.DUPLICATE, existing)


def contradiction(existing: str) -> Decision:
    return Decision(Verdict.CONTRADICTION, existing)


def version(memory_id: str, day: float, until: float | None = None, **fields: Any) -> Memory:
    """Return a version of the chain "old" that was obtained and superseded on these days."""
    given = {
        "obtained_at": T0 + day * DAY,
        "superseded_at": None if until is None else T0 + until * DAY,
        "chain_id": "old",
        "agent_id": "jenny",
    }
    return memory(memory_id, f"old {memory_id}", **{**given, **fields})


def build(
    candidates: Sequence[Candidate],
    decisions: Sequence[Decision],
    *chain: Memory,
    buried: Sequence[int] = (),
    across_agents: bool = True,
) -> Planned:
    chains = {found.memory_id: list(chain) for found in chain}
    return planning.build(
        SCOPE, candidates, decisions, chains, ORIGIN, buried, across_agents=across_agents
    )


def test_a_new_statement_carries_all_of_its_candidate_and_origin() -> None:
    given = candidate(
        memory_type="plan",
        importance=0.9,
        tags=("a",),
        entities=("B",),
        metadata={"k": 1},
        confidence=0.7,
    )
    planned = build([given], [NEW])
    (write,) = planned.memories
    for name in (
        "memory_id", "text", "obtained_at", "source_role", "memory_type", "importance", "tags",
        "entities", "metadata", "confidence",
    ):  # fmt: skip
        assert getattr(write, name) == getattr(given, name)
    assert write.sources == said(given)
    for name in ("interaction_id", "agent_id", "import_id", "process_id", "author"):
        assert getattr(write, name) == getattr(ORIGIN, name)
    assert write.chain_id == write.memory_id
    assert write.content_hash == content_hash("statement 1")
    neighbours = (write.predecessor_id, write.successor_id, write.superseded_at)
    assert (*neighbours, write.replaces_head) == (None, None, None, None)
    assert (planned.links, planned.superseded, planned.dropped) == ((), {}, ())


def test_nothing_plans_nothing() -> None:
    assert build([], []) == Planned((), (), {}, ())


def test_every_candidate_needs_a_decision() -> None:
    with pytest.raises(ValueError, match="zip"):
        build([candidate()], [])


def test_the_content_hash_survives_renaming() -> None:
    planned = build([candidate(text=f"[[u:{USER}]] likes tea")], [NEW])
    assert planned.memories[0].content_hash == content_hash("the user likes tea")


def test_b80_a_duplicate_gives_its_sources_to_the_one_that_is_there() -> None:
    planned = build([candidate()], [duplicate("old")], version("old", 0))
    assert planned.memories == ()
    (link,) = planned.links
    assert (link.memory_id, link.sources) == ("old", said(candidate()))


HIDDEN: list[dict[str, Any]] = [{"archived": True}, {"expires_at": T0 + 5 * DAY}]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_is_said_again_after_it_was_archived_or_expired_is_shown_again(
    hidden: dict[str, Any],
) -> None:
    known = version("old", 0, **hidden)
    planned = build([candidate(day=9)], [duplicate("old")], known)
    (write,) = planned.memories
    assert (write.replaces_head, write.expires_at, planned.links) == ("old", None, ())


def test_what_was_said_before_it_expired_or_was_obtained_is_a_source() -> None:
    for known in (version("old", 0, expires_at=T0 + 20 * DAY), version("old", 9, archived=True)):
        planned = build([candidate(day=9)], [duplicate("old")], known)
        assert (planned.memories, [link.memory_id for link in planned.links]) == ((), ["old"])


def test_a_contradiction_becomes_the_head() -> None:
    planned = build([candidate()], [contradiction("old")], version("old", 0))
    (write,) = planned.memories
    assert (write.chain_id, write.predecessor_id, write.replaces_head) == ("old", "old", "old")
    assert write.predecessor_superseded_at == write.obtained_at
    assert (write.successor_id, write.superseded_at) == (None, None)
    assert planned.superseded == {0: "old"}


def test_d8_a_late_old_fact_goes_below_the_head() -> None:
    planned = build(
        [candidate(day=2)], [contradiction("head")], version("head", 5), version("old", 0, 5)
    )
    (write,) = planned.memories
    assert (write.predecessor_id, write.successor_id) == ("old", "head")
    assert (write.superseded_at, write.replaces_head) == (T0 + 5 * DAY, None)
    assert planned.superseded == {0: "old"}


def test_d8_the_oldest_fact_of_all_supersedes_nothing() -> None:
    planned = build([candidate(day=-1)], [contradiction("old")], version("old", 0))
    (write,) = planned.memories
    assert (write.predecessor_id, write.successor_id) == (None, "old")
    assert write.superseded_at == T0
    assert planned.superseded == {}


ROLES = ["api", "user", "assistant", "import", "tool"]
RANK = {"api": 3, "user": 2, "assistant": 1, "import": 1, "tool": 0}


@pytest.mark.parametrize("new", ROLES)
@pytest.mark.parametrize("old", ROLES)
def test_b78_only_the_same_or_higher_trust_supersedes(new: str, old: str) -> None:
    planned = build(
        [candidate(source_role=new)], [contradiction("old")], version("old", 0, source_role=old)
    )
    (write,) = planned.memories
    if RANK[new] >= RANK[old]:
        assert (write.replaces_head, planned.superseded) == ("old", {0: "old"})
    else:
        assert (write.chain_id, write.replaces_head) == (write.memory_id, None)
        assert planned.superseded == {}


@pytest.mark.parametrize("new", ROLES)
@pytest.mark.parametrize("old", ROLES)
def test_b78_what_is_confirmed_on_better_authority_becomes_a_version(new: str, old: str) -> None:
    known = version("old", 0, source_role=old)
    planned = build([candidate(source_role=new)], [duplicate("old")], known)
    if RANK[new] > RANK[old]:
        (write,) = planned.memories
        assert (write.replaces_head, write.source_role, planned.links) == ("old", new, ())
    else:
        assert [link.memory_id for link in planned.links] == ["old"]
        assert planned.memories == ()


@pytest.mark.parametrize("old", ROLES)
def test_b78_another_agents_word_is_left_alone_within_one_agent(old: str) -> None:
    known = version("old", 0, source_role=old, agent_id="other")
    planned = build([candidate()], [duplicate("old")], known, across_agents=False)
    (write,) = planned.memories
    assert (write.chain_id, write.predecessor_id) == (write.memory_id, None)
    assert (planned.links, planned.superseded) == ((), {})


@pytest.mark.parametrize("agent_id", ["jenny", "other", None])
@pytest.mark.parametrize("across", [True, False])
def test_b78_another_agents_memory_is_superseded_only_across_agents(
    agent_id: str | None, across: bool
) -> None:
    planned = build(
        [candidate()],
        [contradiction("old")],
        version("old", 0, agent_id=agent_id),
        across_agents=across,
    )
    allowed = across or agent_id == "jenny"
    assert (planned.memories[0].replaces_head == "old") is allowed


def test_b78_a_late_fact_may_not_cut_short_what_more_trusted_people_said() -> None:
    chain = (version("head", 5, source_role="assistant"), version("old", 0, 5, source_role="user"))
    planned = build([candidate(day=2, source_role="assistant")], [contradiction("head")], *chain)
    (write,) = planned.memories
    assert write.chain_id == write.memory_id


def test_b78_a_late_fact_that_cuts_nothing_short_is_history_and_not_news() -> None:
    chain = (version("head", 5, source_role="user"), version("old", 0, 5, source_role="assistant"))
    given = candidate(day=2, source_role="assistant")
    (write,) = build([given], [contradiction("head")], *chain).memories
    assert (write.predecessor_id, write.successor_id) == ("old", "head")
    (write,) = build(
        [candidate(day=-1, source_role="tool")], [contradiction("head")], *chain
    ).memories
    assert (write.predecessor_id, write.successor_id) == (None, "old")
    (write,) = build(
        [candidate(day=2, source_role="tool")],
        [contradiction("head")],
        version("head", 5, source_role="user"),
        version("old", 0, 1, source_role="user"),
    ).memories
    assert (write.predecessor_id, write.successor_id) == ("old", "head")


def test_a_late_fact_stays_within_its_agent() -> None:
    planned = build(
        [candidate(day=-1)],
        [contradiction("old")],
        version("old", 0, agent_id="other"),
        across_agents=False,
    )
    assert planned.memories[0].chain_id == "n1"


@pytest.mark.parametrize("across", [True, False])
def test_several_contradictions_of_one_chain_become_consecutive_versions(across: bool) -> None:
    planned = build(
        [candidate(1, 9), candidate(2, 9), candidate(3, 3)],
        [contradiction("old")] * 3,
        version("old", 0),
        across_agents=across,
    )
    first, second, late = planned.memories
    assert (first.predecessor_id, first.replaces_head) == ("old", "old")
    assert (second.predecessor_id, second.replaces_head) == ("n1", "n1")
    assert (late.predecessor_id, late.successor_id, late.superseded_at) == (
        "old",
        "n1",
        T0 + 9 * DAY,
    )
    assert planned.superseded == {0: "old", 1: "n1", 2: "old"}


def test_two_chains_in_one_plan_stay_apart() -> None:
    other = memory("x", chain_id="x", agent_id="jenny")
    planned = planning.build(
        SCOPE,
        [candidate(1), candidate(2)],
        [contradiction("old"), contradiction("x")],
        {"old": [version("old", 0)], "x": [other]},
        ORIGIN,
    )
    assert [write.chain_id for write in planned.memories] == ["old", "x"]


def test_l59_l60_a_duplicate_of_what_the_same_plan_supersedes_is_no_news() -> None:
    planned = build(
        [candidate(1), candidate(2)],
        [contradiction("old"), duplicate("old")],
        version("old", 0),
    )
    assert [write.memory_id for write in planned.memories] == ["n1"]
    assert [link.memory_id for link in planned.links] == ["old"]


def test_b28_a_duplicate_of_what_somebody_superseded_meanwhile_is_said_again() -> None:
    chain = (version("head", 5), version("old", 0, 5))
    (write,) = build([candidate(day=9)], [duplicate("old")], *chain).memories
    assert (write.text, write.predecessor_id, write.replaces_head) == (
        "statement 1",
        "head",
        "head",
    )
    then = build([candidate(day=3)], [duplicate("old")], *chain)
    assert (then.memories, [link.memory_id for link in then.links]) == ((), ["old"])


def test_l61_a_contradiction_of_what_is_superseded_already_is_placed_in_its_chain() -> None:
    chain = (version("head", 5), version("old", 0, 5))
    (write,) = build([candidate(day=9)], [contradiction("old")], *chain).memories
    assert write.replaces_head == "head"


@pytest.mark.parametrize("decision", [duplicate("old"), contradiction("old")])
def test_b54_what_is_said_after_a_retraction_is_a_new_statement(decision: Decision) -> None:
    (write,) = build([candidate(day=9)], [decision], version("old", 0, 5)).memories
    assert write.chain_id == write.memory_id == "n1"


def test_b54_what_was_said_before_a_retraction_does_not_undo_it() -> None:
    planned = build([candidate(day=3)], [duplicate("old")], version("old", 0, 5))
    assert (planned.memories, [link.memory_id for link in planned.links]) == ((), ["old"])


@pytest.mark.parametrize("decision", [duplicate("gone"), contradiction("gone"), NEW])
def test_b73_what_names_an_unknown_memory_is_new(decision: Decision) -> None:
    (write,) = build([candidate()], [decision], version("old", 0)).memories
    assert write.chain_id == "n1"


@pytest.mark.parametrize("decision", [duplicate("old"), contradiction("old"), NEW])
def test_b55_buried_candidates_leave_no_trace(decision: Decision) -> None:
    planned = build([candidate(1), candidate(2)], [decision, NEW], version("old", 0), buried=[0])
    assert [write.memory_id for write in planned.memories] == ["n2"]
    assert (planned.links, planned.superseded, planned.dropped) == ((), {}, (0,))


def test_b55_tombstones_name_every_source() -> None:
    two = candidate(sources=(SourceRef("i1", 0, "p0"), SourceRef("i1", 1, "p1")))
    marks = planning.tombstones_of(two, "salt")
    assert len(set(marks)) == 2
    assert marks == planning.tombstones_of(
        candidate(9, text="Statement 1!", sources=two.sources), "salt"
    )
    assert not set(marks) & set(planning.tombstones_of(two, "other"))


def test_a_version_by_hand_keeps_what_it_does_not_change() -> None:
    before = version(
        "head",
        5,
        memory_type="plan",
        importance=0.9,
        tags=["a"],
        entities=["B"],
        metadata={"k": [1]},
        expires_at=T0 + 90 * DAY,
        pinned=True,
        external_id="doc",
        process_id="proc",
        interaction_id="i1",
    )
    chain = [before, version("old", 0, 5)]
    write = planning.manual_version(
        before, chain, "m9", "new text", T0 + 9 * DAY, "support", Lifetimes()
    )
    for name in (
        "memory_type", "importance", "metadata", "expires_at", "pinned", "external_id",
        "process_id", "interaction_id", "agent_id", "chain_id",
    ):  # fmt: skip
        assert getattr(write, name) == getattr(before, name)
    assert (write.tags, write.entities) == (("a",), ("B",))
    assert (write.text, write.author, write.source_role) == ("new text", "support", "api")
    assert write.content_hash == content_hash("new text")
    assert (write.predecessor_id, write.replaces_head) == ("head", "head")
    assert (write.sources, write.confidence, write.import_id) == ((), None, None)


def test_a_manual_version_of_a_retracted_statement_revives_it() -> None:
    ended = version("old", 0, 5)
    write = planning.manual_version(
        ended, [ended], "m9", ended.memory, T0 + 9 * DAY, None, Lifetimes()
    )
    assert (write.predecessor_id, write.replaces_head, write.superseded_at) == ("old", None, None)
    assert write.predecessor_superseded_at == T0 + 5 * DAY


def test_an_end_is_a_plan_of_its_own() -> None:
    plan = planning.ended(SCOPE, version("old", 0), T0 + DAY, T0 + 2 * DAY)
    (end,) = plan.ends
    assert (end.memory_id, end.ended_at, plan.now) == ("old", T0 + DAY, T0 + 2 * DAY)
    assert (plan.memories, plan.interaction, plan.job) == ((), None, None)


def test_an_empty_interaction_is_checked() -> None:
    plan = planning.new_interaction(SCOPE, "i1", T0, "ext", "Title", {"k": 1})
    assert planning.interaction_id_of(plan) == "i1"
    assert plan.interaction == InteractionWrite(
        "i1", None, MessageEdit(0), T0, "jenny", "ext", "Title", {"k": 1}
    )
    bad: list[tuple[Any, Any, Any, str]] = [
        ("", None, None, "external_id"),
        (None, "", None, "title"),
        (None, None, [], "metadata"),
        (None, None, {"k": float("nan")}, "metadata"),
    ]
    for external_id, title, metadata, field in bad:
        with pytest.raises(InvalidInputError) as caught:
            planning.new_interaction(SCOPE, "i1", T0, external_id, title, metadata)
        assert caught.value.field == field


MESSAGES = [{"role": "user", "content": "I moved"}, {"role": "assistant", "content": "ok"}]


def stored_plan(
    given: MemoriesAndInteraction,
    stored: Interaction | None = None,
    hashes: Sequence[str] = (),
    chains: Mapping[str, Sequence[Memory]] | None = None,
    now: datetime = T0,
) -> Any:
    return planning.stored_interaction(
        SCOPE, stored, hashes, given, chains or {}, now, SequentialIds(), lifetimes=Lifetimes()
    )


def test_an_interaction_with_known_memories_is_one_plan() -> None:
    given = MemoriesAndInteraction(
        interaction=MESSAGES,
        interaction_date=T0 - DAY,
        memories=[
            MemoryToStore(memory=f"[[u:{USER}]] moved [[u:eve]]", source_msg_block_pos=[1, 0, 1]),
            MemoryToStore(memory="no source"),
        ],
        contrary_memories=[
            ContraryMemoryToStore(memory="new city", existing_contrary_memory_id="old")
        ],
    )
    plan = stored_plan(given, chains={"old": [version("old", -9, source_role="api")]})
    hashes = [m.prefix_hash for m in parse_messages(MESSAGES)]
    assert plan.interaction.expected_revision is None
    assert plan.interaction.at == T0 - DAY
    moved, bare, contrary = plan.memories
    assert moved.text == f"[[u:{USER}]] moved [[=u:eve]]"
    assert moved.sources == tuple(
        SourceRef("id0001", position, hashes[position], T0 - DAY) for position in (0, 1)
    )
    assert (moved.source_role, moved.obtained_at, moved.agent_id) == ("api", T0 - DAY, "jenny")
    assert bare.sources == ()
    assert (contrary.predecessor_id, contrary.replaces_head) == ("old", "old")


def test_an_update_appends_only_what_is_new() -> None:
    stored = Interaction(
        org_id="acme",
        user_id=USER,
        interaction_id="i7",
        created_at=T0,
        updated_at=T0,
        last_activity_at=T0,
        revision=3,
    )
    hashes = [m.prefix_hash for m in parse_messages(MESSAGES)]
    given = MemoriesAndInteraction(interaction=[MESSAGES[0], {"role": "user", "content": "bye"}])
    plan = stored_plan(given, stored, hashes)
    write = plan.interaction
    assert (write.interaction_id, write.expected_revision) == ("i7", 3)
    assert (write.edit.keep, [m.content for m in write.edit.append]) == (1, ["bye"])
    assert write.at == T0


BAD: list[tuple[dict[str, Any], str]] = [
    ({"interaction": [{"role": "robot", "content": "x"}]}, "interaction[0].role"),
    ({"memories": [{"memory": " "}]}, "memories[0].memory"),
    ({"memories": [{"memory": "x", "source_msg_block_pos": [2]}]}, "memories[0].source_msg"),
    ({"memories": [{"memory": "x", "source_msg_block_pos": [-1]}]}, "memories[0].source_msg"),
    ({"memories": [{"memory": "x", "importance": 2}]}, "memories[0].importance"),
    ({"memories": [{"memory": "x", "importance": float("nan")}]}, "memories[0].importance"),
    ({"memories": [{"memory": "x", "memory_type": ""}]}, "memories[0].memory_type"),
    ({"memories": [{"memory": "x", "tags": [""]}]}, "memories[0].tags"),
    ({"memories": [{"memory": "x", "metadata": {"k": float("inf")}}]}, "memories[0].metadata"),
    (
        {"contrary_memories": [{"memory": "", "existing_contrary_memory_id": "old"}]},
        "contrary_memories[0].memory",
    ),
]


@pytest.mark.parametrize(("given", "field"), BAD)
def test_b72_malformed_memories_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    parsed = MemoriesAndInteraction.model_validate({"interaction": MESSAGES, **given})
    with pytest.raises(InvalidInputError) as caught:
        stored_plan(parsed)
    assert caught.value.field.startswith(field)


def test_a_date_outside_the_calendar_is_refused() -> None:
    given = MemoriesAndInteraction.model_validate(
        {"interaction": MESSAGES, "interaction_date": "0001-01-01T00:00:00+14:00"}
    )
    with pytest.raises(InvalidInputError) as caught:
        stored_plan(given)
    assert caught.value.field == "interaction_date"


@pytest.mark.parametrize("positions", [[True], ["0"], [0.0]])
def test_b72_positions_are_whole_numbers(positions: list[Any]) -> None:
    with pytest.raises(ValueError, match="source_msg_block_pos"):
        MemoryToStore(memory="x", source_msg_block_pos=positions)


def test_a_transcript_plan_carries_job_or_memories() -> None:
    write = InteractionWrite("i1", None, MessageEdit(0), T0)
    bare = planning.transcript(SCOPE, write, T0)
    assert (bare.memories, bare.links, bare.job, bare.idempotency) == ((), (), None, None)
    planned = build([candidate()], [NEW])
    assert planning.transcript(SCOPE, write, T0, planned=planned).memories == planned.memories
