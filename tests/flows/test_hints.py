"""Errors name what was wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.errors import GraphDBError, InvalidInputError, SchemaVersionError
from memora.schema.seeding import SeedData

LANGUAGES = "one of ar, ca, da, de, "


@pytest.fixture
async def memora(tmp_path: Path) -> AsyncIterator[Memora]:
    async with Memora.embedded(tmp_path / "store", embedder="hashing") as memora:
        await memora.graph.create_organization("Acme", org_id="acme")
        await memora.graph.create_user("acme", "Jake", user_id="jake")
        yield memora


async def refused(path: Path, **options: Any) -> SchemaVersionError:
    with pytest.raises(SchemaVersionError) as caught:
        async with Memora.embedded(path, **options):
            pass
    return caught.value


async def test_b23_a_store_of_another_language_says_so_first(tmp_path: Path) -> None:
    async with Memora.embedded(tmp_path, embedder="hashing", language="de"):
        pass
    remedy = (await refused(tmp_path, embedder="hashing")).remedy
    assert remedy is not None
    assert remedy.startswith(
        "it was made in the language 'de', not 'en': give language='de', or set MEMORA_LANGUAGE=de;"
    )
    assert "`memora reindex`" in remedy
    async with Memora.embedded(tmp_path, embedder="hashing", language="de"):
        pass


async def test_b23_a_store_of_another_model_does_not_speak_of_languages(tmp_path: Path) -> None:
    async with Memora.embedded(tmp_path, embedder="hashing"):
        pass
    remedy = (await refused(tmp_path)).remedy
    assert remedy == "`memora reindex` makes the vectors again with the embedder of the settings"


@pytest.mark.parametrize("language", ["german", "xx", "DE"])
def test_an_unknown_language_is_answered_with_the_known_ones(tmp_path: Path, language: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Memora.embedded(tmp_path, embedder="hashing", language=language)
    assert caught.value.field == "language"
    assert caught.value.allowed.startswith(LANGUAGES)


async def test_an_engine_that_is_not_open_says_how_to_open_it(tmp_path: Path) -> None:
    memora = Memora.embedded(tmp_path, embedder="hashing")
    with pytest.raises(GraphDBError, match="not open: use it inside `async with`"):
        await memora.graph.get_organization("acme")
    async with memora:
        pass
    with pytest.raises(GraphDBError, match=r"or call setup\(\)"):
        await memora.graph.get_organization("acme")


async def test_a_wrong_status_is_named(memora: Memora) -> None:
    with pytest.raises(InvalidInputError, match=r"got foo$"):
        await memora.list_jobs("acme", statuses=["done", "foo"])
    with pytest.raises(InvalidInputError, match=r"got str$"):
        await memora.list_jobs("acme", statuses=["what somebody said, by mistake"])


async def test_an_unknown_field_of_an_item_is_named(memora: Memora) -> None:
    with pytest.raises(InvalidInputError, match=r"got kind$") as caught:
        await memora.add_memories("acme", [{"user_id": "jake", "content": "abc", "kind": "x"}])
    assert caught.value.field == "items[0]"


async def test_a_conversation_without_messages_is_told_that_it_is_empty(memora: Memora) -> None:
    result = await memora.seed(SeedData.for_conversations("jake", [{"id": "c", "messages": []}]))
    assert "a list of messages that is not empty" in str(result.results[0].error)
