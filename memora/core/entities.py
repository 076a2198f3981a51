"""Which names are names of the same thing, and what a shared name is worth to a recall.

A name is written in many ways. Equal after normalisation is the same entity; beyond that only a
difference that looks like a slip of the pen joins two names by itself. Everything else is for
people to say (`merge_entities`), and what was joined can be taken apart (`split_entity`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from memora.core.ids import derived_memory_id
from memora.core.placeholders import escape
from memora.schema.entities import EntityMention
from memora.schema.models import Relation

_SPAN = re.compile(r"\[\[[ua]:[^\[\]\s]+\]\]")
_ACCENT = re.compile("[\u0300-\u036f]")
_POSSESSIVE = re.compile("(?<=\\w)['\u2019\u02bc]s$|(?<=\\w)['\u2019\u02bc]$")
_DROPPED = re.compile("['\u2019\u02bc\u00b4`.,!?\"\u201c\u201d\u00ab\u00bb()]")
_SPACED = re.compile(r"[\s\-_\u2010-\u2015/]+")
_NO_WORD = re.compile(r"[\W_]+")
_SPACE = re.compile(" +")
_TYPE_CHARS = 60
# A word in which one letter may differ has at least so many.
_LETTERS = 4

# Hits that a hop starts from, entities that it follows, memories that each of them leads to.
HOP_SEEDS = 8
HOP_ENTITIES = 12
HOP_FANOUT = 20
# A name that more memories have says nothing about what belongs together.
HUB_MENTIONS = 50
# Digits of a weight that are not the noise of an engine.
_DIGITS = 5
# What a memory two hops away is worth, next to one that is one hop away.
SECOND_HOP = 0.5


def normalised_name(name: str) -> str:
    """Return a stored name without what does not change whom it names.

    That is case, accents, punctuation, spacing and a possessive ending. A placeholder stays as it
    is; the sign before a handle, and those of `C++` and `C#`, do too.
    """
    if name.startswith("[[") and _SPAN.fullmatch(name):
        return name
    if name.isascii() and name.replace(" ", "").isalnum():
        return " ".join(name.lower().split())
    text = _POSSESSIVE.sub("", unicodedata.normalize("NFKD", name.strip()).casefold())
    text = _ACCENT.sub("", unicodedata.normalize("NFKD", text))
    text = " ".join(_SPACED.sub(" ", _DROPPED.sub("", text)).split())
    return unicodedata.normalize("NFC", text) or name.strip()


def relation_type(text: str) -> str:
    """Return what a model calls a relation in snake case; empty if nothing is left."""
    return _SPACE.sub("_", _NO_WORD.sub(" ", text.casefold()).strip())[:_TYPE_CHARS].strip("_")


def name_id(salt: str, name: str) -> str:
    """Return the id of a name: the same for all spellings that are equal when normalised.

    Args:
        salt: The user's own, so that nobody finds out a name by trying.
        name: As stored.
    """
    return _id(salt, normalised_name(name))


def _id(salt: str, normalised: str) -> str:
    return derived_memory_id("entity", salt, normalised)


def block(name: str) -> str | None:
    """Return what a name shares with all its misspellings; None: it is only itself.

    Only names of several words are ever joined by likeness: Martin and Martina are two people.
    """
    return _block(normalised_name(name))


def _block(normalised: str) -> str | None:
    words = normalised.split(" ")
    if len(words) < 2 or normalised.startswith(("@", "[[")):
        return None
    return "".join(word[0] for word in words)


def is_misspelt(one: str, other: str) -> bool:
    """Tell whether two names are one with a slip of the pen.

    All words are equal but one, of at least four letters in its longer form, in which a letter is
    missing or two are swapped, neither at its beginning nor at its end: John and Jon Smith, Michael
    and Micheal Brown, but not Robert and Roberta, nor Dan and Don.
    """
    words, others = normalised_name(one).split(" "), normalised_name(other).split(" ")
    if len(words) != len(others) or len(words) < 2:
        return False
    different = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    if len(different) != 1:
        return False
    short, long = sorted(different[0], key=len)
    if len(long) < _LETTERS or not (short.isalpha() and long.isalpha()):
        return False
    if short[0] != long[0] or short[-1] != long[-1]:
        return False
    if len(short) + 1 == len(long):
        return any(long[:i] + long[i + 1 :] == short for i in range(1, len(long) - 1))
    return len(short) == len(long) and any(
        long[:i] + long[i + 1] + long[i] + long[i + 2 :] == short for i in range(1, len(long) - 2)
    )


@dataclass(frozen=True, slots=True)
class Name:
    """A name as it is stored.

    Attributes:
        name: With placeholders.
        block: See `block`.
    """

    name_id: str
    name: str = field(repr=False)
    block: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation of a memory, by its place in the memory's list."""

    position: int
    subject_id: str
    type: str = field(repr=False)
    object_id: str


