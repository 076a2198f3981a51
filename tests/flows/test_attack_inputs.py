"""Arguments of the wrong kind get the typed error, whatever the kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memora import Memora
from memora.errors import InvalidInputError
from memora.schema.scope import MemorySearchScope
from tests.flows.conftest import World

HUGE = 10**5000
CALLS: dict[str, tuple[Callable[[Memora, Any], Any], tuple[Any, ...]]] = {
    "search_queries": (
        lambda m, bad: m.search_memories_as_one("acme", "jake", bad),
        (None, 5, "tea", b"tea", {"tea": 1}, [None], ["\ud800"]),
    ),
    "search_queries of a batch": (
        lambda m, bad: m.search_memories_as_batch("acme", bad, user_id="jake"),
        (None, 5, "tea"),
    ),
    "queries of the vectors": (
        lambda m, bad: m.vector_db.search_memories(bad, MemorySearchScope.USER, "acme", "jake"),
        (None, 5, "tea", [None]),
    ),
    "memory_ids of the vectors": (
        lambda m, bad: m.vector_db.delete_memories(bad, "acme", "jake"),
        (None, 5, "an-id", [None]),
    ),
    "limit": (
        lambda m, bad: m.recall_memories_for_message("acme", "jake", "x", limit=bad),
        (HUGE,),
    ),
    "min_similarity": (
        lambda m, bad: m.recall_memories_for_message("acme", "jake", "x", min_similarity=bad),
        (HUGE, float("nan")),
    ),
    "exclude": (
        lambda m, bad: m.search_memories_as_one("acme", "jake", ["x"], bad),
        (5, "x", {"x": 1}, [5]),
    ),
    "interaction_id": (
        lambda m, bad: m.save_or_update_interaction_and_memories(
            "acme", "jake", interaction=[], interaction_id=bad
        ),
        ({"$ne": 1}, ["x"], 5, "\ud800"),
    ),
    "statuses": (
        lambda m, bad: m.list_jobs("acme", statuses=bad),
        (None, 5, "done", [HUGE], [None]),
    ),
    "user_id of the jobs": (
        lambda m, bad: m.list_jobs("acme", user_id=bad),
        ("\ud800", {"$ne": 1}, 5),
    ),
    "retrieved_memories": (
        lambda m, bad: m.filter_retrieved_memories_with_model("x", ["x"], bad),
        (None, 5, "x", [5]),
    ),
    "search_queries_used": (
        lambda m, bad: m.filter_retrieved_memories_with_model("x", bad, []),
        (None, 5, "x", [5]),
    ),
}
CASES = [(name, number) for name, (_call, bad) in CALLS.items() for number in range(len(bad))]


@pytest.mark.parametrize(("name", "number"), CASES)
async def test_b44_a_wrong_kind_is_an_invalid_input(world: World, name: str, number: int) -> None:
    call, bad = CALLS[name]
    with pytest.raises(InvalidInputError):
        await call(world.memora, bad[number])


@pytest.mark.parametrize("bad", [None, 5, "x", [5], {"x": 1}])
async def test_only_memories_are_formatted(world: World, bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        world.memora.format_memories(bad)
