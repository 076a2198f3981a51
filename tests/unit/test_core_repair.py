"""Decisions on damaged stores."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.core import repair
from memora.core.hashing import tombstone
from memora.core.messages import EMPTY_HASH, message_hash
from memora.core.repair import Phase, SeenMessage, Transcript, Version
from memora.schema.findings import Finding, FindingKind
from memora.schema.models import MessageBlock

CHAINS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.none() | st.integers(-1, 8),
        st.none() | st.sampled_from([*"abcdef", "nowhere"]),
    ),
    min_size=1,
    max_size=6,
)


def chain_of(rows: list[tuple[int, int | None, str | None]]) -> list[Version]:
    ordered = sorted(rows, key=lambda row: row[0])
    return [
        Version(name, successor, at, ended)
        for name, (at, ended, successor) in zip("abcdef", ordered, strict=False)
    ]


@given(CHAINS)
def test_b29_b54_whatever_was_stored_becomes_one_line(
    rows: list[tuple[int, int | None, str | None]],
) -> None:
    chain = chain_of(rows)
    changed = {version.memory_id: version for version in repair.rebuilt(chain)}
    fixed = [changed.get(version.memory_id, version) for version in chain]
    follows = [version.memory_id for version in fixed[1:]]
    assert [version.successor_id for version in fixed] == [*follows, None]
    for before, version, later in zip(chain, fixed, [*fixed[1:], None], strict=True):
        if later is None:
            assert (version.superseded_at is None) == (before.superseded_at is None)
        else:
            assert version.superseded_at is not None
            assert version.obtained_at <= version.superseded_at <= later.obtained_at
        if version.superseded_at is not None:
            assert version.obtained_at <= version.superseded_at
    assert repair.rebuilt(fixed) == []


def test_a_gap_of_a_purge_stays_a_gap() -> None:
    chain = [Version("a", None, 1, 2), Version("b", None, 5, None)]
    assert repair.rebuilt(chain) == [Version("a", "b", 1, 2)]


def test_versions_of_another_user_become_a_chain_of_their_own() -> None:
    one, two, three = (Version(name, None, at, None) for at, name in enumerate("abc"))
    placed = repair.straightened([("jake", one), ("ann", two), ("jake", three)], "a")
    assert [(each.user_id, each.chain_id, each.version) for each in placed] == [
        ("jake", "a", Version("a", "c", 0, 2)),
        ("ann", "b", two),
    ]
    assert repair.straightened([("ann", two)], "x") == []
    assert repair.straightened([], "x") == []


@pytest.mark.parametrize(
    ("successors", "round_and_round"),
    [
        ({"a": "b", "b": "c", "c": None}, ""),
        ({"a": "b", "b": "c", "c": "a"}, "abc"),
        ({"a": "b", "b": "b"}, "ab"),
        ({"a": "elsewhere", "b": "a"}, ""),
        ({}, ""),
    ],
)
def test_b29_cycles_are_found(successors: dict[str, str | None], round_and_round: str) -> None:
    for order in itertools.permutations(successors):
        shuffled = {name: successors[name] for name in order}
        assert sorted(repair.in_cycles(shuffled)) == list(round_and_round)


def test_b55_a_statement_came_back_when_it_was_purged_from_all_its_messages_before() -> None:
    one, two = (tombstone("salt", name, "hash") for name in ("one", "two"))
    purged_at = {one: 5, two: 7}

    def came_back(salt: str, *hashes: str, at: int = 8) -> bool:
        return repair.came_back(salt, "hash", hashes, at, purged_at)

    assert came_back("salt", "one", "two")
    assert came_back("salt", "one", at=6)
    assert not came_back("salt", "one", at=5)
    assert not came_back("salt", "one", "two", at=7)
    assert not came_back("salt", "one", "three")
    assert not came_back("salt")
    assert not came_back("other", "one")
    assert not repair.came_back("salt", "hash", ["one"], 8, {one: None})


@pytest.mark.parametrize(
    ("count", "hash_", "found", "whole", "fixed"),
    [
        (9, "x", 3, True, (3, "x")),  # the count is wrong, and the hash says that all are there
        (3, "y", 3, True, (3, "x")),
        (4, "y", 3, True, None),  # the last message is lost
        (3, "x", 3, False, None),
    ],
)
def test_a_transcript_is_counted_again_where_nothing_is_lost(
    count: int, hash_: str, found: int, whole: bool, fixed: tuple[int, str] | None
) -> None:
    assert repair.recounted(Transcript(count, hash_, found, whole, "x")) == fixed


def said(*texts: str, key: str) -> list[SeenMessage]:
    messages: list[SeenMessage] = []
    before = EMPTY_HASH
    for position, text in enumerate(texts):
        before = message_hash(before, "user", text, None, None)
        block = MessageBlock(role="user", content=text, msg_position=position)
        messages.append(SeenMessage(f"{key}{position}", block, before))
    return messages


def test_b26_of_two_transcripts_in_one_interaction_its_own_stays() -> None:
    own, other = said("a", "b", "c", key="own"), said("x", "y", key="other")
    mixed = sorted([*other, *own], key=lambda message: message.message.msg_position)
    assert repair.surplus(mixed, own[-1].prefix_hash) == other
    assert repair.surplus(own, own[-1].prefix_hash) == []
    # Hashes that fit nothing: the first ones stay, and the others are hashed anew.
    left = repair.surplus([own[0], *said("q", key="q")], "unknown")
    assert [message.key for message in left] == ["q0"]


def test_what_stands_in_the_way_is_repaired_first() -> None:
    def finding(kind: FindingKind, invariant: str = "I4", *, blocks: bool = False) -> Finding:
        return Finding(invariant, "r", "", kind, blocks=blocks)

    kinds = FindingKind
    findings = [
        finding(kinds.MISSING_VECTOR),
        finding(kinds.STUCK_OUTBOX),
        finding(kinds.MODEL_MISMATCH, blocks=True),
        finding(kinds.MODEL_MISMATCH),
        finding(kinds.HALF_MIGRATION, "I5"),
        finding(kinds.HALF_MIGRATION, "I20"),
        finding(kinds.MISSING_OWNER),
        finding(kinds.FORK),
        finding(kinds.HALF_MIGRATION, "I20", blocks=True),
    ]
    order = [repair.phase(each) for each in repair.ordered(findings)]
    assert order == [
        Phase.STRUCTURE,
        Phase.RECORDS,
        Phase.UNIQUENESS,
        Phase.INDEX,
        Phase.INDEX,
        Phase.OUTBOX,
        Phase.VECTORS,
        Phase.VECTORS,
    ]


@pytest.mark.parametrize("kind", FindingKind)
def test_every_kind_has_a_repair_or_says_that_it_has_none(kind: FindingKind) -> None:
    assert repair.action(Finding("I4", "r", "", kind))
    assert repair.phase(Finding("I4", "r", "", kind))


def test_limits_stay_within_the_calendar() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    limits = repair.limits(last)
    assert limits["ahead"] == limits["wait"] == limits["last"] == limits["now"]
    assert repair.limits(datetime(1970, 1, 1, tzinfo=UTC))["wait"] == 3600 * 1_000_000


def test_fresh_ids_are_the_same_in_every_run() -> None:
    ids = [repair.fresh_id(kind, "r", n) for kind in ("Memory", "User") for n in (1, 2)]
    assert len(set(ids)) == 4
    assert ids == [repair.fresh_id(kind, "r", n) for kind in ("Memory", "User") for n in (1, 2)]
