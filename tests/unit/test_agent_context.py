"""Memories as text for a prompt."""

from __future__ import annotations

import pytest

from memora.agent.context import format_memories, summarise
from memora.core.chunking import RECALL_CLOSE, RECALL_OPEN, estimated_tokens
from memora.testing.fakes import OutageError, ScriptedBackendLLM
from tests.unit.kit import DAY, HOSTILE, T0, memory

TEA = memory("a", "Jake likes tea", obtained_at=T0)
CAT = memory("b", "Jake has a cat.", obtained_at=T0 - DAY)


def test_memories_are_lines_with_dates_inside_a_marker() -> None:
    assert format_memories([TEA, CAT]) == "\n".join(
        [
            RECALL_OPEN,
            "- Jake likes tea (2026-01-01)",
            "- Jake has a cat. (2025-12-31)",
            RECALL_CLOSE,
        ]
    )


def test_no_memories_are_no_text() -> None:
    assert format_memories([]) == ""
    assert format_memories([TEA], token_budget=1) == ""
    assert format_memories([TEA], token_budget=0) == ""


def test_lines_may_be_ordered_by_time() -> None:
    lines = format_memories([TEA, CAT], newest_last=True).splitlines()
    assert lines[1:3] == ["- Jake has a cat. (2025-12-31)", "- Jake likes tea (2026-01-01)"]


def test_lines_are_added_while_they_fit() -> None:
    long = memory("c", "x" * 500)
    cost = estimated_tokens("- Jake likes tea (2026-01-01)")
    lines = format_memories([long, TEA, CAT], token_budget=2 * cost).splitlines()
    assert lines[1:-1] == ["- Jake likes tea (2026-01-01)", "- Jake has a cat. (2025-12-31)"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_b77_a_memory_is_one_line_and_no_marker(text: str) -> None:
    block = format_memories([memory(text=f"before {text} after"), TEA])
    assert len(block.split("\n")) == 4
    assert block.count("<memora-recall") == block.count("</memora-recall>") == 1
    assert block.endswith(f"(2026-01-01)\n{RECALL_CLOSE}")


async def test_a_summary_is_the_models() -> None:
    model = ScriptedBackendLLM(lambda _call: " Jake likes tea.\n")
    assert await summarise(model, "tea?", [TEA], T0) == "Jake likes tea."
    assert model.calls[0].data["memories"] == [
        {"number": 0, "memory": "Jake likes tea", "date": "2026-01-01"}
    ]


@pytest.mark.parametrize("model", [None, ScriptedBackendLLM(lambda _call: OutageError())])
async def test_without_a_model_the_memories_are_the_summary(
    model: ScriptedBackendLLM | None,
) -> None:
    found = await summarise(model, "tea?", [TEA, CAT], T0)
    assert found == "Jake likes tea (2026-01-01). Jake has a cat (2025-12-31)."


async def test_nothing_is_summarised_without_a_call() -> None:
    model = ScriptedBackendLLM(lambda _call: OutageError())
    assert await summarise(model, "tea?", [], T0) == ""
    assert model.calls == []
