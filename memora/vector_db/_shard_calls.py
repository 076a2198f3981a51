"""What a store and the process of its shards send each other: frames of pickles over two pipes.

Both ends are processes of one user and one version of memora, and nobody else has the pipes.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

from memora.errors import StoreLockedError, VectorDBError
from memora.schema.index import Hit, QueryHits

_LENGTH = Struct("<Q")

# Hits as columns, which are read four times as fast as so many objects.
_Columns = tuple[tuple[Any, ...], ...]
PackedHits = list[tuple[_Columns, _Columns]]


class StoredPoint(NamedTuple):
    """A row on its way to the engine, with the bytes of its vectors."""

    memory_id: str
    dense: bytes
    lexical_indices: bytes
    lexical_values: bytes
    payload: dict[str, Any]

    def __repr__(self) -> str:
        return f"StoredPoint({self.memory_id!r})"


class ShardState(NamedTuple):
    """What is known of a loaded shard without asking its engine.

    Attributes:
        change: Number of the last change that it has applied.
        flushed: Number of the last change that is certainly on disk.
        waiting: Points and removals that are not.
        applied: Points that were written since it was loaded; what they exceed the points that
            are there by may still be readable in its files.
    """

    change: int = 0
    flushed: int = 0
    waiting: int = 0
    applied: int = 0


class Call(NamedTuple):
    """A call of one method of one shard; 0 stands for none of them."""

    number: int
    shard: int
    method: str
    arguments: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"Call({self.number}, {self.shard}, {self.method!r})"


class Failure(NamedTuple):
    """An error, as its end can be built again at the other one."""

    kind: str
    reason: str

    @classmethod
    def of(cls, error: VectorDBError | StoreLockedError) -> Failure:
        """Take an error apart."""
        if isinstance(error, StoreLockedError):
            return cls("locked", error.path)
        return cls("failed", error.reason)

    def error(self) -> VectorDBError | StoreLockedError:
        """Return it as it was raised."""
        if self.kind == "locked":
            return StoreLockedError(self.reason, None)
        return VectorDBError("embedded", self.reason)


class Answer(NamedTuple):
    """What came of a call: a value or a failure, and the state of the shard after it."""

    number: int
    value: Any = None
    failure: Failure | None = None
    state: ShardState | None = None

    def __repr__(self) -> str:
        return f"Answer({self.number}, {self.failure!r}, {self.state!r})"


def frame(message: Call | Answer) -> bytes:
    """Return a message as it is sent."""
    content = pickle.dumps(tuple(message), pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(content)) + content


def take_answers(received: bytearray) -> list[Answer]:
    """Take the whole frames off the front of what was received, and return them."""
    answers: list[Answer] = []
    start = 0
    while (content := start + _LENGTH.size) <= len(received):
        end = content + _LENGTH.unpack_from(received, start)[0]
        if end > len(received):
            break
        answers.append(Answer(*pickle.loads(received[content:end])))  # noqa: S301 - our own process
        start = end
    del received[:start]
    return answers


def next_call(calls: BinaryIO) -> Call | None:
    """Wait for a call; None when no more will come."""
    prefix = calls.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(prefix)[0]
    content = calls.read(length)
    if len(content) < length:
        return None
    return Call(*pickle.loads(content))  # noqa: S301 - of the process that started this one


def pack(found: Sequence[QueryHits]) -> PackedHits:
    """Return answers of a search as they are sent."""
    return [(_columns(hits.dense), _columns(hits.lexical)) for hits in found]


def unpack(packed: PackedHits) -> list[QueryHits]:
    """Return answers of a search as they were found."""
    return [QueryHits(_hits(dense), _hits(lexical)) for dense, lexical in packed]


def _columns(hits: Sequence[Hit]) -> _Columns:
    return tuple(zip(*hits, strict=True))


def _hits(columns: _Columns) -> tuple[Hit, ...]:
    return tuple(map(Hit._make, zip(*columns, strict=True)))
