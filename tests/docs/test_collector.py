"""The collector finds what it should, and fails where a page is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import MarkupError, Story, parse
from tests.docs.player import BlockFailedError, Player

HERE = Path(__file__)


def story(text: str) -> Story:
    return Story("story", tuple(parse(text, HERE)))


def test_blocks_in_lists_and_admonitions_are_found() -> None:
    text = "- item\n\n    ```python\n    x = 1\n    if x:\n        y = 2\n    ```\n"
    (block,) = parse(text, HERE)
    assert block.code == "x = 1\nif x:\n    y = 2"
    assert block.line == 4
    assert block.language == "python"


def test_longer_fences_hold_shorter_ones() -> None:
    (block,) = parse("````text\n```python\n1 / 0\n```\n````\n", HERE)
    assert block.language == "text"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- docs-test: skip -->\n```python\n```\n",
        "<!-- docs-test: not run -->\n```python\n```\n",
        "<!-- docs-test: fresh -->\nSome text.\n",
        "<!-- docs-test: fresh -->\n",
        "```python\nx = 1\n",
    ],
    ids=["unknown", "without a reason", "text between", "at the end", "open fence"],
)
def test_unclear_markup_is_an_error(text: str) -> None:
    with pytest.raises(MarkupError):
        parse(text, HERE)


async def test_names_live_through_a_story(player: Player) -> None:
    await player.play(story("```python\nx = 1\n```\n```python\nassert x == 1\n```\n"))


async def test_a_failing_block_names_its_line(player: Player) -> None:
    with pytest.raises(BlockFailedError, match=r"(?s)test_collector.py:4\b.*ZeroDivisionError"):
        await player.play(story("\n\n```python\n1 / 0\n```\n"))


async def test_a_block_that_does_not_compile_fails(player: Player) -> None:
    with pytest.raises(BlockFailedError):
        await player.play(story("<!-- docs-test: not run: because -->\n```python\ndef\n```\n"))


async def test_wrong_output_fails(player: Player) -> None:
    shown = "```python\nprint('a', 1)\n```\n<!-- docs-test: output -->\n```text\n{}\n```\n"
    await player.play(story(shown.format("a ...")))
    with pytest.raises(BlockFailedError, match="the page shows"):
        await player.play(story(shown.format("b 1")))


async def test_a_missing_error_fails(player: Player) -> None:
    marked = "<!-- docs-test: raises ConflictError -->\n```python\n{}\n```\n"
    raising = "from memora.errors import ConflictError\nraise ConflictError('user', 'u')"
    await player.play(story(marked.format(raising)))
    with pytest.raises(BlockFailedError, match="should have ended"):
        await player.play(story(marked.format("pass")))
    with pytest.raises(BlockFailedError, match="ValueError"):
        await player.play(story(marked.format("raise ValueError")))


async def test_both_kinds_of_blocks_run(player: Player) -> None:
    loop = "```python\nimport asyncio\nasyncio.run(asyncio.sleep(0))\n```\n"
    await player.play(story(loop + "```python\nawait asyncio.sleep(0)\n```\n"))


async def test_no_host_but_the_scripted_provider_can_be_reached(player: Player) -> None:
    code = (
        "import httpx\n"
        "async with httpx.AsyncClient() as client:\n"
        "    await client.get('https://example.org')"
    )
    with pytest.raises(BlockFailedError, match="no network in these tests"):
        await player.play(story(f"```python\n{code}\n```\n"))
