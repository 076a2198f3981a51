"""What each ingredient of the ranking brings: recall with one thing changed at a time.

Settings of the ranking are changed for each question; what is written into the index is changed by
seeding again.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common import show, write_json
from haystacks import measure, seed
from recall_quality import counted
from retrieval import SETS, Conversation, Scores, load, mean

from memora import Memora, RankingConfig
from memora.core import indexing, ranking, voices
from memora.embeddings import lexical

METRICS = {
    "locomo": ("recall@10", "all@10", "ndcg@10"),
    "longmemeval": ("s_all@5", "s_recall@5", "ndcg@10"),
    "beam": ("recall@10", "all@10", "ndcg@10"),
}
SETTINGS: dict[str, RankingConfig] = {
    "the defaults": RankingConfig(),
    "no speaker": RankingConfig(speaker_weight=0),
    "speaker 0.2": RankingConfig(speaker_weight=0.2),
    "speaker 0.4": RankingConfig(speaker_weight=0.4),
    "no time": RankingConfig(time_weight=0),
    "time 0.3": RankingConfig(time_weight=0.3),
    "words only": RankingConfig(dense_weight=0),
    "likeness only": RankingConfig(dense_weight=1),
    "dense 0.4": RankingConfig(dense_weight=0.4),
    "dense 0.6": RankingConfig(dense_weight=0.6),
    "RRF": RankingConfig.parse({"fusion": "rrf"}),
    "DBSF": RankingConfig.parse({"fusion": "dbsf"}),
    "recency 0.1": RankingConfig(recency_weight=0.1),
    "duplicates stay": RankingConfig(collapse_duplicates=False),
    "diversity 0.2": RankingConfig(diversity=0.2),
}


_INDEX_TEXTS = indexing.index_texts


def _index_texts(change: Callable[[dict[str, Any]], None]) -> Callable[..., tuple[str, str, str]]:
    """Return `index_texts` with changed arguments or results."""

    def changed(*given: Any) -> tuple[str, str, str]:
        names = ("stored_text", "obtained_at", "speaker", "context")
        arguments: dict[str, Any] = dict(zip(names, given, strict=False))
        change(arguments)
        return _INDEX_TEXTS(**arguments)

    return changed


def _undated(*given: Any) -> tuple[str, str, str]:
    dense, words, mark = _INDEX_TEXTS(*given)
    date = f" ({indexing.date_words(given[1])})"
    return dense.replace(date, ""), words.replace(date, ""), mark


def _named(*given: Any) -> tuple[str, str, str]:
    """Put the speaker into the dense text as well."""
    dense, words, mark = _INDEX_TEXTS(*given)
    return dense if given[2] is None else f"{given[2]}: {dense}", words, mark


def _texts(function: Callable[..., tuple[str, str, str]]) -> Any:
    return patch.object(indexing, "index_texts", function)


def _lists(length: int) -> tuple[Any, ...]:
    """Let the dense and the lexical list have so many candidates."""
    names = ("CANDIDATES", "LEXICAL_CANDIDATES")
    return tuple(patch.object(ranking, name, length) for name in names)


INDEXES: Mapping[str, Callable[[], tuple[Any, ...]]] = {
    "no message before": lambda: (_texts(_index_texts(lambda a: a.pop("context", None))),),
    "no date": lambda: (_texts(_undated),),
    "speaker in dense text": lambda: (
        _texts(_named),
        patch.object(voices, "without_names", lambda text, _asked: text),
    ),
    "names stay in dense query": lambda: (
        patch.object(voices, "without_names", lambda text, _asked: text),
    ),
    "50 candidates": lambda: _lists(50),
    "400 candidates": lambda: _lists(400),
    "BM25 b = 0.4": lambda: (patch.object(lexical, "B", 0.4),),
    "BM25 k1 = 2": lambda: (patch.object(lexical, "K1", 2.0),),
}


@contextmanager
def changed_index(name: str) -> Iterator[None]:
    """Index and search with one of `INDEXES`."""
    with ExitStack() as stack:
        for each in INDEXES[name]():
            stack.enter_context(each)
        yield


async def changed_settings(
    conversations: list[Conversation], embedder: str | None
) -> dict[str, list[Scores]]:
    """Measure every change of a setting on one store."""
    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder, embedder=embedder) as memora:
            haystacks = [await seed(memora, each) for each in conversations]
            return {
                name: (await measure(memora, haystacks, config))[0]
                for name, config in SETTINGS.items()
            }


async def changed_indexes(
    conversations: list[Conversation], embedder: str | None
) -> dict[str, list[Scores]]:
    """Measure every change of what is indexed, or searched, on a store of its own."""
    found: dict[str, list[Scores]] = {}
    for name in INDEXES:
        with tempfile.TemporaryDirectory() as folder, changed_index(name):
            async with Memora.embedded(folder, embedder=embedder) as memora:
                haystacks = [await seed(memora, each) for each in conversations]
                found[name] = (await measure(memora, haystacks))[0]
    return found


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    conversations = load(arguments.set, arguments.data)[: arguments.conversations]
    found = await changed_settings(conversations, arguments.embedder)
    if not arguments.settings_only:
        found |= await changed_indexes(conversations, arguments.embedder)
    metrics = METRICS[arguments.set]
    default = counted(found["the defaults"])
    rows: list[dict[str, Any]] = []
    for name, scores in found.items():
        row: dict[str, Any] = {"": name}
        for metric in metrics:
            value = mean(counted(scores), metric)
            row[metric] = value
            row[f"{metric} +-"] = value - mean(default, metric)
        rows.append(row)
    show(f"{arguments.set}, n = {len(default)}", rows)
    return {"set": arguments.set, "n": len(default), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder", help="such as fastembed:MODEL; default: memora's own")
    parser.add_argument("--conversations", type=int, help="only the first ones")
    parser.add_argument("--settings-only", action="store_true", help="seed once")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    write_json(arguments.json, asyncio.run(run(arguments)))


if __name__ == "__main__":
    main()
