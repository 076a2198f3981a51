"""A text file as JSON values, one after the other, of which only a window is in memory.

The standard library's decoder works on the window: as fast as the streaming parsers in C, values
keep their types, bytes that are no UTF-8 spoil one value only, and a malformed one can be passed.
"""

from __future__ import annotations

import json
import re
from typing import Any, TextIO

# Longest record, in characters: a conversation of 100,000 messages of some hundred characters.
RECORD_CHARS = 64 * 1024 * 1024
_CHUNK = 1 << 16
_BLANK = frozenset(" \t\r\n")
# The longest piece that the end of the window can tear: two escapes of one character.
_TORN = 16
_TOKENS = re.compile(r"\\[\s\S]|[\"{}\[\],]")


class Window:
    """A part of a text that moves on as values are taken from it.

    Args:
        file: The text, with lone surrogates for bytes that are no UTF-8.

    Attributes:
        limit: Longest value or line that is taken, in characters.
        lines_passed: Ends of lines that were passed as blanks.
    """

    def __init__(self, file: TextIO) -> None:
        self.limit = RECORD_CHARS
        self.lines_passed = 0
        self._file = file
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)

    def _more(self, count: int) -> bool:
        """Read on; False at the end of the file."""
        chunk = self._file.read(count)
        if chunk:
            self._text = self._text[self._at :] + chunk
            self._at = 0
        return bool(chunk)

    def next_char(self) -> str:
        """Return the next character that is no blank, without taking it; empty at the end."""
        while True:
            start = self._at
            while self._text[self._at : self._at + 1] in _BLANK:
                self._at += 1
            self.lines_passed += self._text.count("\n", start, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_CHUNK):
                return ""

    def take_char(self) -> None:
        """Go on behind the character that `next_char` returned."""
        self._at += 1

    def value(self) -> tuple[str, Any]:
        """Take the next JSON value, with its text.

        Raises:
            ValueError, RecursionError: It is malformed, too long, or nested too deeply; nothing
                was taken.
        """
        self.next_char()
        wanted = _CHUNK
        while True:
            failure: ValueError | None = None
            end = len(self._text)
            value: Any = None
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_sure(error):
                    raise
                failure = error
            if failure is None and end < len(self._text):
                return self._taken(end), value
            if len(self._text) - self._at > self.limit:
                raise TooLongError(self.limit)
            if not self._more(wanted):
                if failure is not None:
                    raise failure
                return self._taken(end), value
            wanted *= 2

    def _is_sure(self, error: json.JSONDecodeError) -> bool:
        """Tell whether reading on cannot mend it: it is not the window that ends too early."""
        return not error.msg.startswith("Unterminated") and error.pos < len(self._text) - _TORN

    def _taken(self, end: int) -> str:
        text = self._text[self._at : end]
        self._at = end
        return text

    def skip(self) -> bool:
        """Go behind a malformed value, as far as quotes and brackets tell where it ends.

        Returns:
            False: the file ended before.
        """
        depth, quoted = 0, False
        while True:
            for token in _TOKENS.finditer(self._text, self._at):
                char = token.group()
                if char == '"':
                    quoted = not quoted
                elif quoted or len(char) > 1:
                    continue
                elif char in "{[":
                    depth += 1
                elif not depth:
                    self._at = token.start()
                    return True
                elif char != ",":
                    depth -= 1
            self._at = len(self._text)
            if not self._more(_CHUNK):
                return False
            while self._text.endswith("\\") and self._more(_CHUNK):
                pass

    def line(self) -> str | None:
        """Take the next line without its end; None: it is longer than a record may be.

        `next_char` must have found something, or the line may be empty.
        """
        end = self._line_end()
        if end < 0:
            while (end := self._text.find("\n", self._at)) < 0:
                self._at = len(self._text)
                if not self._more(_CHUNK):
                    return None
            self._at = end + 1
            return None
        text = self._taken(end)
        self._at = min(end + 1, len(self._text))
        return text

    def _line_end(self) -> int:
        """Return where the line that is next ends; -1: it is longer than a record may be."""
        wanted = _CHUNK
        while (end := self._text.find("\n", self._at)) < 0:
            if len(self._text) - self._at > self.limit:
                return -1
            if not self._more(wanted):
                return len(self._text)
            wanted *= 2
        return end if end - self._at <= self.limit else -1

    def at_end(self) -> bool:
        """Tell whether nothing is left, not even an empty line."""
        return self._at >= len(self._text) and not self._more(_CHUNK)

    def first_lines(self, count: int) -> list[str]:
        """Return up to that many lines without taking them, as far as a record's length reaches."""
        end = self._line_end()
        if end < 0:
            return []
        if len(self._text) - end < _CHUNK:
            self._more(_CHUNK)
        return self._text[self._at :].split("\n", count)[:count]


class TooLongError(ValueError):
    """A value or line is longer than a record may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"longer than {limit} characters")


def parsed(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError, RecursionError: It is malformed, or nested too deeply.
    """
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
