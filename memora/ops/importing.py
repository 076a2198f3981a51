"""Reads the file of an export into a store, once it is known that all of it fits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

from memora.core.transfer import Whole, at, check_header, decode, encode
from memora.errors import ConflictError, InvalidInputError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.outbox import DrainReport
from memora.ops._files import translated
from memora.ops.export import Progress, RecordCounts
from memora.schema.transfer import End, Header, OrganizationRecord, TransferRecord
from memora.schema.validation import checked_path

# Records, and bytes of lines, that are written together.
_BATCH = 200
_BATCH_BYTES = 1024 * 1024
# Outbox entries that are worked off together; each names some hundred memories.
_ENTRIES = 16
# No record of memora's is that long.
_LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        path: The file.
        records: What is in it.
        resumed: How many of them an interrupted import had written before.
        drained: What became of the vectors; those that failed wait in the outbox.
    """

    path: Path
    records: RecordCounts
    resumed: int
    drained: DrainReport


async def import_from(
    graph: BaseGraphDB,
    path: str | Path,
    on_progress: Progress | None = None,
    *,
    alone: bool = False,
) -> ImportReport:
    """Write the records of the file, then bring the vectors up to date.

    The file is read twice: everything is checked before anything is written. It is written in its
    order, so what a killed import left is the beginning of an organization; the same call goes on
    from there.

    Args:
        graph: The graph store.
        path: The file.
        on_progress: Called with the number of records written so far.
        alone: Refuse a store that holds other organizations.

    Raises:
        InvalidInputError: A line is malformed, not in its place, or contradicts itself; the error
            names file, line and field.
        SchemaVersionError: The file is of a newer memora.
        ConflictError: An organization of the file exists and did not come from it.
        TransferError: The file cannot be read.
    """
    path = checked_path(path, "path")
    known, kinds = await _compare(graph, path)
    if alone:
        await _check_alone(graph, sum(count > 0 for count in known.values()))
    left = Counter(known)
    done = 0
    async with aclosing(_batches(path)) as batches:
        async for batch in batches:
            org_id = batch[0].org_id
            skipped = min(left[org_id], len(batch))
            left[org_id] -= skipped
            if skipped < len(batch):
                await graph.load_records(batch[skipped:], graph.clock.now())
            done += len(batch)
            if on_progress is not None:
                on_progress(done)
    drained = await graph.drain_outbox(limit=_ENTRIES)
    return ImportReport(path, RecordCounts.of(kinds), sum(known.values()), drained)


def check_file(path: Path) -> None:
    """Check everything that can be told without a store; it blocks.

    Raises:
        InvalidInputError: A line is malformed, not in its place, or contradicts itself.
        SchemaVersionError: The file is of a newer memora.
        TransferError: The file cannot be read.
    """
    for _ in _records(path):
        pass


async def _compare(graph: BaseGraphDB, path: Path) -> tuple[dict[str, int], Counter[str]]:
    """Read the whole file, and what the store has of its organizations beside it.

    Returns:
        By organization, with how many of its records the store has everything there is of it; and
        the numbers of records by kind.
    """
    known: dict[str, int] = {}
    kinds: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        batches = await stack.enter_async_context(aclosing(_batches(path)))
        stored = _Stored(graph)
        stack.push_async_callback(stored.close)
        async for batch in batches:
            kinds.update(record.kind for record in batch)
            if isinstance(batch[0], OrganizationRecord):
                await stored.check_end()
                await stored.start(batch[0].org_id)
            known[batch[0].org_id] = await stored.match(batch)
        await stored.check_end()
    return known, kinds


