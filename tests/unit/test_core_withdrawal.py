"""Taking versions and sources out of a chain, against a chain that never had them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.core.versions import Span, place, withdraw
from memora.core.withdrawal import cancelled, cancels, decide
from memora.errors import InvalidInputError
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import Memory
from memora.schema.sources import SourceKind, SourceMessage, SourceSelector, StoredVersion
from tests.unit.kit import DAY, T0, memory, quick

EVIL = SourceSelector(SourceKind.INTERACTION, "evil")


def written(versions: Sequence[tuple[str, int]]) -> list[Span]:
    """Return the chain, oldest first, that writing these one after the other makes."""
    chain: list[Memory] = []
    for name, day in versions:
        at = T0 + day * DAY
        if not chain:
            chain.append(memory(name, obtained_at=at, chain_id="chain"))
            continue
        placement = place(chain, at)
        for version in chain:
            if version.memory_id == placement.predecessor_id:
                version.superseded_at = placement.predecessor_superseded_at
                version.superseded_by = name
        added = memory(
            name,
            obtained_at=at,
            chain_id="chain",
            superseded_at=placement.superseded_at,
            superseded_by=placement.successor_id,
        )
        below = sum(1 for version in chain if version.obtained_at > at)
        chain.insert(below, added)
    return [spanned(version) for version in reversed(chain)]


def spanned(version: Memory) -> Span:
    return Span(
        version.memory_id, version.obtained_at, version.superseded_at, version.superseded_by
    )


def without(chain: Sequence[Span], removed: set[str]) -> list[Span]:
    """Return the chain after the changes that `withdraw` asks for."""
    changed = {span.memory_id: span for span in withdraw(chain, removed)}
    assert not changed.keys() & removed
    kept = [span for span in chain if span.memory_id not in removed]
    assert all(changed.get(span.memory_id) != span for span in kept)
    return [changed.get(span.memory_id, span) for span in kept]


days = st.lists(st.integers(0, 6), min_size=1, max_size=9)
chosen = st.sets(st.integers(0, 8))


@quick
@given(days, chosen)
def test_d8_a_chain_is_as_if_the_withdrawn_versions_had_never_been_written(
    times: list[int], picked: set[int]
) -> None:
    lives = [(f"v{number}", day) for number, day in enumerate(times)]
    removed = {name for number, (name, _day) in enumerate(lives) if number in picked}
    rest = [life for life in lives if life[0] not in removed]
    assert without(written(lives), removed) == written(rest)


@quick
@given(days, chosen, chosen)
def test_d8_withdrawing_one_after_the_other_is_withdrawing_both(
    times: list[int], one: set[int], other: set[int]
) -> None:
    chain = written([(f"v{number}", day) for number, day in enumerate(times)])
    first, second = ({f"v{n}" for n in picked} for picked in (one, other))
    assert without(without(chain, first), second - first) == without(chain, first | second)


@quick
@given(days, chosen, st.integers(0, 8))
def test_i4_a_withdrawal_leaves_one_line_and_never_outlives_an_end(
    times: list[int], picked: set[int], ended_after: int
) -> None:
    chain = written([(f"v{number}", day) for number, day in enumerate(times)])
    end = chain[-1].obtained_at + ended_after * DAY
    chain[-1] = replace(chain[-1], superseded_at=end)
    removed = {f"v{number}" for number in picked}
    left = without(chain, removed)
    for span, after in itertools.pairwise(left):
        assert span.successor_id == after.memory_id
        assert span.superseded_at is not None
        assert span.superseded_at <= after.obtained_at
    if left:
        assert left[-1].successor_id is None
        # A retraction stays, whichever version it was said of.
        assert left[-1].superseded_at == end


def test_the_gap_that_a_purge_left_stays_a_gap() -> None:
    old = Span("old", T0, T0 + DAY, "evil")
    evil = Span("evil", T0 + 3 * DAY, None, None)
    (changed,) = withdraw([old, evil], {"evil"})
    assert changed == replace(old, successor_id=None)


def version(memory_id: str = "m", at: int = 0, **fields: Any) -> StoredVersion:
    given_fields: dict[str, Any] = {
        "chain_id": "chain",
        "obtained_at": T0 + at * DAY,
        "recorded_at": T0,
        "superseded_at": None,
        "successor_id": None,
        "source_role": "user",
        "content_hash": f"hash of {memory_id}",
        **fields,
    }
    return StoredVersion(memory_id, **given_fields)


def message(interaction_id: str, position: int = 0, **fields: Any) -> SourceMessage:
    prefix = f"{interaction_id}/{position}"
    return SourceMessage(interaction_id, position, fields.pop("role", "user"), prefix, **fields)


CASES: dict[str, tuple[str, StoredVersion]] = {
    "obtained there, said there": (
        "removed",
        version(interaction_id="evil", sources=(message("evil"),)),
    ),
    "obtained there, its message was cut": ("removed", version(interaction_id="evil")),
    "obtained there, confirmed elsewhere": (
        "unlinked",
        version(interaction_id="evil", sources=(message("evil"), message("good"))),
    ),
    "obtained there, only said elsewhere any more": (
        "stays",
        version(interaction_id="evil", sources=(message("good"),)),
    ),
    "obtained elsewhere, repeated there": (
        "unlinked",
        version(interaction_id="good", sources=(message("good"), message("evil"))),
    ),
    "obtained elsewhere, said only there any more": (
        "removed",
        version(interaction_id="good", sources=(message("evil"),)),
    ),
    "without a conversation, repeated there": ("unlinked", version(sources=(message("evil"),))),
    "made by hand": ("stays", version(interaction_id="evil", author="api")),
    "made by hand, repeated there": (
        "unlinked",
        version(interaction_id="evil", author="me", sources=(message("evil"),)),
    ),
    "of another conversation": ("stays", version(interaction_id="good")),
}


@pytest.mark.parametrize("case", CASES)
def test_d12_what_came_from_the_source_alone_goes(case: str) -> None:
    expected, stored = CASES[case]
    decided = decide([stored], EVIL)
    actual = "removed" if decided.removed else "unlinked" if decided.unlinked else "stays"
    assert actual == expected
    lost = [source for source in stored.sources if source.interaction_id == "evil"]
    assert decided.statements == tuple((each.prefix_hash, "hash of m") for each in lost)
    assert [each.lost for each in decided.unlinked] == (
        [tuple(lost)] if expected == "unlinked" else []
    )


@pytest.mark.parametrize("kind", [SourceKind.AGENT, SourceKind.IMPORT, SourceKind.PROCESS])
def test_d12_of_its_own_conversation_a_version_knows_the_source_best(kind: SourceKind) -> None:
    selector = SourceSelector(kind, "evil")
    by_evil: dict[str, Any] = {selector.field: "evil"}
    by_good: dict[str, Any] = {selector.field: "good"}
    continued_by_evil = version(interaction_id="i", sources=(message("i", **by_good),), **by_evil)
    assert decide([continued_by_evil], selector).removed == ("m",)
    continued_by_good = version(interaction_id="i", sources=(message("i", **by_evil),), **by_good)
    assert decide([continued_by_good], selector).touched == ()
    repeated_by_good = version(
        interaction_id="i", sources=(message("i", **by_evil), message("j", **by_good)), **by_evil
    )
    (unlinking,) = decide([repeated_by_good], selector).unlinked
    assert [source.interaction_id for source in unlinking.lost] == ["i"]
    repeated_by_evil = version(
        interaction_id="i", sources=(message("i", **by_good), message("j", **by_evil)), **by_good
    )
    (unlinking,) = decide([repeated_by_evil], selector).unlinked
    assert [source.interaction_id for source in unlinking.lost] == ["j"]


TRUST: dict[str, tuple[str, list[SourceMessage]]] = {
    "a tool alone": ("tool", [message("good", role="function")]),
    "the user and a tool, in one conversation": (
        "tool",
        [message("good"), message("good", 1, role="tool")],
    ),
    "the user and a tool, each by itself": (
        "user",
        [message("good"), message("other", role="tool")],
    ),
    "the assistant": ("assistant", [message("good", role="assistant")]),
}


@pytest.mark.parametrize("case", TRUST)
def test_d12_what_remains_has_the_trust_of_who_remains(case: str) -> None:
    expected, kept = TRUST[case]
    stored = version(interaction_id="evil", sources=(message("evil"), *kept))
    (unlinking,) = decide([stored], EVIL).unlinked
    assert unlinking.source_role == expected


def test_d12_the_trust_of_what_came_from_elsewhere_is_untouched() -> None:
    stored = version(
        interaction_id="good",
        source_role="api",
        sources=(message("good", role="tool"), message("evil")),
    )
    (unlinking,) = decide([stored], EVIL).unlinked
    assert unlinking.source_role == "api"


def test_d12_a_restored_head_is_named_and_an_earlier_one_is_not() -> None:
    chain = [
        version("a", 0, superseded_at=T0 + DAY, successor_id="b"),
        version("b", 1, superseded_at=T0 + 2 * DAY, successor_id="c", interaction_id="evil"),
        version("c", 2, superseded_at=T0 + 3 * DAY, successor_id="d"),
        version("d", 3, interaction_id="evil"),
    ]
    decided = decide(chain, EVIL)
    assert (decided.removed, decided.restored) == (("b", "d"), ("c",))
    assert sorted(decided.touched) == ["a", "b", "c", "d"]


def job(**fields: Any) -> ExtractionJob:
    return ExtractionJob("j", "acme", "jake", "talk", 0, 1, T0, T0, **fields)


def test_b14_jobs_of_the_source_are_closed_ahead_of_their_worker() -> None:
    params = {"import_id": "imp", "process_id": "proc"}
    running = job(agent_id="jenny", params=params, attempts=2, outputs={"extracted": []})
    for selector in ("interaction:talk", "agent:jenny", "import:imp", "process:proc"):
        assert cancels(running, SourceSelector.parse(selector))
    for selector in ("interaction:imp", "agent:talk", "import:jenny", "process:imp"):
        assert not cancels(running, SourceSelector.parse(selector))
    assert not cancels(job(), SourceSelector.parse("process:proc"))
    for now, expected in ((T0 - DAY, timedelta(microseconds=1)), (T0 + DAY, DAY)):
        closed = cancelled(running, now)
        assert closed.updated_at == T0 + expected
        assert (closed.status, closed.attempts) == (JobStatus.DONE, 3)
        assert (closed.outputs, closed.lease_until) == ({}, None)


def test_a_selector_names_exactly_one_source() -> None:
    selector = SourceSelector.of(agent_id="jenny")
    assert (selector.kind, selector.field, str(selector)) == (
        SourceKind.AGENT,
        "agent_id",
        "agent:jenny",
    )
    assert SourceSelector.parse("import:a:b") == SourceSelector(SourceKind.IMPORT, "a:b")
    several: list[dict[str, Any]] = [{}, {"agent_id": "a", "import_id": "b"}]
    for wrong in several:
        with pytest.raises(InvalidInputError, match="exactly one of"):
            SourceSelector.of(**wrong)
    with pytest.raises(InvalidInputError, match="process_id"):
        SourceSelector.of(process_id=" ")


@pytest.mark.parametrize("text", ["", "agent", "user:jake", "Agent:x", ":x", "agent:", 7, None])
def test_what_is_no_selector_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInputError):
        SourceSelector.parse(text, "--by-source")


def test_times_are_compared_to_the_microsecond() -> None:
    tick = timedelta(microseconds=1)
    start: datetime = T0 + DAY
    old = Span("old", T0, start - tick, "evil")
    (changed,) = withdraw([old, Span("evil", start, None, None)], {"evil"})
    assert changed.superseded_at == start - tick
