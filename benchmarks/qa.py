"""Answers from memory: any OpenAI-compatible model answers, another one judges.

For each question the memories that recall finds are given to the answering model; the judge
compares the answer with the expected one. Questions that have no answer are right when the model
says so. Figures depend on both models: name them beside the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import show, write_json
from haystacks import Haystack, ask, seed
from pydantic import BaseModel
from retrieval import APART, SETS, Question, load

from memora import Memora
from memora.llm_backends import OpenAICompatibleBackendLLM
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.models import Memory

_ANSWER = """Answer the question from the memories alone, in a few words. The memories are quotes \
with their dates; a later one overrides an earlier one. Today is {today}. If they do not tell, say \
"I don't know".

Memories:
{memories}

Question: {question}"""
_JUDGE = """Decide whether an answer to a question means the same as the expected one. Other \
words, more detail and another form of a date are fine; another fact, number or date is not. Where \
nothing is expected, only an answer that says it cannot be known is right.

Question: {question}
Expected: {expected}
Answer: {answer}"""
_NOTHING = "nothing: this cannot be known"


class Verdict(BaseModel):
    """What the judge says."""

    correct: bool


def answer_prompt(
    haystack: Haystack, question: Question, memories: Sequence[Memory]
) -> list[dict[str, str]]:
    """Return what the answering model reads."""
    lines = [f"- {_dated(memory)}" for memory in sorted(memories, key=lambda m: m.obtained_at)]
    today = question.date or haystack.latest
    text = _ANSWER.format(
        today=f"{today:%Y-%m-%d}", memories="\n".join(lines) or "(none)", question=question.text
    )
    return [{"role": "user", "content": text}]


def _dated(memory: Memory) -> str:
    speaker = memory.metadata.get("speaker", memory.source_role)
    return f"{memory.obtained_at:%Y-%m-%d} {speaker}: {' '.join(memory.memory.split())}"


def judge_prompt(question: Question, answer: str) -> list[dict[str, str]]:
    """Return what the judge reads."""
    expected = _NOTHING if question.category in APART else question.answer
    text = _JUDGE.format(question=question.text, expected=expected, answer=answer)
    return [{"role": "user", "content": text}]


async def judged(
    memora: Memora,
    haystack: Haystack,
    question: Question,
    answering: BaseBackendLLM,
    judge: BaseBackendLLM,
    limit: int,
) -> dict[str, Any]:
    """Recall, answer and judge one question."""
    memories, _ms = await ask(memora, haystack, question, limit=limit)
    answer = await answering(answer_prompt(haystack, question, memories))
    verdict = await judge(judge_prompt(question, answer), Verdict)
    return {
        "id": question.question_id,
        "category": question.category,
        "answer": answer,
        "correct": verdict.correct,
    }


async def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    key = os.environ.get(arguments.key_variable) if arguments.key_variable else None
    answering = OpenAICompatibleBackendLLM(arguments.url, arguments.model, key, temperature=0)
    judge = OpenAICompatibleBackendLLM(
        arguments.judge_url or arguments.url, arguments.judge or arguments.model, key, temperature=0
    )
    try:
        return await _all(arguments, answering, judge)
    finally:
        await answering.close()
        await judge.close()


async def _all(
    arguments: argparse.Namespace, answering: BaseBackendLLM, judge: BaseBackendLLM
) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []
    conversations = load(arguments.set, arguments.data)[: arguments.conversations]
    at_once = asyncio.Semaphore(arguments.at_once)

    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder) as memora:
            for conversation in conversations:
                haystack = await seed(memora, conversation)

                async def one(question: Question, own: Haystack = haystack) -> dict[str, Any]:
                    async with at_once:
                        return await judged(
                            memora, own, question, answering, judge, arguments.limit
                        )

                questions = conversation.questions[: arguments.questions]
                asked += await asyncio.gather(*map(one, questions))
    return asked


def accuracy(asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the share of right answers, by category and in all."""
    by_category: dict[str, list[bool]] = defaultdict(list)
    for each in asked:
        by_category[each["category"]].append(each["correct"])
    by_category = dict(sorted(by_category.items()))
    every = {**by_category, "all": [each["correct"] for each in asked]}
    return [
        {"": name, "n": len(right), "accuracy": 100 * sum(right) / max(1, len(right))}
        for name, right in every.items()
    ]


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", required=True, help="API of the answering model, ending in /v1")
    parser.add_argument("--model", required=True, help="the answering model")
    parser.add_argument("--judge", help="the judging model; default: the answering one")
    parser.add_argument("--judge-url", help="its API; default: the same")
    parser.add_argument("--key-variable", help="environment variable that holds the API's key")
    parser.add_argument("--limit", type=int, default=20, help="memories given to the model")
    parser.add_argument("--at-once", type=int, default=4, help="questions asked at the same time")
    parser.add_argument("--conversations", type=int, help="only the first ones")
    parser.add_argument("--questions", type=int, help="only the first ones of each")
    parser.add_argument("--json", type=Path, help="write answers and verdicts there")
    return parser.parse_args(given)


def main() -> None:
    arguments = parsed()
    asked = asyncio.run(run(arguments))
    judge = arguments.judge or arguments.model
    show(f"{arguments.set}, answers by {arguments.model}, judged by {judge}", accuracy(asked))
    write_json(arguments.json, {"accuracy": accuracy(asked), "questions": asked})


if __name__ == "__main__":
    main()
