"""People, places and things: what is known of them, with and without a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.encryption import new_key
from memora.errors import EntityNotFoundError, InvalidInputError
from memora.schema.models import Relation
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from tests.flows.conftest import DAY, MAY, World, Worlds, talk


async def names(world: World) -> dict[str, int]:
    found = await world.memora.list_entities(world.org_id, world.user_id)
    return {entity.name: entity.memories for entity in found}


async def about(world: World, name: str) -> list[str]:
    found = await world.memora.entity_memories(world.org_id, world.user_id, name)
    return [memory.memory for memory in found.memories]


async def test_what_is_said_of_somebody_is_found_under_the_name(world: World) -> None:
    await world.save("My boss is Anna Berg.", "We met in Lisbon.", current_datetime=MAY)
    await world.save("Lisbon is where anna lives, I mean Anna Berg.", current_datetime=MAY + DAY)
    # The second message begins with the other name, which nothing tells from any first word.
    assert await names(world) == {"Anna Berg": 2, "Lisbon": 1}
    assert (await about(world, "ANNA BERG"))[0].startswith("Lisbon is where")
    with pytest.raises(EntityNotFoundError) as caught:
        await about(world, "Zebulon")
    assert "Zebulon" not in str(caught.value)
    assert (await world.memora.doctor()).clean


async def test_a_corrected_memory_mentions_what_it_says_now(world: World) -> None:
    await world.save("I will fly to Lisbon with Mia.")
    (memory,) = await world.memories()
    await world.memora.update_memory(
        world.org_id, world.user_id, memory.memory_id, "I will fly to Porto with Mia."
    )
    assert await names(world) == {"Porto": 1, "Mia": 1}
    await world.memora.revert_memory(world.org_id, world.user_id, memory.memory_id)
    assert await names(world) == {"Lisbon": 1, "Mia": 1}
    (current,) = await world.memories()
    await world.memora.retract_memory(world.org_id, world.user_id, current.memory_id)
    assert await names(world) == {}


async def test_a_wrong_merge_is_taken_back(world: World) -> None:
    await world.save("I know Jon Snow.", "I hired John Snow.", "They call me with Bob.")
    owner = (world.org_id, world.user_id)
    both = (await world.memora.entity_memories(*owner, "Jon Snow")).entity
    assert sorted(both.aliases) == ["John Snow", "Jon Snow"]
    apart = await world.memora.split_entity(*owner, "Jon Snow", ["John Snow"])
    assert (apart.aliases, apart.memories) == (["John Snow"], 1)
    assert await about(world, "Jon Snow") == ["I know Jon Snow."]
    await world.save("And John Snow again, and Jon Snow.")
    assert (await world.memora.entity_memories(*owner, "John Snow")).entity.memories == 2
    merged = await world.memora.merge_entities(*owner, "Bob", "John Snow")
    assert (merged.name, merged.aliases, merged.memories) == ("John Snow", ["John Snow", "Bob"], 3)
    again = await world.memora.merge_entities(*owner, merged.entity_id, "Bob")
    assert again == merged
    with pytest.raises(InvalidInputError, match="names"):
        await world.memora.split_entity(*owner, "Bob", ["Bob", "John Snow"])
    with pytest.raises(InvalidInputError, match="names"):
        await world.memora.split_entity(*owner, "Bob", ["Jon Snow"])
    with pytest.raises(InvalidInputError, match="names"):
        await world.memora.split_entity(*owner, "Bob", [])
    assert (await world.memora.doctor()).clean


def finding(*memories: dict[str, Any]) -> ScriptedBackendLLM:
    """Return a model that finds these memories, and knows nothing else."""
    items = [
        {"msg_source_ids": [0], "memory_type": "fact", "importance": 0.5, **memory}
        for memory in memories
    ]

    def answer(call: Call) -> Answer:
        extracts = call.schema == "MemoryExtractionResponse"
        return {"memories": items} if extracts else {"verdicts": []}

    return ScriptedBackendLLM(answer)


async def test_the_model_says_who_is_what_to_whom(worlds: Worlds) -> None:
    said = {
        "memory": "[[user]] works at Acme, whose founder is Anna.",
        "entities": ["Acme", "Anna", "[[user]]"],
        "relations": [
            {"subject": 2, "type": "Works at", "object": 0},
            {"subject": 1, "type": "founder_of", "object": 0},
        ],
    }
    world = await worlds.open(extraction=finding(said))
    await world.save("I work at Acme, which Anna founded.")
    (memory,) = await world.memories()
    assert memory.entities == ["Acme", "Anna"]
    assert memory.relations == [
        Relation(subject="Jake", type="works_at", object="Acme"),
        Relation(subject="Anna", type="founder_of", object="Acme"),
    ]
    known = await world.memora.entity_memories(world.org_id, world.user_id, "acme")
    assert [(each.subject, each.type, each.object) for each in known.relations] == [
        ("Jake", "works_at", "Acme"), ("Anna", "founder_of", "Acme"),
    ]  # fmt: skip
    await world.memora.graph.update_user(world.org_id, world.user_id, "Jacob")
    assert (await names(world)).keys() == {"Acme", "Anna", "Jacob"}
    known = await world.memora.entity_memories(world.org_id, world.user_id, "Jacob")
    assert [relation.subject for relation in known.relations] == ["Jacob"]
    assert (await world.memora.doctor()).clean


async def test_l53_what_the_model_makes_up_of_names_is_dropped_one_by_one(
    worlds: Worlds,
) -> None:
    bad = {
        "memory": "[[user]] met Anna in Lisbon.",
        "entities": ["Anna", "Zebulon", "", 7, None, "a\x00b", "Lisbon"],
        "relations": [
            {"subject": 0, "type": "met_in", "object": 6},
            {"subject": 0, "type": "knows", "object": 1},
            {"subject": 0, "type": "knows", "object": 10**9},
            {"subject": -1, "type": "knows", "object": 0},
            {"subject": 0, "type": "is", "object": 0},
            {"subject": 0, "type": "***", "object": 6},
            {"subject": "x", "type": "knows", "object": 6},
            "nonsense",
        ],
    }
    worse = {"memory": "[[user]] likes Porto.", "entities": "Porto", "relations": {"a": 1}}
    world = await worlds.open(extraction=finding(bad, worse))
    await world.save("I met Anna in Lisbon and like Porto.")
    memories = {memory.memory: memory for memory in await world.memories()}
    assert memories["Jake met Anna in Lisbon."].entities == ["Anna", "Lisbon"]
    assert memories["Jake met Anna in Lisbon."].relations == [
        Relation(subject="Anna", type="met_in", object="Lisbon")
    ]
    assert memories["Jake likes Porto."].entities == ["Porto"]
    assert (await world.memora.doctor()).clean


async def test_a_hop_finds_what_shares_a_name_with_what_was_found(world: World) -> None:
    await world.save("My sister is Mia Berg.", "Mia Berg plays the cello.", "I had soup.")
    ranking = {"entity_weight": 0.5}
    plain = await world.recall("sister", explain=True)
    hopped = await world.recall("sister", explain=True, ranking=ranking)
    texts = [memory.memory for memory in hopped]
    assert texts[:2] == ["My sister is Mia Berg.", "Mia Berg plays the cello."]
    parts = {memory.memory: memory.score_parts or {} for memory in hopped}
    assert parts["Mia Berg plays the cello."]["entities"] > 0
    assert all("entities" not in (memory.score_parts or {}) for memory in plain)
    named = await world.recall("What about Mia Berg?", explain=True, ranking=ranking)
    assert {memory.memory for memory in named[:2]} == set(texts[:2])


async def test_two_hops_reach_further_than_one(world: World) -> None:
    far = "He plays the cello."
    add = partial(world.memora.add_memory, world.org_id, world.user_id)
    await add(far, entities=["Tom Ode"])
    # As many hits as a hop starts from, so that it does not start from the walk.
    for hour in range(8):
        await add(f"Mia Berg, who is Mia Berg, rang at {hour}.", entities=["Mia Berg"])
    await add("We went for a walk.", entities=["Mia Berg", "Tom Ode"])
    reached = []
    for hops in (1, 2):
        ranking = {"entity_weight": 0.5, "entity_hops": hops}
        found = await world.recall("Who is Mia Berg?", explain=True, ranking=ranking, limit=50)
        (parts,) = [memory.score_parts or {} for memory in found if memory.memory == far]
        reached.append(parts.get("entities", 0.0))
    assert reached[0] == 0 < reached[1]
    with pytest.raises(InvalidInputError, match="entity_hops"):
        await world.recall("sister", ranking={"entity_hops": 3})


async def test_an_encrypted_store_shows_no_name_and_finds_it(tmp_path: Path) -> None:
    async with Memora.embedded(
        tmp_path, embedder=HashingEmbedder(), encryption_key=new_key()
    ) as memora:
        user = memora.for_user("nora")
        await user.save(talk("I met Zebulon Quist in Lisbon."))
        await user.save(talk("I saw Zebuloon Quist."))
        (quist, _lisbon) = await user.list_entities()
        assert sorted(quist.aliases) == ["Zebulon Quist", "Zebuloon Quist"]
        assert (await memora.doctor()).clean
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert b"Zebul" not in file.read_bytes(), file
            assert b'"zq"' not in file.read_bytes(), file
