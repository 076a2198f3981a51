"""Long computations away from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Characters of text, or as much other work, that the loop does itself: some milliseconds.
_SHORT = 50_000
# What one message or statement costs besides its text.
EACH = 200


async def off_loop(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the work returns; done in a thread when there is much of it.

    Args:
        size: Characters that it goes through, about.
        work: What to do.
        args: For the work.
        kwargs: For the work.
    """
    if size <= _SHORT:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