@dataclass(frozen=True, slots=True)
class Links:
    """What one memory adds to the graph of names; all of it follows from the memory."""

    names: tuple[Name, ...]
    edges: tuple[Edge, ...]


def links(salt: str, entities: Iterable[str], relations: Sequence[Relation]) -> Links:
    """Return the names and edges of a memory.

    Args:
        salt: The user's.
        entities: The memory's, as given.
        relations: The memory's, with placeholders.
    """
    names: dict[str, Name] = {}

    def add(stored: str) -> str:
        normalised = normalised_name(stored)
        known = _id(salt, normalised)
        if known not in names:
            names[known] = Name(known, stored, _block(normalised))
        return known

    for entity in entities:
        add(escape(entity))
    edges = tuple(
        Edge(position, add(relation.subject), relation.type, add(relation.object))
        for position, relation in enumerate(relations)
    )
    return Links(tuple(names.values()), edges)


def joined(name: Name, others: Iterable[tuple[str, str]]) -> str | None:
    """Return the entity that a new name belongs to; None: one of its own.

    Args:
        name: The new one.
        others: Entity and name of what shares its block. Where several fit, none is taken: the
            name could be either's.
    """
    fitting = {entity_id for entity_id, other in others if is_misspelt(name.name, other)}
    return fitting.pop() if len(fitting) == 1 else None


def regrouped(groups: Mapping[str, str], apart: Collection[str]) -> dict[str, str]:
    """Return the entities of all names of one entity after some were taken out of it.

    An entity has the id of one of its own names, so that no two ever get the same.

    Args:
        groups: The entity of each of its names.
        apart: Ids of the names that become an entity of their own.
    """
    out = {name for name in groups if name in apart}
    stay = groups.keys() - out
    moves = dict.fromkeys(out, min(out)) if out and stay else {}
    if moves and not set(groups.values()) <= stay:
        moves |= dict.fromkeys(stay, min(stay))
    return moves


# Hops


def followed(mentions: Iterable[EntityMention], seeds: Mapping[str, float]) -> dict[str, float]:
    """Return the entities that are worth following from some memories, with their weight.

    An entity has the score of its best memory, times how rare it is. What many memories mention
    is not followed.

    Args:
        mentions: Of these memories.
        seeds: Score of each of them, 0 to 1.
    """
    weights: dict[str, float] = {}
    names: dict[str, str] = {}
    for mention in mentions:
        if not 1 < mention.memories <= HUB_MENTIONS:
            continue
        weight = seeds.get(mention.memory_id, 0.0) / (1 + math.log(mention.memories))
        weights[mention.entity_id] = max(weight, weights.get(mention.entity_id, 0.0))
        names[mention.entity_id] = min(mention.name, names.get(mention.entity_id, mention.name))
    best = sorted(weights, key=lambda each: (-_told(weights[each]), names[each], each))
    return {entity_id: weights[entity_id] for entity_id in best[:HOP_ENTITIES]}


def contested(weights: Mapping[str, float]) -> list[str]:
    """Return the memories of one weight of which a hop starts from some, but not from all."""
    if len(weights) <= HOP_SEEDS:
        return []
    ordered = sorted(map(_told, weights.values()), reverse=True)
    last, next_ = ordered[HOP_SEEDS - 1 : HOP_SEEDS + 1]
    return [each for each, weight in weights.items() if _told(weight) == last == next_]


def strongest(
    weights: Mapping[str, float], order: Mapping[str, tuple[float, str, str]]
) -> dict[str, float]:
    """Return the memories that a hop starts from.

    Args:
        weights: Of memories.
        order: What decides between those of one weight, of the contested ones.
    """
    none = (0.0, "", "")
    best = sorted(weights, key=lambda each: (-_told(weights[each]), order.get(each, none), each))
    return {memory_id: weights[memory_id] for memory_id in best[:HOP_SEEDS]}


def _told(weight: float) -> float:
    """Return as much of a weight as is not the noise of an engine."""
    return round(weight, _DIGITS)


def reached(mentions: Iterable[EntityMention], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the memories that entities lead to with their weight, 0 to 1.

    A memory that several entities lead to is worth more than one that a single one does.
    """
    found: dict[str, float] = {}
    for mention in mentions:
        weight = weights.get(mention.entity_id, 0.0)
        before = found.get(mention.memory_id, 0.0)
        found[mention.memory_id] = before + weight - before * weight
    return found
