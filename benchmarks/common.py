"""What the benchmarks share: made-up statements, percentiles, tables."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# fmt: off
_PEOPLE = (
    "Ana", "Ben", "Chloe", "David", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya",
)
_PLACES = ("Lisbon", "Oslo", "Nairobi", "Lima", "Osaka", "Tallinn", "Porto", "Bergen", "Quito")
_THINGS = (
    "the old bicycle", "a green tea", "the piano lessons", "a mountain cabin", "the tax report",
    "a rescue dog", "the marathon", "a pottery class", "the night train", "a broken laptop",
    "the garden shed", "a job offer", "the chess club", "a peanut allergy", "the choir",
)
_VERBS = (
    "likes", "bought", "talked about", "is worried about", "plans", "sold", "recommends", "forgot",
    "dreams of", "gave up", "started", "repaired", "lost", "found", "prefers", "dislikes",
)
# fmt: on


def statements(count: int, seed: int = 7) -> list[str]:
    """Return that many different made-up statements."""
    random_ = random.Random(seed)
    return [
        f"{random_.choice(_PEOPLE)} {random_.choice(_VERBS)} {random_.choice(_THINGS)} "
        f"in {random_.choice(_PLACES)} with {random_.choice(_PEOPLE)}, note {number}."
        for number in range(count)
    ]


def questions(count: int, seed: int = 11) -> list[str]:
    """Return that many made-up questions, each different."""
    random_ = random.Random(seed)
    return [
        f"What did {random_.choice(_PEOPLE)} say about {random_.choice(_THINGS)} "
        f"in {random_.choice(_PLACES)} on day {number}?"
        for number in range(count)
    ]


def percentile(values: Iterable[float], share: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; floats with two decimals."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures where the caller wants them."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
