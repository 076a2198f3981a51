"""Model calls and prompt tokens per update while a conversation grows.

A scripted model answers at once and finds one new fact per exchange; it counts a token per four
characters of the prompt. The conversation is saved again after every two messages.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from common import show, statements, write_json

from memora import Memora
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM


def model_that_finds_facts() -> ScriptedBackendLLM:
    facts = iter(statements(100_000))

    def script(call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            item = {
                "memory": next(facts),
                "msg_source_ids": [0],
                "memory_type": "fact",
                "importance": 0.5,
            }
            return {"memories": [item]}
        return {"verdicts": []}

    return ScriptedBackendLLM(script)


async def grow(messages: int) -> dict[str, Any]:
    model = model_that_finds_facts()
    texts = statements(messages, seed=3)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder, extraction_model=model) as memora:
            user = memora.for_user("jake")
            await user.ensure()
            interaction: list[dict[str, str]] = []
            interaction_id: str | None = None
            for number in range(0, messages, 2):
                interaction += [
                    {"role": "user", "content": texts[number]},
                    {"role": "assistant", "content": f"Noted: {texts[number + 1]}"},
                ]
                before = model.usage
                interaction_id, _at = await user.save(interaction, interaction_id)
                spent = model.usage - before
                rows.append(
                    {
                        "messages": len(interaction),
                        "calls": spent.calls,
                        "prompt tokens": spent.prompt_tokens,
                    }
                )
            before = model.usage
            await user.save(interaction, interaction_id)
            unchanged = (model.usage - before).calls
    early = _mean(rows, 16, 24)
    late = _mean(rows, messages - 8, messages)
    return {
        "rows": rows,
        "tokens around message 20": early,
        "tokens at the end": late,
        "ratio": late / early,
        "calls of an unchanged update": unchanged,
    }


def _mean(rows: list[dict[str, Any]], first: int, last: int) -> float:
    """Mean prompt tokens of the updates that end at these messages."""
    picked = [row["prompt tokens"] for row in rows if first <= row["messages"] <= last]
    return sum(picked) / len(picked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(grow(arguments.messages))
    shown = [
        row for row in figures["rows"] if row["messages"] in {2, 10, 20, 50, 100, 200, 300, 400}
    ]
    show("Per update", shown)
    print(f"prompt tokens per update, messages 16 to 24: {figures['tokens around message 20']:.0f}")
    print(f"prompt tokens per update, last five: {figures['tokens at the end']:.0f}")
    print(f"ratio: {figures['ratio']:.2f}")
    print(f"model calls of an unchanged update: {figures['calls of an unchanged update']}")
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
