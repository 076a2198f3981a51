"""Every python block of the README, the documentation and the docstrings runs."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import re
from typing import Any

import pytest

from memora import Memora
from memora.config import Settings
from tests.docs import blocks
from tests.docs.blocks import Block, Story
from tests.docs.player import ENGINE_NAMES, Player, engine_names, run

# A story may be the first to import an SDK, which takes seconds on a busy machine.
pytestmark = pytest.mark.timeout(60)

PAGE_BLOCKS = [block for page in blocks.PAGES for block in blocks.page_blocks(page)]
STORIES = blocks.stories()
WITHOUT_SERVER = [story for story in STORIES if not story.servers]
WITH_NEO4J = [story for story in STORIES if story.servers == ("neo4j",)]
DOCSTRING_BLOCKS = blocks.docstring_blocks()
DOCSTRING_EXAMPLES = [
    pytest.param(
        block,
        id=block.place,
        marks=[pytest.mark.neo4j] if "neo4j://" in block.code else [],
    )
    for block in DOCSTRING_BLOCKS
    if block.language in {"python", "doctest"}
]


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


@pytest.mark.parametrize("block", DOCSTRING_EXAMPLES)
async def test_docstring_example_runs(
    block: Block, player: Player, request: pytest.FixtureRequest
) -> None:
    """The names of its own module are known to an example, as they are to its reader."""
    if request.node.get_closest_marker("neo4j"):
        request.getfixturevalue("live_neo4j")
    names: dict[str, Any] = {"Memora": Memora, **vars(importlib.import_module(block.module))}
    if block.language == "doctest":
        await asyncio.to_thread(_doctest, block, names)
        return
    if not set(ENGINE_NAMES) & set(re.findall(r"\w+", block.code)):
        await run(block, names)
        return
    async with Memora.embedded(player.directory / "store") as memora:
        await run(block, {**await engine_names(memora), **names})


def _doctest(block: Block, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.code, names, block.place, None, block.line)
    assert not any(doctest.SKIP in example.options for example in test.examples)
    told: list[str] = []
    outcome = doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert outcome.failed == 0, "".join(told)


def test_every_story_is_in_one_of_the_tests() -> None:
    assert len(WITHOUT_SERVER) + len(WITH_NEO4J) == len(STORIES)
    assert len(STORIES) > 20
    assert len(DOCSTRING_EXAMPLES) > 5


@pytest.mark.parametrize("block", [*PAGE_BLOCKS, *DOCSTRING_BLOCKS], ids=lambda block: block.place)
def test_block_names_its_language(block: Block) -> None:
    assert block.language in {*blocks.LANGUAGES, "doctest"}


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
