"""Runs the blocks of one story as a reader would: one after the other, in an empty directory."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora import errors as memora_errors
from tests.docs.blocks import Block, Story

# What a story that starts with `engine` has. The pages say so in words where they use it.
ENGINE_NAMES = (
    "memora", "org_id", "user_id", "agent_id", "interaction", "interaction_id", "memory_id",
    "datetime",
)  # fmt: skip

SAMPLE = [
    {"role": "user", "content": "I moved to Lisbon in May, right by the river."},
    {"role": "assistant", "content": "Lovely! How is the new flat?"},
    {"role": "user", "content": "Small but bright. My sister Ana lives around the corner."},
]


class BlockFailedError(AssertionError):
    """A block did not do what its page says."""


@dataclass
class Player:
    """Keeps the names of one story between its blocks.

    Attributes:
        names: What the blocks see and define.
        printed: What the last python block has printed.
    """

    directory: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "docs"})
    printed: str = ""

    async def play(self, story: Story) -> None:
        """Run all blocks of the story."""
        async with contextlib.AsyncExitStack() as stack:
            if story.blocks[0].value_of("engine") is not None:
                memora = await stack.enter_async_context(Memora.embedded(self.directory / "store"))
                self.names |= await engine_names(memora)
            for block in story.blocks:
                await self._play(block)

    async def _play(self, block: Block) -> None:
        if block.value_of("output") is not None:
            self._check_output(block)
            return
        if block.value_of("not run") is not None:
            compiled(block)
            return
        wanted = block.value_of("raises")
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                await run(block, self.names)
        except Exception as error:
            if wanted is None or not isinstance(error, getattr(memora_errors, wanted)):
                raise BlockFailedError(f"{block.place}\n{traceback.format_exc()}") from error
        else:
            if wanted is not None:
                raise BlockFailedError(f"{block.place}: should have ended in {wanted}")
        self.printed = printed.getvalue()

    def _check_output(self, block: Block) -> None:
        shown = [re.escape(part) for part in block.code.strip().split("...")]
        if not re.fullmatch(".*?".join(shown), self.printed.strip(), re.DOTALL):
            raise BlockFailedError(
                f"{block.place}: the page shows\n{block.code}\nbut this was printed\n{self.printed}"
            )


def compiled(block: Block) -> Any:
    """Compile a block so that errors show the line of its page; `await` may stand at the top."""
    source = "\n" * (block.line - 1) + block.code
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compile(source, str(block.path), "exec", flags=flags, dont_inherit=True)
    except SyntaxError as error:
        raise BlockFailedError(f"{block.place}: {error}") from error


async def run(block: Block, names: dict[str, Any]) -> None:
    """Run a block; what does not await runs in a thread, where `asyncio.run` may be called."""
    code = compiled(block)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:
        await asyncio.to_thread(exec, code, names)


async def engine_names(memora: Memora) -> dict[str, Any]:
    """Return the names that a page may take for granted: an engine with one conversation."""
    org = await memora.graph.create_organization("My Organization")
    user = await memora.graph.create_user(org.org_id, "Jake")
    agent = await memora.graph.create_agent(org.org_id, "Jenny", user_id=user.user_id)
    interaction_id, _at = await memora.save_or_update_interaction_and_memories(
        org.org_id,
        user.user_id,
        agent.agent_id,
        SAMPLE,
        current_datetime=datetime(2026, 6, 1, 9, tzinfo=UTC),
    )
    memories = await memora.graph.get_all_user_memories(org.org_id, user.user_id)
    values = (
        memora, org.org_id, user.user_id, agent.agent_id, list(SAMPLE), interaction_id,
        next(m.memory_id for m in memories if "Lisbon" in m.memory), datetime,
    )  # fmt: skip
    return dict(zip(ENGINE_NAMES, values, strict=True))


def lines_of(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Type these lines whenever a block asks with `input`."""
    waiting = iter(lines)
    monkeypatch.setattr("builtins.input", lambda _prompt="": next(waiting))
