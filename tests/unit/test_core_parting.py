"""Where a version is parted, where it is not, and where two are one again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memora.core import parting, planning, rejoining, undoing
from memora.core.parting import Parted
from memora.core.planning import Candidate, Decision, Origin, Planned, Verdict
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.sources import SourceMessage, StoredVersion
from memora.schema.write_plan import SourceRef, WritePlan
from tests.unit.kit import DAY, T0, USER, memory


def said(day: float | None, **fields: Any) -> SourceMessage:
    """A message of that day; None: it is not known when it said so."""
    known: dict[str, Any] = {"interaction_id": f"talk-{day}", "role": "user", "position": 0}
    at = None if day is None else T0 + day * DAY
    return SourceMessage(**{**known, "prefix_hash": f"hash-{day}", "said_at": at, **fields})


def version(
    memory_id: str, day: float, until: float | None, *sources: SourceMessage, **fields: Any
) -> tuple[Memory, StoredVersion]:
    """A version as it is read, and with its sources."""
    times = {
        "obtained_at": T0 + day * DAY,
        "superseded_at": None if until is None else T0 + until * DAY,
        "recorded_at": T0,
    }
    stated = {name: fields.pop(name) for name in ("stated_at", "stated_role") if name in fields}
    given = {"chain_id": "chain", "interaction_id": "talk-0", "source_role": "user", **fields}
    seen = memory(memory_id, "Oslo", **{**times, **given})
    kept: dict[str, Any] = {
        name: getattr(seen, name)
        for name in ("memory_id", "chain_id", "source_role", "author", "pinned", "archived")
    }
    origin = {name: getattr(seen, name) for name in ("interaction_id", "import_id", "agent_id")}
    stored = StoredVersion(
        successor_id=None, content_hash="Oslo", sources=sources, **times, **kept, **origin, **stated
    )
    return seen, stored


def parted(
    seen: Memory, stored: StoredVersion, day: float = 2, role: str = "user", **options: Any
) -> Parted | None:
    return parting.part(
        [seen], stored, T0 + day * DAY, role, "new", **{"may_begin": True, **options}
    )


def test_b28_what_was_said_after_it_is_a_version_of_its_own() -> None:
    seen, stored = version("old", 1, None, said(1), said(3, agent_id="jenny"), said(4))
    done = parted(seen, stored)
    assert done is not None
    write = done.write
    assert (write.text, write.obtained_at, write.superseded_at) == ("Oslo", T0 + 3 * DAY, None)
    assert (write.predecessor_id, write.replaces_head) == ("old", "old")
    assert (write.interaction_id, write.agent_id) == ("talk-3", "jenny")
    [link] = done.links
    assert (link.memory_id, link.moved_from) == ("new", "old")
    assert [source.said_at for source in link.sources] == [T0 + 3 * DAY, T0 + 4 * DAY]
    newer, older = done.chain
    assert (newer.memory_id, newer.obtained_at, newer.superseded_at) == ("new", T0 + 3 * DAY, None)
    assert (older.memory_id, older.superseded_at) == ("old", T0 + 3 * DAY)


@pytest.mark.parametrize(("stated", "begins"), [(3, 3), (4, 3.5)])
def test_b28_a_version_that_was_stated_after_it_begins_there_again(
    stated: float, begins: float
) -> None:
    """Or with what said it before that, but after the other statement."""
    seen, kept = version("old", 1, 9, said(1), said(begins), stated_at=T0 + stated * DAY)
    done = parted(seen, replace(kept, stated_role="assistant"), role="assistant")
    assert done is not None
    write, (moved, link) = done.write, done.links
    assert (write.obtained_at, write.successor_id) == (T0 + DAY, "old")
    assert (write.superseded_at, write.interaction_id) == (T0 + begins * DAY, "talk-1")
    assert (moved.memory_id, moved.moved_from, len(moved.sources)) == ("new", "old", 1)
    assert link.begins is not None
    assert (link.memory_id, link.begins.was, link.begins.predecessor_id) == ("old", T0 + DAY, None)
    assert link.begins.obtained_at == T0 + begins * DAY
    assert link.begins.source_role == ("assistant" if stated == begins else "user")
    assert parted(seen, kept, may_begin=False) is None


NOT_PARTED: list[tuple[tuple[SourceMessage, ...], dict[str, Any]]] = [
    ((said(1),), {}),
    # Before it was noted when messages said it.
    ((said(None), said(None)), {}),
    # Nobody who may say so.
    ((said(1), said(3, role="tool")), {}),
    # It ended before that.
    ((said(1), said(9)), {}),
    # Somebody put it away.
    ((said(1), said(3)), {"archived": True}),
    # Nothing is left that said it before.
    ((said(3),), {"stated_at": T0 + 4 * DAY, "stated_role": "user"}),
]


@pytest.mark.parametrize(("sources", "fields"), NOT_PARTED)
def test_a_version_that_did_not_come_back_stays_whole(
    sources: tuple[SourceMessage, ...], fields: dict[str, Any]
) -> None:
    assert parted(*version("old", 1, 8, *sources, **fields)) is None


def told(text: str, day: float, number: int = 1) -> Candidate:
    source = SourceRef("talk", number, f"p{number}")
    return Candidate(f"n{number}", text, T0 + day * DAY, (source,), "user")


def planned(chain: list[Memory], stored: StoredVersion, *candidates: Candidate) -> Planned:
    return planning.build(
        Scope("acme", USER),
        candidates,
        [Decision(Verdict.CONTRADICTION, chain[0].memory_id)] * len(candidates),
        {chain[0].memory_id: chain},
        Origin("talk", None),
        stored={stored.memory_id: stored},
    )


def plan_of(built: Planned) -> WritePlan:
    return WritePlan(Scope("acme", USER), T0, memories=built.memories, links=built.links)


def test_b28_two_statements_of_one_plan_part_a_version_twice() -> None:
    seen, stored = version("old", 1, None, said(1), said(3), said(5))
    plan = planned([seen], stored, told("Rome", 2), told("Bonn", 4, 2))
    texts = sorted((write.obtained_at, write.text) for write in plan.memories)
    assert texts == [
        (T0 + n * DAY, text)
        for n, text in zip((2, 3, 4, 5), ("Rome", "Oslo", "Bonn", "Oslo"), strict=True)
    ]
    heads = [write for write in plan.memories if write.superseded_at is None]
    # The second takes over from the first.
    assert [write.obtained_at for write in heads] == [T0 + 3 * DAY, T0 + 5 * DAY]
    assert heads[1].replaces_head == heads[0].memory_id


def test_b28_what_a_plan_said_before_counts_for_what_it_says_then() -> None:
    """A version that begins earlier by one statement is parted by the next, and stays itself."""
    seen, stored = version("old", 3, None, said(3))
    seen = seen.model_copy(update={"content_hash": stored.content_hash})
    candidates = [told("Oslo", 1), told("Rome", 2, 2)]
    plan = planning.build(
        Scope("acme", USER),
        candidates,
        [Decision(Verdict.DUPLICATE, "old"), Decision(Verdict.CONTRADICTION, "old")],
        {"old": [seen]},
        Origin("talk", None),
        stored={"old": stored},
    )
    placed = [(write.text, write.obtained_at, write.successor_id) for write in plan.memories]
    oslo, rome = plan.memories
    assert placed == [("Oslo", T0 + DAY, "old"), ("Rome", T0 + 2 * DAY, "old")]
    assert (oslo.interaction_id, rome.predecessor_id) == ("talk", oslo.memory_id)
    earlier, moved, again = plan.links
    assert (earlier.memory_id, len(earlier.sources)) == ("old", 1)
    assert (moved.memory_id, moved.moved_from, moved.sources) == (
        oslo.memory_id,
        "old",
        earlier.sources,
    )
    assert again.begins is not None
    assert (again.begins.was, again.begins.obtained_at) == (T0 + DAY, T0 + 3 * DAY)
    assert [step.memory_id for step in plan_of(plan).steps] == [
        "old",
        "old",
        oslo.memory_id,
        rome.memory_id,
    ]


def test_b28_a_plan_tells_of_an_earlier_time_after_it_inserted_another_version() -> None:
    seen, stored = version("old", 3, None, said(3))
    below = version("below", 0, 3)[0].model_copy(update={"memory": "Bonn"})
    plan = planned([seen, below], stored, told("Rome", 1), told("Oslo", 2, 2))
    [rome] = plan.memories
    [link] = plan.links
    assert link.begins is not None
    assert (link.begins.predecessor_id, link.begins.after) == (rome.memory_id, 1)
    assert [step.memory_id for step in plan_of(plan).steps] == [rome.memory_id, "old"]


def test_a_gap_that_a_purge_left_stays_one() -> None:
    """What is told late of the version after it is one of its own, with its end before the gap."""
    below = version("below", 0, 3)[0].model_copy(update={"memory": "Rome"})
    seen, stored = version("old", 5, None, said(5))
    plan = planned([seen, below], stored, told("Oslo", 2))
    [write] = plan.memories
    assert (write.superseded_at, write.successor_id) == (T0 + 3 * DAY, "old")
    assert plan.links == ()


def joined(first: StoredVersion, then: StoredVersion) -> list[str]:
    between = replace(
        first,
        memory_id="between",
        content_hash="Rome",
        obtained_at=T0 + 2 * DAY,
        superseded_at=T0 + 3 * DAY,
    )
    left, _joined = rejoining.rejoined([first, between, then], {"between"})
    return [each.memory_id for each in left]


def test_two_that_only_what_goes_has_parted_are_the_one_recorded_first() -> None:
    first, then = version("a", 1, 2, said(1))[1], version("b", 3, None, said(3))[1]
    assert joined(first, then) == ["a"]
    assert joined(replace(first, recorded_at=T0 + DAY), then) == ["b"]
    others = (
        {"pinned": True},
        {"author": "me"},
        {"content_hash": "x"},
        {"obtained_at": T0 + 4 * DAY},
    )
    for fields in others:
        assert joined(first, replace(then, **fields)) == ["a", "b"]  # pyright: ignore[reportArgumentType]
    # A tool said it first, the user confirmed it.
    assert joined(replace(first, source_role="tool"), then) == ["a", "b"]
    left, moved = rejoining.rejoined([first, then], set())
    assert (len(left), moved) == (2, [])


def test_a_version_that_goes_with_its_beginning_is_not_told_of_a_later_one() -> None:
    """What was said of two versions at once is taken back from both, down to what is left."""
    lost = said(1, import_id="import")
    stated = {"stated_role": "tool", "source_role": "user"}
    first = version("a", 1, 1, stated_at=T0 + 5 * DAY, **stated)[1]
    then = version("b", 1, None, lost, said(4), stated_at=T0 + 6 * DAY, **stated)[1]
    done = undoing.decide([first, then], "import")
    spans = {span.memory_id: (span.obtained_at, span.superseded_at) for span in done.changed}
    assert spans == {"a": (T0 + 4 * DAY, T0 + 4 * DAY), "b": (T0 + 4 * DAY, None)}
    done = undoing.decide([replace(first, stated_at=T0 + 2 * DAY), then], "import")
    spans = {span.memory_id: (span.obtained_at, span.superseded_at) for span in done.changed}
    assert spans == {"a": (T0 + 2 * DAY, T0 + 4 * DAY), "b": (T0 + 4 * DAY, None)}
    roles = {each.memory_id: each.source_role for each in done.unlinked}
    assert roles == {"a": "tool", "b": "user"}


def test_a_version_never_begins_after_its_end() -> None:
    lost = said(1, import_id="import")
    ended = version("a", 1, 3, lost, stated_at=T0 + 5 * DAY, stated_role="user")[1]
    assert undoing.decide([ended], "import").changed == ()
