"""Version chains under random insertions, ends and purges, against a brute-force reading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memora.core.versions import Link, Placement, oldest_first, place, relink, version_at
from memora.schema.models import Memory
from tests.unit.kit import DAY, T0, memory, quick

HOUR = timedelta(hours=1)


class Chain:
    """A chain as a store keeps it, newest first."""

    def __init__(self, first: datetime) -> None:
        self.versions = [memory("v0", obtained_at=first, chain_id="v0")]
        self._count = 1

    def insert(self, at: datetime) -> Memory:
        placement = place(self.versions, at)
        added = memory(
            f"v{self._count}",
            obtained_at=at,
            chain_id=placement.chain_id,
            superseded_at=placement.superseded_at,
            superseded_by=placement.successor_id,
            supersedes=placement.predecessor_id,
        )
        self._count += 1
        self._check_guards(placement)
        for version in self.versions:
            if version.memory_id == placement.predecessor_id:
                version.superseded_at = placement.predecessor_superseded_at
                version.superseded_by = added.memory_id
            if version.memory_id == placement.successor_id:
                version.supersedes = added.memory_id
        ids = [version.memory_id for version in self.versions]
        below = len(ids)
        if placement.predecessor_id is not None:
            below = ids.index(placement.predecessor_id)
        self.versions.insert(below, added)
        return added

    def _check_guards(self, placement: Placement) -> None:
        """What every graph adapter checks before it writes a version."""
        by_id = {version.memory_id: version for version in self.versions}
        if placement.predecessor_id is not None:
            assert by_id[placement.predecessor_id].superseded_by == placement.successor_id
        else:
            assert placement.successor_id is not None
            assert by_id[placement.successor_id].supersedes is None
        if placement.superseded_at is None:
            heads = [v.memory_id for v in self.versions if v.is_current]
            assert heads == ([] if placement.replaces_head is None else [placement.replaces_head])

    def end(self, at: datetime) -> None:
        head = version_at(self.versions, None)
        if head is not None:
            head.superseded_at = max(at, head.obtained_at)

    def purge(self, memory_ids: set[str]) -> None:
        oldest_first = [Link(v.memory_id, v.superseded_by) for v in reversed(self.versions)]
        changed = {link.memory_id: link for link in relink(oldest_first, memory_ids)}
        assert not changed.keys() & memory_ids
        self.versions = [v for v in self.versions if v.memory_id not in memory_ids]
        for version in self.versions:
            if version.memory_id in changed:
                version.superseded_by = changed[version.memory_id].successor_id
        for newer, older in zip(self.versions, self.versions[1:], strict=False):
            newer.supersedes = older.memory_id
        if self.versions:
            self.versions[-1].supersedes = None

    def readings(self) -> dict[int, str | None]:
        """What is current at every half day, and (under -1) now."""
        times = {half: T0 + half * DAY / 2 for half in range(24)}
        found = {half: version_at(self.versions, time) for half, time in times.items()}
        for half, time in times.items():
            valid = [
                v.memory_id
                for v in self.versions
                if v.obtained_at <= time and (v.superseded_at is None or time < v.superseded_at)
            ]
            assert len(valid) <= 1
            now = found[half]
            assert valid == ([] if now is None else [now.memory_id])
        found[-1] = version_at(self.versions, None)
        return {half: None if v is None else v.memory_id for half, v in found.items()}

    def check(self) -> None:
        """Invariant I4, and the order."""
        for newer, older in zip(self.versions, self.versions[1:], strict=False):
            assert newer.obtained_at >= older.obtained_at
            assert (older.superseded_by, newer.supersedes) == (newer.memory_id, older.memory_id)
            assert older.superseded_at is not None
            assert older.superseded_at <= newer.obtained_at
        for version in self.versions:
            assert version.superseded_at is None or version.superseded_at >= version.obtained_at
        assert not self.versions or self.versions[0].superseded_by is None
        assert not self.versions or self.versions[-1].supersedes is None
        assert sum(version.is_current for version in self.versions) <= 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 10)),
        st.tuples(st.just("insert"), st.integers(0, 10)),
        st.tuples(st.just("end"), st.integers(0, 11)),
        st.tuples(st.just("purge"), st.integers(0, 2)),
    ),
    min_size=3,
    max_size=9,
)


@settings(quick, max_examples=400)
@given(st.integers(0, 3), steps)
def test_i4_b29_b54_random_lives_of_a_chain(first: int, lives: list[tuple[str, int]]) -> None:
    chain = Chain(T0 + first * DAY)
    for step, number in lives:
        if not chain.versions:
            break
        before = chain.readings()
        periods = [(v.obtained_at, v.superseded_at) for v in chain.versions if v.superseded_at]
        if step == "insert":
            added = chain.insert(T0 + number * DAY)
            after = chain.readings()
            # Nothing but the new version itself becomes current anywhere, and when it is placed
            # in the time of another one, it does not outlive that one's end.
            ends = [end for start, end in periods if start <= added.obtained_at < end]
            for half, now in after.items():
                assert now in {before[half], added.memory_id, None}
                if ends and added.superseded_by is not None and half >= 0:
                    assert before[half] is not None or now is None
        elif step == "end":
            chain.end(T0 + number * DAY)
        else:
            gone = chain.versions[number % len(chain.versions)].memory_id
            chain.purge({gone})
            # A purge opens a gap where the purged version was, and changes nothing else.
            expected = {half: None if now == gone else now for half, now in before.items()}
            assert chain.readings() == expected
        chain.check()


@quick
@given(st.integers(0, 10), st.lists(st.integers(0, 10), max_size=8), st.sets(st.integers(0, 8)))
def test_b54_a_purge_of_several_versions_makes_no_older_one_current(
    first: int, times: list[int], purged: set[int]
) -> None:
    chain = Chain(T0 + first * DAY)
    for number in times:
        chain.insert(T0 + number * DAY)
    before = chain.readings()
    gone = {v.memory_id for n, v in enumerate(chain.versions) if n in purged}
    chain.purge(gone)
    chain.check()
    assert chain.readings() == {h: None if now in gone else now for h, now in before.items()}


def test_b54_a_late_fact_does_not_fill_the_gap_that_a_purge_left() -> None:
    chain = Chain(T0)
    middle = chain.insert(T0 + 4 * DAY)
    chain.insert(T0 + 8 * DAY)
    chain.purge({middle.memory_id})
    late = chain.insert(T0 + 2 * DAY)
    chain.check()
    readings = chain.readings()
    assert readings[2 * 3] == late.memory_id
    assert readings[2 * 5] is None
    assert late.superseded_at == T0 + 4 * DAY


def test_a_late_fact_of_the_gap_itself_is_read_there() -> None:
    chain = Chain(T0)
    middle = chain.insert(T0 + 4 * DAY)
    chain.insert(T0 + 8 * DAY)
    chain.purge({middle.memory_id})
    late = chain.insert(T0 + 6 * DAY)
    readings = chain.readings()
    assert (readings[2 * 5], readings[2 * 7]) == (None, late.memory_id)


PLACES = [
    ("newer than the head", 9, "head", None, None, "head"),
    ("as new as the head", 8, "head", None, None, "head"),
    ("below the head", 6, "middle", "head", 8, None),
    ("as new as one in the middle", 4, "middle", "head", 8, None),
    ("below the middle", 2, "first", "middle", 4, None),
    ("older than all", -1, None, "first", 0, None),
]


@pytest.mark.parametrize(
    ("day", "predecessor", "successor", "ends", "replaced"),
    [row[1:] for row in PLACES],
    ids=[row[0] for row in PLACES],
)
def test_d8_a_version_goes_where_its_time_is(
    day: int, predecessor: str | None, successor: str | None, ends: int | None, replaced: str | None
) -> None:
    chain = three()
    placement = place(chain, T0 + day * DAY)
    assert placement.chain_id == "first"
    assert placement.predecessor_id == predecessor
    assert placement.successor_id == successor
    assert placement.superseded_at == (None if ends is None else T0 + ends * DAY)
    assert placement.replaces_head == replaced
    expected = None if predecessor is None else T0 + day * DAY
    assert placement.predecessor_superseded_at == expected


def three() -> list[Memory]:
    return [
        memory("head", obtained_at=T0 + 8 * DAY, chain_id="first"),
        memory("middle", obtained_at=T0 + 4 * DAY, chain_id="first", superseded_at=T0 + 8 * DAY),
        memory("first", obtained_at=T0, superseded_at=T0 + 4 * DAY),
    ]


@pytest.mark.parametrize(("day", "ended"), [(9, 9), (8, 8), (12, 10)])
def test_a_version_on_an_ended_chain_revives_it_and_keeps_its_gap(day: int, ended: int) -> None:
    chain = three()
    chain[0].superseded_at = T0 + 10 * DAY
    placement = place(chain, T0 + day * DAY)
    assert (placement.predecessor_id, placement.replaces_head) == ("head", None)
    assert placement.superseded_at is None
    assert placement.predecessor_superseded_at == T0 + ended * DAY


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (T0 - HOUR, None),
        (T0, "first"),
        (T0 + 4 * DAY - HOUR, "first"),
        (T0 + 4 * DAY, "middle"),
        (T0 + 8 * DAY, "head"),
        (T0 + 90 * DAY, "head"),
        (None, "head"),
    ],
)
def test_as_of_reads_the_version_current_then(at: datetime | None, expected: str | None) -> None:
    found = version_at(three(), at)
    assert (None if found is None else found.memory_id) == expected


def test_an_empty_chain_has_no_version() -> None:
    assert version_at([], None) is None
    assert version_at([], T0) is None


RELINKS: list[tuple[set[str], list[Link]]] = [
    (set(), []),
    ({"a"}, []),
    ({"b"}, [Link("a", "c")]),
    ({"c"}, [Link("b", "d")]),
    ({"d"}, [Link("c", None)]),
    ({"b", "c"}, [Link("a", "d")]),
    ({"a", "c"}, [Link("b", "d")]),
    ({"c", "d"}, [Link("b", None)]),
    ({"a", "b", "c", "d"}, []),
    ({"other"}, []),
]


@pytest.mark.parametrize(("purged", "expected"), RELINKS)
def test_b54_neighbours_of_what_is_purged_are_linked(
    purged: set[str], expected: Sequence[Link]
) -> None:
    chain = [Link("a", "b"), Link("b", "c"), Link("c", "d"), Link("d", None)]
    assert relink(chain, purged) == list(expected)


def test_a_chain_has_the_order_of_its_links() -> None:
    links = [Link("c", "d"), Link("a", "b"), Link("d", None), Link("b", "c")]
    assert [link.memory_id for link in oldest_first(links)] == ["a", "b", "c", "d"]
    assert oldest_first([]) == []


@pytest.mark.parametrize(
    "links",
    [
        [Link("b", "a"), Link("a", "b")],
        [Link("a", "b"), Link("b", "c"), Link("c", "b")],
        [Link("b", "c"), Link("a", "c"), Link("c", None)],
    ],
)
def test_a_damaged_chain_keeps_the_order_that_it_is_given_in(links: list[Link]) -> None:
    assert oldest_first(links) == links
