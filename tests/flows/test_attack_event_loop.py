"""Who saves much at once does not keep others waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from memora.core import chunking, hashing
from tests.flows.conftest import World


def recorded(work: Callable[..., Any], threads: set[threading.Thread]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.current_thread())
        return work(*args, **kwargs)

    return run


@pytest.mark.parametrize("long", [True, False])
async def test_b33_long_texts_are_taken_apart_away_from_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    threads: set[threading.Thread] = set()
    monkeypatch.setattr(chunking, "pieces", recorded(chunking.pieces, threads))
    monkeypatch.setattr(hashing, "normalised", recorded(hashing.normalised, threads))
    text = "I like tea! " * (6000 if long else 2)
    await world.save(text)
    (memory, *_) = await world.memories()
    await world.memora.update_memory(world.org_id, world.user_id, memory.memory_id, f"{text} Yes.")
    assert threads
    assert (threading.main_thread() not in threads) is long
