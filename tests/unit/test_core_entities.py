"""Which names are one, what they link, and what a hop along them is worth."""

from __future__ import annotations

import pytest

from memora.core import entities
from memora.core.placeholders import user_span
from memora.schema.entities import EntityMention
from memora.schema.models import Relation

SAME = [
    ("Anna", "ANNA"),
    ("Zo\u00eb", "zoe"),
    ("Zo\u00eb", "Zoe\u0308"),
    ("O'Brien", "O\u2019Brien"),
    ("Anna's", "Anna"),
    ("Jean-Luc", "Jean Luc"),
    ("U.S.A.", "USA"),
    ("  New   York ", "New York"),
    ("Stra\u00dfe", "STRASSE"),
]
OTHER = [
    ("C++", "C#"),
    ("C", "C++"),
    ("@anna", "Anna"),
    ("\u0915\u093f", "\u0915"),
    (user_span("a"), user_span("b")),
    (user_span("A"), user_span("a")),
    ("\U0001f600", "\U0001f601"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert entities.normalised_name(one) == entities.normalised_name(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_names_are_not(one: str, other: str) -> None:
    assert entities.normalised_name(one) != entities.normalised_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jon Snow", "John Snow"),
        ("Michael Brown", "Micheal Brown"),
        ("Phillip Glass", "Philip Glass"),
        ("Acme Corporation", "Acme Corportion"),
    ],
)
def test_a_slip_of_the_pen_is_the_same_name(one: str, other: str) -> None:
    assert entities.is_misspelt(one, other)
    assert entities.is_misspelt(other, one)
    assert entities.block(one) == entities.block(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jon", "John"),
        ("Robert Smith", "Roberta Smith"),
        ("Dan Lee", "Don Lee"),
        ("Mark Lee", "Mary Lee"),
        ("Anna Smith", "Hanna Smith"),
        ("Jon Snow", "John Snows"),
        ("Room 1234 A", "Room 1324 A"),
        ("Jo Lee", "Joe Lee"),
        ("John Snow", "John Snow"),
        ("John Snow", "Snow John"),
    ],
)
def test_what_may_be_somebody_else_is(one: str, other: str) -> None:
    assert not entities.is_misspelt(one, other)


def test_a_name_that_could_be_two_is_neither() -> None:
    name = entities.Name("n", "Jon Snow", "js")
    assert entities.joined(name, [("a", "John Snow"), ("a", "Jonn Snow")]) == "a"
    assert entities.joined(name, [("a", "John Snow"), ("b", "Joan Snow")]) is None
    assert entities.joined(name, [("a", "Jane Snow")]) is None


def test_links_follow_from_names_and_relations_alone() -> None:
    works = Relation(subject=user_span("u"), type="works_at", object="Acme")
    links = entities.links("salt", ["ACME", "Anna", "anna"], [works])
    assert [name.name for name in links.names] == ["ACME", "Anna", user_span("u")]
    (edge,) = links.edges
    assert (edge.subject_id, edge.type, edge.object_id) == (
        links.names[2].name_id, "works_at", links.names[0].name_id,
    )  # fmt: skip
    assert entities.links("salt", ["ACME", "Anna", "anna"], [works]) == links
    others = entities.links("other", ["ACME", "Anna"], [])
    assert not {n.name_id for n in others.names} & {n.name_id for n in links.names}


def test_a_literal_span_of_a_caller_is_no_placeholder() -> None:
    (name,) = entities.links("salt", [user_span("other")], []).names
    assert name.name == "[[=u:other]]"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Works At", "works_at"),
        ("is-sister_of!", "is_sister_of"),
        ("***", ""),
        ("x" * 99, "x" * 60),
    ],
)
def test_a_relation_has_a_plain_type(given: str, kept: str) -> None:
    assert entities.relation_type(given) == kept


def test_names_that_go_apart_never_share_an_id() -> None:
    groups = dict.fromkeys("abc", "a")
    assert entities.regrouped(groups, {"c"}) == {"c": "c"}
    assert entities.regrouped(groups, {"a"}) == {"a": "a", "b": "b", "c": "b"}
    assert entities.regrouped(groups, {"a", "b", "c"}) == {}
    assert entities.regrouped(groups, set()) == {}
    lost = dict.fromkeys("bc", "a")
    assert entities.regrouped(lost, {"c"}) == {"b": "b", "c": "c"}


def test_a_hop_follows_what_is_rare_from_what_is_good() -> None:
    mentions = [
        EntityMention("m", "rare", 2),
        EntityMention("m", "common", 40),
        EntityMention("m", "hub", entities.HUB_MENTIONS + 1),
        EntityMention("m", "own", 1),
        EntityMention("weak", "rare", 2),
    ]
    weights = entities.followed(mentions, {"m": 1.0, "weak": 0.1})
    assert list(weights) == ["rare", "common"]
    assert 0 < weights["common"] < weights["rare"] < 1
    many = [EntityMention("m", f"e{i:02}", 2) for i in range(50)]
    assert len(entities.followed(many, {"m": 1.0})) == entities.HOP_ENTITIES


def test_a_memory_that_two_names_lead_to_is_worth_more() -> None:
    mentions = [EntityMention("a", "x"), EntityMention("a", "y"), EntityMention("b", "x")]
    found = entities.reached(mentions, {"x": 0.5, "y": 0.5})
    assert found == {"a": 0.75, "b": 0.5}


def test_of_entities_of_one_weight_names_decide_which_are_followed() -> None:
    """Ids of entities differ between stores, and so would what is followed."""
    count = entities.HOP_ENTITIES + 1
    names = [f"name {i:02}" for i in range(count)]
    found: set[tuple[str, ...]] = set()
    for ids in (range(count), range(count, 0, -1)):
        by_id = {f"{i:03}": name for i, name in zip(ids, names, strict=True)}
        mentions = [EntityMention("m", each, 2, name) for each, name in by_id.items()]
        found.add(tuple(by_id[each] for each in entities.followed(mentions, {"m": 1.0})))
    assert found == {tuple(names[:-1])}


def test_a_hop_starts_from_the_newest_of_equal_memories() -> None:
    """What is read to tell them apart are only those of which some are left out."""
    tied = {f"m{i}": 0.5 + (i % 2) * 1e-9 for i in range(entities.HOP_SEEDS)}
    weights = {"best": 0.9} | tied | {"worst": 0.1}
    assert sorted(entities.contested(weights)) == sorted(tied)
    order = {each: (-float(i), "", each) for i, each in enumerate(tied)}
    assert list(entities.strongest(weights, order)) == ["best", *reversed([*tied][1:])]
    assert entities.contested(tied) == []
    assert entities.contested({"best": 0.9, **tied, "m7": 0.4}) == []
    assert entities.strongest({"b": 0.1, "a": 0.2}, {}) == {"a": 0.2, "b": 0.1}
