"""Recall quality on public sets with evidence labels, through the public API, without a model.

Seeds every conversation, asks every question, and measures which turns and sessions come back, next
to plain baselines over the same turns. See README.md for the sets.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from common import percentile, show, write_json
from haystacks import LIMIT, measure, seed
from retrieval import APART, SETS, Conversation, Scores, interval, load, mean, score

from memora import Memora
from memora.embeddings.base import BaseEmbedder
from memora.embeddings.lexical import LexicalEncoder

METRICS = {
    "locomo": ("recall@5", "recall@10", "recall@50", "all@10", "ndcg@10", "s_recall@10"),
    "longmemeval": ("s_any@5", "s_all@5", "s_recall@5", "s_ndcg@10", "recall@10", "ndcg@10"),
    "beam": ("recall@5", "recall@10", "recall@50", "all@10", "ndcg@10"),
}
UNIT = {"locomo": "turns", "longmemeval": "sessions (s_) and turns", "beam": "messages"}
_STOP = frozenset(
    "a an and are as at be been but by did do does for from had has have he her his how i in is it "  # noqa: SIM905
    "its of on or she that the their they this to was were what when where which who why will with "
    "would you your".split()
)

_Rank = Callable[[str], "np.ndarray[Any, np.dtype[np.float64]]"]


def _plain(text: str) -> list[str]:
    found = re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())
    return [word for word in found if word not in _STOP]


class BM25:
    """Plain BM25 (Lucene's IDF) over the turns of one conversation."""

    def __init__(self, texts: Sequence[str], terms: Callable[[str], list[str]]) -> None:
        self._terms = terms
        counts = [Counter(terms(text)) for text in texts]
        lengths = [count.total() for count in counts]
        average = sum(lengths) / max(1, len(lengths)) or 1
        self._size = len(texts)
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            for term, tf in count.items():
                weight = tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average))
                postings[term].append((number, weight))
        self._postings = postings

    def scores(self, query: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        found = np.zeros(self._size)
        for term in self._terms(query):
            postings = self._postings.get(term, [])
            rarity = math.log(1 + (self._size - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, weight in postings:
                found[number] += rarity * weight
        return found


def _scaled(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)


def _reciprocal(scores: np.ndarray[Any, Any], k: int = 60) -> np.ndarray[Any, Any]:
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return 1 / (k + ranks)


async def baselines(
    conversations: Sequence[Conversation], embedder: BaseEmbedder
) -> dict[str, list[Scores]]:
    """Rank the turns by words, by likeness, and by both, as a few lines of code would."""
    found: dict[str, list[Scores]] = defaultdict(list)
    stems = LexicalEncoder()
    for conversation in conversations:
        texts = [
            turn.text if turn.name is None else f"{turn.name}: {turn.text}"
            for turn in conversation.turns
        ]
        ids = [turn.turn_id for turn in conversation.turns]
        words, stemmed = BM25(texts, _plain), BM25(texts, stems.terms)
        table = np.asarray(await embedder.embed_documents([text or " " for text in texts]))
        for question in conversation.questions:
            if not question.evidence and not question.sessions:
                continue
            [vector] = await embedder.embed_queries([question.text])
            dense, lexical = table @ np.asarray(vector), stemmed.scores(question.text)
            rankings = {
                "BM25": words.scores(question.text),
                "BM25 + stems": lexical,
                "dense": dense,
                "RRF": _reciprocal(dense) + _reciprocal(lexical),
                "min-max sum": _scaled(dense) + _scaled(lexical),
            }
            for name, scores in rankings.items():
                order = [ids[i] for i in np.argsort(-scores, kind="stable")[:LIMIT]]
                found[name].append(score(conversation, question, order))
    return dict(found)


def counted(scores: Sequence[Scores]) -> list[Scores]:
    """Return the questions that make up the whole."""
    return [each for each in scores if each.category not in APART]


def table(
    scores: Sequence[Scores], metrics: Sequence[str], by: Callable[[Scores], str]
) -> list[dict[str, Any]]:
    """Return a row for each group and one for the whole with its interval."""
    rows: list[dict[str, Any]] = []
    for group in sorted({by(each) for each in scores}):
        part = [each for each in scores if by(each) == group]
        rows.append({"": group, "n": len(part)} | {name: mean(part, name) for name in metrics})
    whole = counted(scores)
    rows.append({"": "all", "n": len(whole)} | {name: mean(whole, name) for name in metrics})
    bounds = {name: interval(whole, name) for name in metrics}
    spans = {name: f"{low:.1f}-{high:.1f}" for name, (low, high) in bounds.items()}
    rows.append({"": "95 %", "n": ""} | spans)
    return rows


def plot(path: Path, title: str, systems: dict[str, list[Scores]], metrics: Sequence[str]) -> bool:
    """Draw the systems side by side; False where matplotlib is not installed."""
    try:
        drawing: Any = import_module("matplotlib.figure")
    except ImportError:
        return False
    figure = drawing.Figure(figsize=(2 + 1.6 * len(metrics), 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(systems)
    for place, (name, scores) in enumerate(systems.items()):
        heights = [mean(counted(scores), metric) for metric in metrics]
        left = [i + place * width for i in range(len(metrics))]
        axes.bar(left, heights, width, label=name, align="edge")
    axes.set_xticks([i + 0.4 for i in range(len(metrics))], metrics)
    axes.set_ylim(0, 100)
    axes.set_title(title)
    axes.legend()
    figure.savefig(path)
    return True


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    conversations = load(arguments.set, arguments.data)[: arguments.conversations]
    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder, embedder=arguments.embedder) as memora:
            haystacks = [await seed(memora, each) for each in conversations]
            scores, times = await measure(memora, haystacks)
            stamp = await memora.vector_db.stamp()
    metrics = METRICS[arguments.set]
    model = "?" if stamp is None else stamp.model_id
    heading = f"{arguments.set}: n = {len(counted(scores))}, {UNIT[arguments.set]}, {model}"
    show(heading, table(scores, metrics, lambda each: each.category))
    if len(conversations) < 20:
        show("by conversation", table(counted(scores), metrics, lambda each: each.conversation))
    systems = {"memora": scores}
    if not arguments.no_baselines:
        systems |= await _baselines(conversations, arguments.embedder)
        whole = {name: counted(each) for name, each in systems.items()}
        show("beside baselines over the same turns", [
            {"": name} | {metric: mean(each, metric) for metric in metrics}
            for name, each in whole.items()
        ])  # fmt: skip
    p50, p95 = percentile(times, 0.5), percentile(times, 0.95)
    show("time of a recall, ms (all of it, here and now)", [{"p50": p50, "p95": p95}])
    if arguments.plot and not plot(arguments.plot, heading, systems, metrics):
        print("no plot: matplotlib is not installed")
    return {
        "set": arguments.set,
        "embedder": model,
        "unit": UNIT[arguments.set],
        "n": len(counted(scores)),
        "ms": {"p50": p50, "p95": p95},
        "systems": {name: _figures(each, metrics) for name, each in systems.items()},
    }


async def _baselines(
    conversations: Sequence[Conversation], embedder: str | None
) -> dict[str, list[Scores]]:
    from memora.bootstrap import embedder as built
    from memora.config import ModelSpec, Settings

    made = built(Settings(), ModelSpec.parse_embedder(embedder or "wordllama"))
    try:
        return await baselines(conversations, made)
    finally:
        await made.close()


def _figures(scores: Sequence[Scores], metrics: Sequence[str]) -> dict[str, Any]:
    whole = counted(scores)
    return {
        "all": {name: mean(whole, name) for name in metrics},
        "interval": {name: interval(whole, name) for name in metrics},
        "by_category": {
            group: {
                name: mean([e for e in scores if e.category == group], name) for name in metrics
            }
            for group in sorted({each.category for each in scores})
        },
    }


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--data", type=Path, required=True, help="file, or folder for beam")
    parser.add_argument(
        "--embedder", help="such as wordllama or fastembed:MODEL; default: memora's"
    )
    parser.add_argument("--conversations", type=int, help="only the first ones")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw them there; needs matplotlib")
    return parser.parse_args(given)


def main() -> None:
    arguments = parsed()
    write_json(arguments.json, asyncio.run(run(arguments)))


if __name__ == "__main__":
    main()
