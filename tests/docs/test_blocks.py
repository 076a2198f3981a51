"""Every python block of the README, the documentation and the docstrings runs."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from memora import Memora
from memora.config import Settings
from tests.docs import blocks
from tests.docs.blocks import Block, Story
from tests.docs.player import Player, engine_names, run

PAGE_BLOCKS = [block for page in blocks.PAGES for block in blocks.page_blocks(page)]
STORIES = blocks.stories()
WITHOUT_SERVER = [story for story in STORIES if not story.servers]
WITH_NEO4J = [story for story in STORIES if story.servers == ("neo4j",)]
DOCSTRING_BLOCKS = blocks.docstring_blocks()


@pytest.mark.parametrize("story", WITHOUT_SERVER, ids=lambda story: story.name)
async def test_story_runs(story: Story, player: Player) -> None:
    await player.play(story)


@pytest.mark.neo4j
@pytest.mark.parametrize("story", WITH_NEO4J, ids=lambda story: story.name)
async def test_story_runs_on_neo4j(
    story: Story, player: Player, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("live_neo4j")
    await player.play(story)


@pytest.mark.parametrize("block", DOCSTRING_BLOCKS, ids=lambda block: block.place)
async def test_docstring_example_runs(block: Block, player: Player) -> None:
    """The names of its own module are known to an example, as they are to its reader."""
    assert block.language == "python"
    names: dict[str, Any] = dict(vars(importlib.import_module(block.module)))
    async with Memora.embedded(player.directory / "store") as memora:
        names |= {"Memora": Memora, **await engine_names(memora)}
        await run(block, names)


def test_every_story_is_in_one_of_the_tests() -> None:
    assert len(WITHOUT_SERVER) + len(WITH_NEO4J) == len(STORIES)
    assert len(STORIES) > 20
    assert len(DOCSTRING_BLOCKS) > 5


@pytest.mark.parametrize("block", PAGE_BLOCKS, ids=lambda block: block.place)
def test_block_names_its_language(block: Block) -> None:
    assert block.language in blocks.LANGUAGES


TOML_BLOCKS = [block for block in PAGE_BLOCKS if block.language == "toml"]


@pytest.mark.parametrize("block", TOML_BLOCKS, ids=lambda block: block.place)
def test_toml_block_is_a_valid_settings_file(block: Block, player: Player) -> None:
    file = player.directory / "memora.toml"
    file.write_text(block.code, "utf-8")
    Settings.from_file(file)


def test_little_is_left_out() -> None:
    """A block that is not run says why, for everybody to read; there are few of them."""
    left_out = [block for block in PAGE_BLOCKS if block.value_of("not run") is not None]
    assert len(left_out) <= 5, [block.place for block in left_out]
