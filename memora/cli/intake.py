"""A file on its way into an import: what was read, what became of it, and a report of failures."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from memora.importers.files import (
    FAILED,
    RECORD,
    Empty,
    Failure,
    FoundConversation,
    FoundDocument,
    Item,
    read,
)

STDIN = "-"
_AT_ONCE = 16
DOCUMENTS_AT_ONCE = 100
_TOLD = 100


@dataclass(frozen=True, slots=True)
class Told:
    """One failure, for whoever reads the output."""

    place: str
    name: str
    error: str


@dataclass(slots=True)
class Intake:
    """Reads a file and keeps the books of an import.

    Attributes:
        size: Of the file in bytes; None: it has none.
        counts: Records by what became of them.
        told: The first failures.
    """

    _file: BinaryIO
    _report: TextIO | None
    size: int | None
    counts: Counter[str] = field(default_factory=Counter[str])
    told: list[Told] = field(default_factory=list[Told])
    _waiting: dict[str, list[Item]] = field(default_factory=dict[str, list[Item]])

    @classmethod
    @contextmanager
    def opened(cls, source: str, report: Path | None) -> Generator[Intake]:
        """Open a file, or standard input, and the file for what fails.

        Raises:
            OSError: One of them cannot be opened.
        """
        with ExitStack() as stack:
            if source == STDIN:
                file, size = sys.stdin.buffer, None
            else:
                file = stack.enter_context(Path(source).open("rb"))
                size = os.fstat(file.fileno()).st_size if file.seekable() else None
            out: TextIO | None = None
            if report is not None:
                # It holds what was said: only its owner may read it, as the store itself.
                descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                out = stack.enter_context(os.fdopen(descriptor, "w", encoding="utf-8"))
            yield cls(file, out, size)

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return 0 if self.size is None else self._file.tell()

    @property
    def failed(self) -> int:
        """How many records failed."""
        return self.counts["failed"]

    async def conversations(
        self, documents: Callable[[list[FoundDocument]], Awaitable[None]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the conversations of the file; hand its documents over, some at a time.

        Raises:
            OSError: The file cannot be read.
        """
        found: list[FoundDocument] = []
        async for item in _in_thread(read(self._file)):
            match item:
                case Failure():
                    await self.fail(item, item.reason)
                case Empty():
                    self.counts["empty"] += 1
                case FoundDocument():
                    found.append(item)
                    if len(found) == DOCUMENTS_AT_ONCE:
                        await documents(found)
                        found = []
                case FoundConversation():
                    self._waiting.setdefault(_key(item.name), []).append(item)
                    yield item.value
                case _:
                    raise TypeError(type(item).__name__)
        if found:
            await documents(found)

    async def ended(self, name: str, status: str, error: str | None) -> None:
        """Note what became of a conversation."""
        waiting = self._waiting.get(_key(name)) or [Item("", name)]
        # Of several with one id, the first is stored and later ones with another text fail.
        item = waiting.pop(0 if error is None else -1)
        if not waiting:
            self._waiting.pop(_key(name), None)
        if error is None:
            self.counts[status] += 1
        else:
            await self.fail(item, error)

    async def fail(self, item: Item, error: str) -> None:
        """Note a record that failed; it goes into the report."""
        self.counts["failed"] += 1
        if len(self.told) < _TOLD:
            self.told.append(Told(item.place, item.name, error))
        if self._report is not None:
            failed = {"place": item.place, "id": item.name, "error": error}
            line = json.dumps({FAILED: failed, RECORD: item.record})
            await asyncio.to_thread(self._report.write, line + "\n")


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name)


async def _in_thread(items: Iterator[Item]) -> AsyncIterator[Item]:
    """Yield the items of an iterator that blocks."""
    while batch := await asyncio.to_thread(lambda: list(islice(items, _AT_ONCE))):
        for item in batch:
            yield item
