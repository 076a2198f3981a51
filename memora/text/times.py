"""Times that a text names: "7 May", "two weeks ago", "last summer"; English, and ISO dates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# First month; winter begins in the year before the one that it is mostly in.
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_NUMBERS = {
    word: number
    for number, words in enumerate(
        ("", "a an one", "two couple", "three few", "four", "five", "six", "seven", "eight", "nine",
         "ten", "eleven", "twelve")
    )
    for word in words.split()
}  # fmt: skip

_MONTH = r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?" \
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"  # fmt: skip
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_COUNT = rf"(?P<count>\d{{1,3}}|{'|'.join(_NUMBERS)})"
_ISO = rf"{_YEAR}[-/](?P<month_number>[01]?\d)[-/]{_DAY}"

_Span = tuple[datetime, datetime]
_Read = Callable[[re.Match[str], datetime], _Span | None]
# A text without any of these names no time; most texts end here.
_HINT = re.compile(
    r"\d|\b(?:ago|yesterday|today|tonight|tomorrow|last|past|this|next|in|since|during|"
    rf"{'|'.join((*_MONTHS, *_DAYS))})\b",
    re.IGNORECASE,
)
_LONGEST_TEXT = 2000


def spans(text: str, now: datetime) -> list[_Span]:
    """Return the times that a text names, as (start, end), from its beginning on.

    What is vague is taken broadly: "two weeks ago" is three days around that day, "a year ago" two
    months. A month or a day without a year is the last one that began before `now`.

    Args:
        text: Any text; the first 2,000 characters are looked at.
        now: Aware time that it was said at; its time zone is that of the days.
    """
    text = text[:_LONGEST_TEXT]
    if not _HINT.search(text):
        return []
    found: list[tuple[int, _Span]] = []
    covered: list[tuple[int, int]] = []
    for pattern, read in _READERS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if any(start < other_end and other < end for other, other_end in covered):
                continue
            span = _within_calendar(read, match, now)
            if span is not None:
                covered.append((start, end))
                found.append((start, span))
    return [span for _, span in sorted(found)]


def _within_calendar(read: _Read, match: re.Match[str], now: datetime) -> _Span | None:
    try:
        return read(match, now)
    except (ValueError, OverflowError):
        return None  # the 31st of February, or a year that no calendar has


def _date(match: re.Match[str], now: datetime) -> _Span | None:
    """Read a day, a month or a year, as far as it is named."""
    named: dict[str, Any] = match.groupdict()
    year = int(named["year"]) if named.get("year") else None
    if named.get("month_number"):
        month: int | None = int(named["month_number"])
    elif named.get("month"):
        month = _month(named["month"])
    else:
        month = None
    if month is None:
        return None if year is None else _year(now, year)
    if not named.get("day"):
        start = _midnight(now).replace(day=1, month=month, year=year or now.year)
        if year is None and start > now:
            start = start.replace(year=start.year - 1)
        return start, _months_later(start, 1)
    day = int(named["day"])
    start = _midnight(now).replace(day=1, month=month, year=year or now.year).replace(day=day)
    if year is None and start > now:
        start = start.replace(year=start.year - 1)
    return start, start + timedelta(days=1)


def _ago(match: re.Match[str], now: datetime) -> _Span:
    word = match["count"].lower()
    count = int(word) if word.isdigit() else _NUMBERS[word]
    unit = match["unit"].lower()
    today = _midnight(now)
    if unit == "day":
        return _around(today - timedelta(days=count), 0 if count <= 3 else 1)
    if unit == "week":
        return _around(today - timedelta(weeks=count), 1 + count)
    if unit == "month":
        return _around(_months_later(today, -count), 5 * (1 + count))
    return _around(_months_later(today, -12 * count), 30 * (1 + count))


def _relative_day(match: re.Match[str], now: datetime) -> _Span:
    word = match["word"].lower()
    shift = {"yesterday": -1, "last night": -1, "tomorrow": 1}.get(word, 0)
    if word.startswith("the day before"):
        shift = -2
    return _around(_midnight(now) + timedelta(days=shift), 0)


def _relative_unit(match: re.Match[str], now: datetime) -> _Span:
    """Read "last week", "this summer", "next Friday"."""
    which, unit = match["which"].lower(), match["unit"].lower()
    step = {"last": -1, "past": -1, "next": 1, "coming": 1}.get(which, 0)
    today = _midnight(now)
    monday = today - timedelta(days=today.weekday())
    if unit == "week":
        return monday + timedelta(weeks=step), monday + timedelta(weeks=step + 1)
    if unit == "weekend":
        saturday = monday + timedelta(days=5) + timedelta(weeks=step)
        return saturday, saturday + timedelta(days=2)
    if unit == "month":
        start = _months_later(today.replace(day=1), step)
        return start, _months_later(start, 1)
    if unit == "year":
        return _year(now, now.year + step)
    if unit in _SEASONS:
        return _season(unit, step, now)
    return _weekday(_DAYS.index(unit), step, today)


def _season(name: str, step: int | None, now: datetime) -> _Span:
    """Return a season: before, of or after this year's (-1, 0, 1), or the last that has begun."""
    start = _midnight(now).replace(day=1, month=_SEASONS[name])
    starts = [start.replace(year=now.year + shift) for shift in (-2, -1, 0, 1)]
    begun = max(i for i, each in enumerate(starts) if each <= now)
    if step is None:
        return starts[begun], _months_later(starts[begun], 3)
    if step < 0 and now < _months_later(starts[begun], 3):
        begun -= 1  # "last summer", said in summer
    elif step > 0 or (step == 0 and now >= _months_later(starts[begun], 6)):
        begun = min(begun + 1, len(starts) - 1)
    return starts[begun], _months_later(starts[begun], 3)


