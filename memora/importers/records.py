"""Reads a file record by record, never whole: a JSON array, JSON objects, or JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from memora.importers.window import TooLongError, Window, parsed

# How many lines are looked at to tell JSON lines from a JSON document.
_LOOKED_AT = 10
_NOT_READ = "what follows was not read"


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that cannot be read.

    Attributes:
        place: Where it is in the file, such as `line 3` or `record 3`, counted from 1.
        reason: What is wrong, without content.
    """

    place: str
    reason: str


Read = tuple[str, Any] | Problem


def records(file: BinaryIO, lists: Collection[str] = ()) -> Iterator[Read]:
    """Yield each record with its place, or what is wrong with it.

    A malformed line stops no other line; a malformed element of an array stops the others only
    where its brackets do not tell where it ends.

    Args:
        file: A file in UTF-8, from its beginning; a pipe will do.
        lists: Keys under which an object may hold the records.

    Raises:
        OSError: The file cannot be read.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="\n")
    try:
        window = Window(text)
        match window.next_char():
            case "":
                return
            case "[":
                yield from _array(window, "record")
                if window.next_char():
                    yield Problem("the end", "text after the array")
            case first:
                lines = window.first_lines(_LOOKED_AT)
                if _are_records(lines):
                    yield from _lines(window)
                elif first == "{":
                    yield from _objects(window, lists)
                else:
                    yield Problem("the file", "neither JSON nor JSON lines")
    except _UnreadableError:
        return
    finally:
        text.detach()


def _are_records(lines: list[str]) -> bool:
    """Tell whether lines are records of their own, by the first ones; [] stands for a huge line."""
    if not lines:
        return True
    more = any(line.strip() for line in lines[1:])
    return (more and _is_object(lines[0])) or any(_is_object(line) for line in lines[1:])


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        parsed(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(window: Window) -> Iterator[Read]:
    number = window.lines_passed
    while not window.at_end():
        line = window.line()
        number += 1
        place = f"line {number}"
        if line is None:
            yield Problem(place, str(TooLongError(window.limit)))
        elif line.strip():
            yield _line(place, line)


def _line(place: str, text: str) -> Read:
    try:
        value = parsed(text)
    except (ValueError, RecursionError) as error:
        return Problem(place, _reason(error))
    return _sound(place, value, is_broken=_is_broken(text))


def _is_broken(text: str) -> bool:
    """Tell whether a text was read from bytes that are no UTF-8: they are lone surrogates now."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _sound(place: str, value: Any, *, is_broken: bool) -> Read:
    return Problem(place, "invalid UTF-8") if is_broken else (place, value)


def _array(window: Window, what: str) -> Iterator[Read]:
    """Decode one element after the other; what cannot be read is passed, if its end is clear.

    Raises:
        _UnreadableError: What follows cannot be made out; the problem was told.
    """
    window.take_char()
    number = 0
    while (char := window.next_char()) != "]":
        place = f"{what} {number + 1}"
        if char and number:
            if char != ",":
                yield Problem(place, f"no comma before it; {_NOT_READ}")
                raise _UnreadableError
            window.take_char()
            char = window.next_char()
        if not char:
            yield Problem(place, "the array does not end")
            raise _UnreadableError
        number += 1
        try:
            text, value = window.value()
        except (ValueError, RecursionError) as error:
            is_passed = window.skip()
            yield Problem(place, _reason(error) if is_passed else f"{_reason(error)}; {_NOT_READ}")
            if not is_passed:
                raise _UnreadableError from None
        else:
            yield _sound(place, value, is_broken=_is_broken(text))
    window.take_char()


def _objects(window: Window, lists: Collection[str]) -> Iterator[Read]:
    """Decode objects that are spread over lines, one after the other."""
    number = 0
    while char := window.next_char():
        number += 1
        place = f"record {number}"
        if char != "{":
            yield Problem(place, f"no object; {_NOT_READ}")
            return
        try:
            yield from _members(window, place, lists)
        except (ValueError, RecursionError) as error:
            yield Problem(place, f"{_reason(error)}; {_NOT_READ}")
            return


def _members(window: Window, place: str, lists: Collection[str]) -> Iterator[Read]:
    """Decode an object; the elements of a list that it holds the records in, one by one.

    Raises:
        ValueError, RecursionError: It is malformed or too long.
        _UnreadableError: What follows cannot be made out; the problem was told.
    """
    window.take_char()
    members: dict[str, Any] = {}
    size, number = 0, 0
    is_frame = is_broken = False
    while window.next_char() != "}":
        if number:
            _expect(window, ",")
        number += 1
        key = window.value()[1]
        if not isinstance(key, str):
            raise ValueError("no JSON: the name of a member is no text")  # noqa: TRY004 - of JSON
        _expect(window, ":")
        if key in lists and window.next_char() == "[":
            is_frame = True
            yield from _array(window, f"{key}, record")
            continue
        text, members[key] = window.value()
        is_broken = is_broken or _is_broken(text)
        size += len(text)
        if size > window.limit:
            raise TooLongError(window.limit)
    window.take_char()
    if not is_frame:
        yield _sound(place, members, is_broken=is_broken)


def _expect(window: Window, char: str) -> None:
    if window.next_char() != char:
        raise ValueError(f"no JSON: '{char}' is missing")
    window.take_char()


class _UnreadableError(Exception):
    """The rest of the file cannot be told apart; what was wrong is told already."""


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg}"
    return str(error)
