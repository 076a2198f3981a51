"""Two rankings of the same memories, compared: the same, other ties, or really different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

# Two engines add up float32 products in another order; scaled to 0..1 that is seen in this place.
_NOISE = 0.0001


class Place(NamedTuple):
    """One recalled memory: its score, the turn that it came from, what its score is made of."""

    score: float
    turn: str
    parts: Mapping[str, float]


class Kind(StrEnum):
    """How two answers compare."""

    IDENTICAL = "identical"
    TIES = "other order of ties"
    DIFFERENT = "different"


def compared(one: Sequence[Place], other: Sequence[Place]) -> Kind:
    """Compare two answers.

    They differ by ties only where each has at a place what the other scores about like what it has
    there; what the other does not have at all must tie with its last.
    """
    if [place.turn for place in one] == [place.turn for place in other]:
        return Kind.IDENTICAL
    same = len(one) == len(other) and parted(one, other) is None and parted(other, one) is None
    return Kind.TIES if same else Kind.DIFFERENT


def parted(one: Sequence[Place], other: Sequence[Place]) -> int | None:
    """Return the first place at which the second has what does not score so in the first."""
    scores: dict[str, list[float]] = {}
    for place in one:
        scores.setdefault(place.turn, []).append(place.score)
    last = one[-1].score if one else 0.0
    for at, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        known = scores.get(theirs.turn, [last])
        if min(abs(mine.score - score) for score in known) >= _NOISE:
            return at
    return None


def explained(one: Sequence[Place], other: Sequence[Place]) -> str:
    """Return where two answers part, and which shares of the scores are not the same there."""
    ats = [at for at in (parted(one, other), parted(other, one)) if at is not None]
    at = min(ats, default=min(len(one), len(other)) - 1)
    said = [f"place {at + 1}"]
    for name in dict.fromkeys(answer[at].turn for answer in (one, other)):
        shares = [
            next((place.parts for place in answer if place.turn == name), {})
            for answer in (one, other)
        ]
        unlike = [
            f"{part} {shares[0].get(part, 0.0):.5f}/{shares[1].get(part, 0.0):.5f}"
            for part in sorted(shares[0].keys() | shares[1].keys())
            if abs(shares[0].get(part, 0.0) - shares[1].get(part, 0.0)) >= _NOISE
        ]
        said.append(f"{name!r}: {', '.join(unlike) or 'the same shares'}")
    return "; ".join(said)