class _Stored:
    """Everything of one organization that is in the store, read beside the file."""

    def __init__(self, graph: BaseGraphDB) -> None:
        self._graph = graph
        self._pages: AsyncGenerator[Sequence[TransferRecord]] | None = None
        self._page: list[TransferRecord] = []
        self._org_id = ""
        self._matched = 0

    async def start(self, org_id: str) -> None:
        """Turn to the next organization."""
        await self.close()
        self._org_id, self._matched, self._page = org_id, 0, []
        self._pages = self._graph.dump_records(org_id)

    async def match(self, batch: Sequence[TransferRecord]) -> int:
        """Go on beside the file, and return how many records both have.

        Raises:
            ConflictError: The store has another one.
        """
        for record in batch:
            stored = await self._next()
            if stored is None:
                break
            if encode(stored) != encode(record):
                raise self._conflict()
            self._page.pop()
            self._matched += 1
        return self._matched

    async def check_end(self) -> None:
        """Check that the file has everything that the store has of the organization.

        Raises:
            ConflictError: The store has more.
        """
        if await self._next() is not None:
            raise self._conflict()

    async def close(self) -> None:
        """Let the store's transaction go."""
        if self._pages is not None:
            await self._pages.aclose()
            self._pages = None

    async def _next(self) -> TransferRecord | None:
        if not self._page and self._pages is not None:
            page = await anext(self._pages, None)
            if page is None:
                await self.close()
            else:
                self._page = list(reversed(page))
        return self._page[-1] if self._page else None

    def _conflict(self) -> ConflictError:
        return ConflictError(
            "organization",
            self._org_id,
            expected="no such organization, or a part of the file",
            actual="one with other records",
        )


async def _check_alone(graph: BaseGraphDB, resumed: int) -> None:
    others = await graph.list_organizations(skip=0, limit=resumed + 1)
    if len(others) > resumed:
        raise not_empty(others[-1].org_id)


def not_empty(org_id: str) -> ConflictError:
    """Return the error that a restore ends with when the store holds an organization."""
    return ConflictError("organization", org_id, expected="an empty store", actual="this one in it")


async def _batches(path: Path) -> AsyncGenerator[Sequence[TransferRecord]]:
    """Yield the records of a file that is whole, those of one organization at a time."""
    batches = _read(path)
    # Always the same thread, so that closing waits for a read under way.
    thread = ThreadPoolExecutor(1, thread_name_prefix="memora-import")
    loop = asyncio.get_running_loop()
    try:
        while batch := await loop.run_in_executor(thread, next, batches, None):
            yield batch
    finally:
        thread.submit(batches.close)
        thread.shutdown(wait=False)


def _read(path: Path) -> Generator[Sequence[TransferRecord]]:
    batch: list[TransferRecord] = []
    size = 0
    for line, record in _records(path):
        if batch and (
            isinstance(record, OrganizationRecord)
            or len(batch) == _BATCH
            or size + len(line) > _BATCH_BYTES
        ):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(line)
    if batch:
        yield batch


@contextlib.contextmanager
def _named(path: Path) -> Generator[None]:
    """Let errors about a line say of which file."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}, {error.field}", error.allowed, got=error.got) from None


def _records(path: Path) -> Iterator[tuple[bytes, TransferRecord]]:
    whole = Whole()
    with translated(path), _named(path), path.open("rb") as file:
        number = 0
        end: End | None = None
        while text := file.readline(_LINE_BYTES + 1):
            number += 1
            if len(text) > _LINE_BYTES:
                raise InvalidInputError(at(number, "the line"), f"at most {_LINE_BYTES} bytes")
            line = decode(text, number)
            if number == 1:
                check_header(line, str(path))
            elif end is not None:
                raise InvalidInputError(at(number, "the line"), "nothing: the end came before it")
            elif isinstance(line, Header):
                raise InvalidInputError(at(number, "kind"), "one of the records")
            elif isinstance(line, End):
                whole.end()
                if line.records != number - 2:
                    raise InvalidInputError(
                        at(number, "records"), f"the number of records, {number - 2}"
                    )
                end = line
            else:
                whole.add(line, number)
                yield text, line
        if end is None:
            raise InvalidInputError(at(number + 1, "the line"), "the end: the file is not whole")
