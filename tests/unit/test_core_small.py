"""Clock, ids and authority."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
import shortuuid
from hypothesis import given
from hypothesis import strategies as st

from memora.core import authority, clock
from memora.core.ids import RandomIds, derived_memory_id, derived_short_id
from memora.schema.models import SourceRole
from tests.unit.kit import quick


def test_the_system_clock_is_aware_and_in_utc() -> None:
    before = time.time()
    now = clock.SystemClock().now()
    assert now.tzinfo is UTC
    assert before - 1 <= now.timestamp() <= time.time() + 1


@quick
@given(st.uuids())
def test_short_ids_are_those_of_shortuuid(value: uuid.UUID) -> None:
    from memora.core.ids import _base57

    assert _base57(value.int) == shortuuid.encode(value)


@pytest.mark.parametrize("number", [0, 1, 2**128 - 1])
def test_short_ids_at_the_bounds(number: int) -> None:
    from memora.core.ids import _base57

    assert _base57(number) == shortuuid.encode(uuid.UUID(int=number))


def test_random_ids_are_new_each_time() -> None:
    ids = RandomIds()
    assert len({ids.short() for _ in range(200)}) == 200
    memories = {ids.memory() for _ in range(200)}
    assert len(memories) == 200
    assert {uuid.UUID(memory).version for memory in memories} == {4}
    assert len(shortuuid.decode(ids.short()).hex) == 32


parts = st.lists(st.text(st.sampled_from("12:\x1fab"), max_size=4), max_size=4)


@quick
@given(parts, parts)
def test_derived_ids_are_equal_iff_their_parts_are(left: list[str], right: list[str]) -> None:
    assert (derived_memory_id(*left) == derived_memory_id(*right)) is (left == right)
    assert (derived_short_id(*left) == derived_short_id(*right)) is (left == right)


def test_derived_ids_stay_the_same_in_every_release() -> None:
    assert derived_memory_id("job", "3", "é") == "c5778d10-91ba-5a7d-a617-b31459ea10e6"
    assert uuid.UUID(derived_memory_id("x")).version == 5
    assert shortuuid.decode(derived_short_id("x")) == uuid.UUID(derived_memory_id("x"))


RANKS = [("api", 3), ("user", 2), ("assistant", 1), ("import", 1), ("tool", 0), ("function", 0)]


@pytest.mark.parametrize(("role", "rank"), [*RANKS, ("system", 0), ("", 0), ("API", 0)])
def test_b78_trust_of_a_source(role: str, rank: int) -> None:
    assert authority.rank(role) == rank


@pytest.mark.parametrize(("new", "new_rank"), RANKS)
@pytest.mark.parametrize(("old", "old_rank"), RANKS)
@pytest.mark.parametrize("agents", [("a", "a"), ("a", "b"), ("a", None), (None, "a"), (None, None)])
@pytest.mark.parametrize("across", [True, False])
def test_b78_who_may_supersede_whom(
    new: str,
    new_rank: int,
    old: str,
    old_rank: int,
    agents: tuple[str | None, str | None],
    across: bool,
) -> None:
    allowed = authority.may_supersede(new, agents[0], old, agents[1], across_agents=across)
    assert allowed is (new_rank >= old_rank and (across or agents[0] == agents[1]))


@pytest.mark.parametrize(
    ("roles", "least"),
    [
        (["user"], "user"),
        (["user", "assistant"], "assistant"),
        (["assistant", "user", "tool"], "tool"),
        (["user", "function"], "tool"),
        ([], "assistant"),
    ],
)
def test_b78_a_statement_is_trusted_like_its_weakest_source(roles: list[str], least: str) -> None:
    assert authority.least_trusted(roles) == least
    assert SourceRole(authority.least_trusted(roles))


def test_b64_naive_times_are_local_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from memora.schema import times

    monkeypatch.setattr(times, "_told_about_naive", False)
    naive = datetime(2026, 7, 1, 12, tzinfo=UTC).replace(tzinfo=None)
    with caplog.at_level(logging.WARNING, logger="memora"):
        for _ in range(3):
            assert times.as_utc(naive) == naive.astimezone(UTC)
            assert times.as_utc(naive).tzinfo is UTC
    assert [record.name for record in caplog.records] == ["memora"]
    assert "naive" in caplog.text


def test_b64_aware_times_keep_their_instant(caplog: pytest.LogCaptureFixture) -> None:
    from memora.schema import times

    aware = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=-3)))
    assert times.as_utc(aware) == aware
    assert times.as_utc(aware).tzinfo is UTC
    assert not caplog.records
