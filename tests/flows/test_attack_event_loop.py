"""Who saves much at once does not keep others waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from memora.core import chunking, hashing
from tests.flows.conftest import World

LONG = 50_000


def recorded(work: Callable[..., Any], threads: dict[bool, set[threading.Thread]]) -> Any:
    """Return the work that notes in which threads it was done, for long texts and for others."""

    def run(text: str, *args: Any) -> Any:
        threads[len(text) > LONG].add(threading.current_thread())
        return work(text, *args)

    return run


async def test_b33_long_texts_are_taken_apart_away_from_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[bool, set[threading.Thread]] = {True: set(), False: set()}
    monkeypatch.setattr(chunking, "pieces", recorded(chunking.pieces, threads))
    monkeypatch.setattr(hashing, "normalised", recorded(hashing.normalised, threads))
    for text in ("I like tea!", "I like tea! " * 5000):
        await world.save(text)
        (memory, *_) = await world.memories()
        await world.memora.update_memory(
            world.org_id, world.user_id, memory.memory_id, f"{text} Really."
        )
    assert threading.main_thread() in threads[False]
    assert threads[True]
    assert threading.main_thread() not in threads[True]
