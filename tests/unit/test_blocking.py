"""The watch over the event loop: it sees what blocks, and lets threads do so."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockingError

import memora
from tests.blocking import blocking_forbidden
from tests.reliability.interleaving import SteppedExecutor, SteppedLoop, stepped


def in_memora() -> Callable[[], Any]:
    """Return a function that blocks, as if it were one of memora's."""
    names: dict[str, Any] = {"time": time}
    code = "def blocks():\n    time.sleep(0.001)\n    return 1\n"
    exec(compile(code, str(Path(memora.__file__).parent / "blocks.py"), "exec"), names)
    return names["blocks"]


async def test_b33_what_blocks_the_loop_is_refused() -> None:
    with pytest.raises(BlockingError):
        in_memora()()


@pytest.mark.parametrize("is_in_thread", [True, False])
def test_b33_also_where_the_loop_does_the_work_of_threads(is_in_thread: bool) -> None:
    async def work(loop: SteppedLoop, executor: Executor) -> Any:
        if is_in_thread:
            return await loop.run_in_executor(executor, in_memora())
        return in_memora()()

    with stepped(0) as loop, blocking_forbidden():
        call = work(loop, SteppedExecutor(loop))
        if is_in_thread:
            assert loop.run_until_complete(call) == 1
        else:
            with pytest.raises(BlockingError):
                loop.run_until_complete(call)
