"""The process that the shards of a store run in, where the store is told to give them one.

It answers calls one after the other and ends when the pipe does that they come by: with its store,
however that ends.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from memora.errors import StoreLockedError, VectorDBError
from memora.vector_db._shard import Shard, engine
from memora.vector_db._shard_calls import Answer, Call, Failure, ShardState, frame, next_call, pack

_logger = logging.getLogger(__name__)

_METHODS = frozenset(
    {"apply", "close", "count", "delete", "flush", "optimize", "page", "payloads", "search"}
)
_STATE = ShardState._fields


def main() -> None:
    """Answer what comes by standard input until that ends."""
    # A Ctrl-C, or the end of a service, is for the store, which still needs its shards to close.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What the imports have made stays: collections of garbage need not look at it again and again.
    gc.freeze()
    serve(sys.stdin.buffer, _own_output())
    # The rows have everything, and the next owner waits for the lock on the files.
    os._exit(0)


def _own_output() -> BinaryIO:
    """Return where the answers go; what a library prints goes elsewhere."""
    answers = os.fdopen(os.dup(1), "wb")
    try:
        os.dup2(2, 1)
    except OSError:
        # A service may have no standard error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return answers


def serve(calls: BinaryIO, answers: BinaryIO) -> None:
    """Answer calls until there are no more, or nobody reads the answers."""
    shards = _Shards()
    while (call := next_call(calls)) is not None:
        answer = frame(shards.answer(call))
        try:
            answers.write(answer)
            answers.flush()
        except OSError:
            return


class _Shards:
    """The loaded shards, by the numbers of their folders."""

    def __init__(self) -> None:
        self._loaded: dict[int, Shard] = {}

    def answer(self, call: Call) -> Answer:
        """Do what is asked for."""
        value, failure = None, None
        try:
            value = self._do(call)
        except (VectorDBError, StoreLockedError) as error:
            failure = Failure.of(error)
        except Exception as error:  # the boundary of the process
            _logger.exception("the call %s of a shard failed", call.method)
            failure = Failure("failed", f"the engine's process failed: {type(error).__name__}")
        shard = self._loaded.get(call.shard)
        state = None if shard is None else ShardState(*(getattr(shard, of) for of in _STATE))
        return Answer(call.number, value, failure, state)

    def _do(self, call: Call) -> Any:
        match call.method:
            case "engine":
                return engine()
            case "create":
                folder, dimensions = call.arguments
                self._loaded[call.shard] = Shard.create(Path(folder), dimensions)
            case "load":
                folder, change = call.arguments
                self._loaded[call.shard] = Shard.load(Path(folder), change)
            case method if method in _METHODS:
                return self._use(call)
            case _:
                raise VectorDBError("embedded", f"a shard has no method {call.method}")
        return None

    def _use(self, call: Call) -> Any:
        shard = self._loaded[call.shard]
        if call.method == "close":
            del self._loaded[call.shard]
        value = getattr(shard, call.method)(*call.arguments)
        return pack(value) if call.method == "search" else value