def _weekday(day: int, step: int, today: datetime) -> _Span:
    if step > 0:
        return _around(today + timedelta(days=(day - today.weekday() - 1) % 7 + 1), 0)
    back = (today.weekday() - day - 1) % 7 + 1
    return _around(today - timedelta(days=back if step < 0 else back % 7), 0)


def _on_weekday(match: re.Match[str], now: datetime) -> _Span:
    return _weekday(_DAYS.index(match["unit"].lower()), -1, _midnight(now))


def _in_season(match: re.Match[str], now: datetime) -> _Span:
    name, year = match["unit"].lower(), match["year"]
    if year is None:
        return _season(name, None, now)
    start = _midnight(now).replace(day=1, month=_SEASONS[name], year=int(year))
    return start, _months_later(start, 3)


def _month(name: str) -> int:
    return next(i for i, each in enumerate(_MONTHS, start=1) if each.startswith(name.lower()[:3]))


def _year(now: datetime, year: int) -> _Span:
    start = _midnight(now).replace(day=1, month=1, year=year)
    return start, start.replace(year=year + 1)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _months_later(start: datetime, months: int) -> datetime:
    # Imported here: it is only needed for the few texts that name a time.
    from dateutil.relativedelta import relativedelta  # noqa: PLC0415

    return start + relativedelta(months=months)


def _around(day: datetime, days: int) -> _Span:
    return day - timedelta(days=days), day + timedelta(days=days + 1)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(rf"\b{text}\b", re.IGNORECASE)


def _readers() -> Iterator[tuple[re.Pattern[str], _Read]]:
    """Yield what is looked for, the longest first: what it covers is not looked at again."""
    yield _pattern(_ISO), _date
    yield _pattern(rf"{_DAY}(?: of)? {_MONTH},? {_YEAR}"), _date
    yield _pattern(rf"{_MONTH} {_DAY},? {_YEAR}"), _date
    yield _pattern(rf"{_MONTH},? {_YEAR}"), _date
    yield _pattern(rf"{_DAY}(?: of)? {_MONTH}"), _date
    yield _pattern(rf"{_MONTH} {_DAY}"), _date
    yield _pattern(rf"{_COUNT} (?:of )?(?P<unit>day|week|month|year)s? ago"), _ago
    words = "the day before yesterday|yesterday|today|tonight|last night|tomorrow|this morning"
    yield _pattern(rf"(?P<word>{words})"), _relative_day
    units = "|".join(("weekend", "week", "month", "year", *_SEASONS, *_DAYS))
    yield _pattern(rf"(?P<which>last|past|this|next|coming) (?P<unit>{units})"), _relative_unit
    seasons = "|".join(_SEASONS)
    yield (
        _pattern(rf"(?:in|during|since)(?: the)? (?P<unit>{seasons})(?: of)?(?: {_YEAR})?"),
        _in_season,
    )
    yield _pattern(rf"(?:in|during|since|last|this|of|early|late) {_MONTH}"), _date
    yield _pattern(rf"on (?P<unit>{'|'.join(_DAYS)})"), _on_weekday
    yield _pattern(rf"(?:in|during|since|of|for) {_YEAR}"), _date


_READERS = tuple(_readers())
