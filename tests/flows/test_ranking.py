"""What stands first, and why, as a user sees it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from memora import Memora
from memora.errors import InvalidInputError
from memora.schema.models import Memory
from tests.flows.conftest import DAY, MAY, World

TALK = [
    {"role": "user", "name": "Caroline", "content": "Melanie, look at my painting of a boat."},
    {"role": "assistant", "name": "Melanie", "content": "My painting is of a horse."},
]


async def save(world: World, talk: list[dict[str, Any]], **options: Any) -> str:
    options = {"extract_agent_memories": True, "current_datetime": MAY, **options}
    interaction_id, _at = await world.memora.save_or_update_interaction_and_memories(
        world.org_id, world.user_id, interaction=talk, **options
    )
    return interaction_id


def said(memories: list[Memory]) -> list[str]:
    return [memory.memory for memory in memories]


@pytest.mark.parametrize(("name", "place"), [("Caroline", 0), ("Melanie", 1), ("melanie", 1)])
async def test_whom_the_question_names_is_heard_first(world: World, name: str, place: int) -> None:
    await save(world, TALK)
    best, other = await world.recall(f"What did {name} paint in the painting?", explain=True)
    assert best.memory == TALK[place]["content"]
    assert best.score_parts is not None
    assert other.score_parts is not None
    assert (best.score_parts["speaker"] > 0, other.score_parts["speaker"]) == (True, 0)


async def test_who_asks_is_meant_by_i_and_the_assistant_by_you_said(world: World) -> None:
    talk = [
        {"role": "user", "content": "The museum in the old harbour was closed."},
        {"role": "assistant", "content": "The museum in the old harbour opens on Sunday."},
    ]
    await save(world, talk)
    mine = await world.recall("What did I find at the museum in the old harbour?", limit=1)
    theirs = await world.recall("What did you say of the museum in the old harbour?", limit=1)
    assert said([*mine, *theirs]) == [each["content"] for each in talk]


async def test_an_answer_is_found_by_the_words_of_its_question(world: World) -> None:
    await save(
        world,
        [
            {"role": "assistant", "content": "Which instrument does your daughter play?"},
            {"role": "user", "content": "The cello."},
            {"role": "assistant", "content": "Lovely."},
            {"role": "user", "content": "She has blue shoes."},
        ],
        extract_agent_memories=False,
    )
    assert said(await world.recall("instrument of the daughter", limit=1)) == ["The cello."]


async def test_b25_a_changed_question_is_no_longer_the_context(world: World) -> None:
    first = {"role": "assistant", "content": "Which instrument do you play?"}
    answer = {"role": "user", "content": "The cello."}
    interaction_id = await save(world, [first, answer], extract_agent_memories=False)
    other = {"role": "assistant", "content": "What did grandfather leave behind?"}
    await save(world, [other, answer], interaction_id=interaction_id, extract_agent_memories=False)
    (found,) = await world.recall("grandfather", explain=True)
    assert found.score_parts is not None
    assert found.score_parts["lexical_raw"] > 0
    (found,) = await world.recall("instrument", explain=True)
    assert found.score_parts is not None
    assert "lexical_raw" not in found.score_parts
    assert (await world.memora.doctor()).clean


async def test_erasing_the_question_takes_its_words_out_of_the_index(world: World) -> None:
    talk = [
        {"role": "assistant", "content": "Which instrument do you play?"},
        {"role": "user", "content": "The cello."},
    ]
    await save(world, [{"role": "user", "content": "The cello."}], extract_agent_memories=False)
    first = await save(world, talk, extract_agent_memories=False)
    assert (await world.memora.doctor()).clean
    graph = world.memora.graph
    await graph.delete_user_interaction_and_its_memories(world.org_id, world.user_id, first)
    assert (await world.memora.doctor()).clean


async def test_the_time_that_is_asked_for_is_preferred_and_excludes_nothing(world: World) -> None:
    for weeks in (1, 20):
        await save(
            world,
            [{"role": "user", "content": f"Lunch in the harbour with Ben number {weeks}"}],
            current_datetime=MAY - weeks * 7 * DAY,
        )
    asked = "Lunch in the harbour with Ben"
    recent = await world.recall(f"{asked} a week ago", current_datetime=MAY, explain=True)
    old = await world.recall(f"{asked} last December", current_datetime=MAY)
    assert said(recent) == list(reversed(said(old)))
    assert said(recent)[0].endswith("number 1")
    assert recent[0].score_parts is not None
    assert recent[0].score_parts["time"] > 0


async def test_the_same_words_on_the_same_day_are_shown_once(world: World) -> None:
    for hour, text in enumerate(
        ("I love the sea", "I really love the sea", "I do not love the sea")
    ):
        await world.save(text, current_datetime=MAY + timedelta(hours=hour))
    assert len(await world.recall("the sea")) == 2
    assert len(await world.recall("the sea", ranking={"collapse_duplicates": False})) == 3


async def test_what_is_new_comes_first_where_recency_counts(world: World) -> None:
    for days in (300, 0):
        await world.save(f"Walked the dog {days}", current_datetime=MAY - days * DAY)
    options: dict[str, Any] = {"current_datetime": MAY, "explain": True}
    new = await world.recall("walked the dog", ranking={"recency_weight": 1}, **options)
    assert [memory.obtained_at for memory in new] == [MAY, MAY - 300 * DAY]
    assert new[0].score_parts is not None
    assert sum(
        share for name, share in new[0].score_parts.items() if not name.endswith("_raw")
    ) == pytest.approx(new[0].score)


async def test_an_engine_has_a_ranking_of_its_own(world: World) -> None:
    await save(world, TALK)
    own = Memora(world.memora.vector_db, world.memora.graph, ranking={"speaker_weight": 0})
    found, _ids = await own.recall_memories_for_message(
        world.org_id, world.user_id, "Caroline's painting", explain=True
    )
    assert all("speaker" not in (memory.score_parts or {}) for memory in found)
    found = await own.search_memories_as_one(
        world.org_id,
        world.user_id,
        ["Caroline's painting"],
        ranking={"speaker_weight": 1},
        explain=True,
    )
    assert found[0].score_parts is not None
    assert found[0].score_parts["speaker"] == pytest.approx(0.5)
    with pytest.raises(InvalidInputError) as caught:
        Memora(world.memora.vector_db, world.memora.graph, ranking={"fusion": "best"})
    assert caught.value.field == "ranking.fusion"


async def test_a_far_hit_that_gains_enough_comes_among_the_best(world: World) -> None:
    """More hits are looked at until no other can be among the best."""
    texts = [f"The painting of the painting number {number}" for number in range(40)]
    await save(world, [{"role": "user", "content": text} for text in texts])
    rare = {"role": "user", "name": "Zoe", "content": "A painting, among many other things I own."}
    await save(world, [rare])
    found = await world.recall(
        "What painting of the painting does Zoe have?", limit=1, ranking={"speaker_weight": 5}
    )
    assert said(found) == [rare["content"]]
