"""Times that a text names."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.text.times import spans
from tests.unit.kit import quick

# A Thursday.
NOW = datetime(2023, 7, 20, 12, tzinfo=UTC)

READ = [
    ("on 7 May 2022", "2022-05-07", "2022-05-08"),
    ("the 7th of May, 2022", "2022-05-07", "2022-05-08"),
    ("May 7, 2022", "2022-05-07", "2022-05-08"),
    ("2022-05-07", "2022-05-07", "2022-05-08"),
    ("on 7 May", "2023-05-07", "2023-05-08"),
    ("on December 24th", "2022-12-24", "2022-12-25"),
    ("in May", "2023-05-01", "2023-06-01"),
    ("in december", "2022-12-01", "2023-01-01"),
    ("June 2021", "2021-06-01", "2021-07-01"),
    ("in 2021", "2021-01-01", "2022-01-01"),
    ("yesterday", "2023-07-19", "2023-07-20"),
    ("the day before yesterday", "2023-07-18", "2023-07-19"),
    ("tomorrow", "2023-07-21", "2023-07-22"),
    ("three days ago", "2023-07-17", "2023-07-18"),
    ("two weeks ago", "2023-07-03", "2023-07-10"),
    ("a month ago", "2023-06-10", "2023-07-01"),
    ("a year ago", "2022-05-21", "2022-09-19"),
    ("last week", "2023-07-10", "2023-07-17"),
    ("this week", "2023-07-17", "2023-07-24"),
    ("last weekend", "2023-07-15", "2023-07-17"),
    ("last month", "2023-06-01", "2023-07-01"),
    ("next month", "2023-08-01", "2023-09-01"),
    ("last year", "2022-01-01", "2023-01-01"),
    ("last Tuesday", "2023-07-18", "2023-07-19"),
    ("last Thursday", "2023-07-13", "2023-07-14"),
    ("on Friday", "2023-07-14", "2023-07-15"),
    ("next Friday", "2023-07-21", "2023-07-22"),
    ("last summer", "2022-06-01", "2022-09-01"),
    ("this summer", "2023-06-01", "2023-09-01"),
    ("in the winter", "2022-12-01", "2023-03-01"),
    ("in the summer of 2021", "2021-06-01", "2021-09-01"),
]


@pytest.mark.parametrize(("text", "start", "end"), READ)
def test_a_time_is_read_against_now(text: str, start: str, end: str) -> None:
    (span,) = spans(f"What did we do {text}?", NOW)
    assert [f"{moment:%Y-%m-%d}" for moment in span] == [start, end]
    assert all(moment.tzinfo is UTC for moment in span)


NONE = [
    "Where does my sister live?",
    "I may go, and march on, in 15 minutes",
    "on 31 February",
    "2023-13-45",
    "the last time",
    "I have 3 cats and 2000 books",
    "",
]


@pytest.mark.parametrize("text", NONE)
def test_what_names_no_time_is_left_alone(text: str) -> None:
    assert spans(text, NOW) == []


def test_several_times_come_in_their_order() -> None:
    found = spans("Between May 2023 and yesterday, or in 2021?", NOW)
    assert [start.year for start, _end in found] == [2023, 2023, 2021]


def test_days_are_those_of_the_callers_time_zone() -> None:
    zone = timezone(timedelta(hours=10))
    ((start, _end),) = spans("today", datetime(2023, 7, 21, 1, tzinfo=zone))
    assert start == datetime(2023, 7, 21, tzinfo=zone)


@quick
@given(st.text(), st.datetimes(timezones=st.just(UTC)))
def test_no_text_and_no_time_fails(text: str, now: datetime) -> None:
    for prefix in ("", "999 years ago ", "last winter ", "on 29 Feb "):
        for start, end in spans(prefix + text, now):
            assert start < end


def test_reading_costs_far_less_than_a_recall() -> None:
    text = "What did Caroline say in May about her 3 cats, " * 40
    spans(text, NOW)
    started = time.process_time()
    for _ in range(20):
        spans(text, NOW)
    assert (time.process_time() - started) / 20 < 0.02
