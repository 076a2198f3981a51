"""What a transcript that is cut and grows again does to statements that have moved on."""

from __future__ import annotations

import pytest

from memora.errors import GraphDBError
from tests.flows.conftest import World


@pytest.mark.parametrize("change", ["retract", "update"])
async def test_b70_a_message_that_comes_back_is_stored_whatever_became_of_its_statement(
    world: World, change: str
) -> None:
    said = ["I live in Berlin.", "I am on a diet."]
    interaction_id = await world.save(*said)
    diet = next(m for m in await world.memories() if "diet" in m.memory)
    if change == "retract":
        await world.memora.retract_memory(world.org_id, world.user_id, diet.memory_id)
    else:
        await world.memora.update_memory(
            world.org_id, world.user_id, diet.memory_id, "My diet is over."
        )
    await world.save(said[0], interaction_id=interaction_id)
    await world.save(*said, interaction_id=interaction_id)
    stored = await world.memora.graph.get_interaction(world.org_id, world.user_id, interaction_id)
    assert stored.message_count == 4
    assert said[1] in await world.current()
    assert (await world.memora.doctor()).clean


async def test_a_reindex_that_cannot_read_the_graph_keeps_the_vectors(world: World) -> None:
    await world.save("I like green tea.")
    await world.memora.graph.close()
    with pytest.raises(GraphDBError):
        await world.memora.reindex()
    await world.memora.graph.setup()
    assert [memory.memory for memory in await world.recall("tea")] == ["I like green tea."]
    assert (await world.memora.doctor()).clean
