"""Fusion and order of search hits."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memora.core.ranking import (
    Preferences,
    above_floor,
    fuse,
    restore_order,
    settled,
    within_budget,
)
from memora.schema.index import Hit, ListLimits, QueryHits
from memora.schema.models import Memory
from memora.schema.ranking import Fusion, RankingConfig
from memora.schema.recall import RankedId
from memora.schema.span import TimeSpan
from tests.unit.kit import DAY, T0, memory, quick


def hit(memory_id: str, score: float) -> Hit:
    return Hit(memory_id, "acme", "jake", None, score)


def hits(**scores: float) -> tuple[Hit, ...]:
    return tuple(hit(memory_id, score) for memory_id, score in scores.items())


def lists(low: float, high: float) -> Any:
    scores = st.one_of(st.sampled_from([low, high, high / 2]), st.floats(low, high))
    return st.dictionaries(st.sampled_from("abcdefgh"), scores, max_size=6).map(
        lambda found: hits(**found)
    )


queries = st.builds(QueryHits, dense=lists(-1, 1), lexical=lists(0, 30))
batches = st.lists(queries, max_size=4)


@settings(quick, max_examples=200)
@given(batches, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from(Fusion))
def test_i14_every_memory_comes_once_in_one_order(
    found: list[QueryHits], dense: float, fusion: Fusion
) -> None:
    ranked = fuse(found, RankingConfig(dense_weight=dense, fusion=fusion))
    ids = {h.memory_id for batch in found for h in (*batch.dense, *batch.lexical)}
    assert sorted(r.memory_id for r in ranked) == sorted(ids)
    assert ranked == sorted(ranked, key=lambda r: (-r.score, r.memory_id))
    assert all(0 <= r.score <= 1 for r in ranked)
    for r in ranked:
        raw = [h.score for batch in found for h in batch.dense if h.memory_id == r.memory_id]
        assert r.dense == max(raw, default=None)


@settings(quick, max_examples=200)
@given(batches, st.integers(0, 99))
def test_the_order_of_queries_and_of_equal_hits_does_not_matter(
    found: list[QueryHits], seed: int
) -> None:
    random = Random(seed)
    shuffled = [
        QueryHits(
            tuple(random.sample(batch.dense, len(batch.dense))),
            tuple(random.sample(batch.lexical, len(batch.lexical))),
        )
        for batch in found
    ]
    random.shuffle(shuffled)
    assert fuse(shuffled) == fuse(found)


@quick
@given(queries)
def test_b41_a_query_asked_twice_counts_once(found: QueryHits) -> None:
    assert fuse([found, found]) == fuse([found])


@quick
@given(queries)
def test_a_better_raw_score_is_never_worse(found: QueryHits) -> None:
    scores = {r.memory_id: r.score for r in fuse([QueryHits(dense=found.dense)])}
    for one in found.dense:
        for other in found.dense:
            if one.score > other.score:
                assert scores[one.memory_id] >= scores[other.memory_id]


@quick
@given(queries)
def test_explained_parts_add_up(found: QueryHits) -> None:
    raw = {h.memory_id: h.score for h in found.dense}
    raw_lexical = {h.memory_id: h.score for h in found.lexical}
    for r in fuse([found]):
        assert r.parts["dense"] + r.parts["lexical"] == r.score
        assert r.parts.get("dense_raw") == raw.get(r.memory_id)
        assert r.parts.get("lexical_raw") == raw_lexical.get(r.memory_id)


def order(*found: QueryHits, dense: float = 0.5) -> list[str]:
    return [r.memory_id for r in fuse(found, RankingConfig(dense_weight=dense))]


def test_nothing_found_is_nothing() -> None:
    assert fuse([]) == []
    assert fuse([QueryHits(), QueryHits()]) == []


@pytest.mark.parametrize(
    ("leg", "scores"), [("dense", [1.0, 0.5, 0.0]), ("lexical", [1.0, 5 / 9, 1 / 9])]
)
def test_one_empty_list_leaves_the_decision_to_the_other(leg: str, scores: list[float]) -> None:
    found = QueryHits(**{leg: hits(a=0.9, b=0.5, c=0.1)})
    assert order(found) == ["a", "b", "c"]
    assert [r.score for r in fuse([found])] == pytest.approx(scores)


def test_a_word_in_common_counts_also_where_another_memory_has_more() -> None:
    """In a list of two the second is not as if it had none."""
    found = QueryHits(dense=hits(a=0.3, b=0.1), lexical=hits(b=6.8, a=6.5))
    assert order(found) == ["a", "b"]


def test_similarities_that_are_all_alike_say_little() -> None:
    found = QueryHits(dense=hits(a=0.401, b=0.4), lexical=hits(b=5, a=4))
    assert order(found) == ["b", "a"]


def test_equal_scores_are_ordered_by_id() -> None:
    assert order(QueryHits(dense=hits(c=0.5, a=0.5, b=0.5))) == ["a", "b", "c"]
    assert [r.score for r in fuse([QueryHits(lexical=hits(c=7, a=7))])] == [1.0, 1.0]


@pytest.mark.parametrize("fusion", Fusion)
def test_ids_do_not_choose_at_the_end_of_a_list_that_was_cut(fusion: Fusion) -> None:
    """Of what ties there, some is in the list by its id, which is another one in another store."""
    found: list[dict[str, float]] = []
    for tied in ("c", "d"):
        lexical = (*hits(a=9, b=5), hit(tied, 1), hit("e", 1.00001))
        whole = QueryHits(dense=hits(a=0.9, b=0.7, c=0.5, d=0.5), lexical=lexical)
        config = RankingConfig(fusion=fusion)
        found.append({r.memory_id: r.score for r in fuse([whole], config, limits=ListLimits(4, 4))})
        uncut = fuse([whole], config, limits=ListLimits(5, 5))
        assert fuse([whole], config) == uncut
        assert "e" in {r.memory_id for r in uncut}
        assert "e" not in found[-1]
    assert found[0] == found[1]


def test_words_that_too_many_have_leave_the_decision_to_the_other_list() -> None:
    dense, lexical = hits(a=0.9, c=0.5), hits(b=3, c=3)
    found = fuse([QueryHits(dense=dense, lexical=lexical)], limits=ListLimits(2, 2))
    assert found == fuse([QueryHits(dense=dense)])
    alone = [QueryHits(lexical=lexical)]
    assert fuse(alone, limits=ListLimits(2, 2)) == fuse(alone)
    equal = [QueryHits(dense=hits(a=0.5, b=0.5))]
    for fusion in Fusion:
        config = RankingConfig(fusion=fusion)
        assert fuse(equal, config, limits=ListLimits(2, 2)) == fuse(equal, config)


def test_equal_scores_have_one_rank() -> None:
    found = fuse([QueryHits(dense=hits(a=0.9, b=0.5, c=0.5))], RankingConfig(fusion=Fusion.RRF))
    assert found[0].score > found[1].score == found[2].score


def test_of_equal_memories_the_newest_is_first_then_the_text_decides() -> None:
    """Ids, which two stores do not share, come last; what an engine's noise tells is equal."""
    old = memory("a", content_hash="1", score=None)
    twins = [memory(each, content_hash="2", obtained_at=T0 + DAY) for each in ("d", "c")]
    other = memory("b", content_hash="3", obtained_at=T0 + DAY)
    found = {each.memory_id: each for each in (old, *twins, other)}
    scores = [ranked("a", 0.5 + 1e-9), ranked("b", 0.5), ranked("c", 0.5), ranked("d", 0.5 - 1e-9)]
    assert [each.memory_id for each in restore_order(found, scores)] == ["c", "d", "b", "a"]


def test_one_hit_is_the_best_there_is() -> None:
    (only,) = fuse([QueryHits(dense=hits(a=0.01))])
    assert (only.score, only.dense) == (1.0, 0.01)


def test_both_legs_count_by_their_weight() -> None:
    found = QueryHits(dense=hits(a=0.9, b=0.1), lexical=hits(b=9, a=1))
    assert order(found, dense=0.6) == ["a", "b"]
    assert order(found, dense=0.4) == ["b", "a"]
    assert order(found) == ["a", "b"]


def test_b40_no_absolute_cut_drops_weak_hits() -> None:
    weak = {f"m{n}": 0.001 * n for n in range(50)}
    assert len(fuse([QueryHits(dense=hits(**weak))])) == 50


def ranked(memory_id: str, score: float, dense: float | None = None) -> RankedId:
    return RankedId(memory_id, score, dense, {"dense": score})


def test_b57_resolved_memories_come_in_rank_order() -> None:
    resolved = {name: memory(name.upper()) for name in "abc"}
    found = restore_order(resolved, [ranked("b", 0.9), ranked("a", 0.5), ranked("c", 0.1)])
    assert [(m.memory_id, m.score) for m in found] == [("B", 0.9), ("A", 0.5), ("C", 0.1)]
    assert all(m.score_parts is None for m in found)


def test_versions_of_one_statement_count_once_with_their_best_score() -> None:
    head = memory("head")
    resolved = {"old": head, "head": head, "x": memory("x")}
    found = restore_order(resolved, [ranked("old", 0.9), ranked("x", 0.5), ranked("head", 0.1)])
    assert [(m.memory_id, m.score) for m in found] == [("head", 0.9), ("x", 0.5)]


def test_i14_ties_are_ordered_by_the_id_that_is_returned() -> None:
    resolved = {"a": memory("z"), "b": memory("y")}
    found = restore_order(resolved, [ranked("a", 0.5), ranked("b", 0.5)])
    assert [m.memory_id for m in found] == ["y", "z"]


def test_b58_exclusions_hold_after_resolution() -> None:
    resolved = {"old": memory("head"), "x": memory("x")}
    hit_list = [ranked("old", 0.9), ranked("x", 0.5)]
    assert [m.memory_id for m in restore_order(resolved, hit_list, {"head"})] == ["x"]
    assert [m.memory_id for m in restore_order(resolved, hit_list, {"old"})] == ["head", "x"]


def test_what_the_graph_does_not_know_drops_out() -> None:
    assert restore_order({}, [ranked("a", 0.9)]) == []
    assert restore_order({"a": memory("a")}, []) == []


def test_an_explained_answer_leaves_the_stored_memory_alone() -> None:
    source = memory("a")
    (found,) = restore_order({"a": source}, [ranked("a", 0.9)], explain=True)
    assert found.score_parts == {"dense": 0.9}
    assert (source.score, source.score_parts) == (None, None)


FLOOR = [
    (ranked("near", 0.9, 0.8), True),
    (ranked("at", 0.9, 0.5), True),
    (ranked("far", 0.9, 0.49), False),
    (ranked("words", 0.9, 0.1), True),
    (ranked("lexical", 0.9, None), False),
]


def test_b40_the_floor_is_on_raw_similarity() -> None:
    given_ = [item for item, _kept in FLOOR]
    kept = above_floor(given_, 0.5, lambda memory_id: memory_id == "words")
    assert kept == [item for item, stays in FLOOR if stays]
    assert above_floor(given_, None, lambda _id: False) == given_
    assert above_floor(given_, 0.0, lambda _id: False) == given_[:4]


def texts(*lengths: int) -> list[Memory]:
    return [
        memory(f"m{n}", "x" * length, obtained_at=T0 + n * DAY) for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(
    ("limit", "budget", "kept"),
    [
        (9, None, ["m0", "m1", "m2", "m3"]),
        (2, None, ["m0", "m1"]),
        (9, 0, []),
        (9, 4, ["m0"]),
        (9, 5, ["m0", "m2"]),
        (9, 7, ["m0", "m2", "m3"]),
        (2, 7, ["m0"]),
        (9, 100, ["m0", "m1", "m2", "m3"]),
    ],
)
def test_answers_are_cut_to_limit_and_budget(
    limit: int, budget: int | None, kept: list[str]
) -> None:
    found = within_budget(texts(4, 9, 1, 2), limit, budget, len)
    assert [m.memory_id for m in found] == kept


@quick
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 6), st.integers(0, 30))
def test_a_budget_is_never_exceeded(lengths: list[int], limit: int, budget: int) -> None:
    given_ = texts(*lengths)
    kept = within_budget(given_, limit, budget, len)
    assert sum(len(m.memory) for m in kept) <= budget
    assert len(kept) <= limit
    ids = [m.memory_id for m in kept]
    assert ids == [m.memory_id for m in given_ if m.memory_id in ids]


SPAN = TimeSpan(T0, T0 + DAY)


def preferring(times: tuple[TimeSpan, ...] = (), **weights: Any) -> Preferences:
    return Preferences(RankingConfig(**weights), now=T0 + 30 * DAY, times=times)


GAINED: list[tuple[dict[str, Any], dict[str, Any], float]] = [
    ({"recency_weight": 1.0}, {"obtained_at": T0}, 0.5),
    ({"recency_weight": 1.0, "recency_half_life_days": 15}, {"obtained_at": T0}, 0.25),
    ({"recency_weight": 1.0}, {"obtained_at": T0 + 99 * DAY}, 1.0),
    ({"importance_weight": 0.5}, {"importance": 0.4}, 0.2),
    ({"usage_weight": 1.0}, {"access_count": 5}, 0.5),
    ({"pinned_weight": 0.3}, {"pinned": True}, 0.3),
    ({"type_weights": {"rule": -0.2}}, {"memory_type": "rule"}, -0.2),
    ({"type_weights": {"rule": -0.2}}, {"memory_type": "fact"}, 0.0),
    ({"times": (SPAN,)}, {"obtained_at": T0}, 0.1),
    ({"times": (SPAN,)}, {"obtained_at": T0 + 2 * DAY}, 0.05),
    ({"times": (SPAN,)}, {"obtained_at": T0 - 2 * DAY}, 0.025),
    ({}, {"importance": 1.0, "pinned": True}, 0.0),
]


@pytest.mark.parametrize(("config", "fields", "gained"), GAINED)
def test_what_is_known_of_a_memory_counts_as_configured(
    config: dict[str, Any], fields: dict[str, Any], gained: float
) -> None:
    parts = preferring(**config).parts(memory("a", **fields))
    assert sum(parts.values()) == pytest.approx(gained)
    assert len(parts) == (1 if config else 0)


def test_scores_stay_within_one_and_parts_add_up() -> None:
    preferences = preferring(recency_weight=1.0, importance_weight=1.0)
    best = memory("a", obtained_at=T0 + 30 * DAY, importance=1.0)
    (found,) = restore_order({"a": best}, [ranked("a", 1.0)], preferences=preferences, explain=True)
    assert found.score == pytest.approx(1.0)
    assert found.score_parts == pytest.approx(
        {"dense": 1 / 3, "recency": 1 / 3, "importance": 1 / 3}
    )


def test_the_rest_is_looked_at_while_it_can_gain_enough() -> None:
    found = [memory("a", score=0.9), memory("b", score=0.5)]
    nothing, much = preferring(), preferring(pinned_weight=1.0)
    assert settled(found, [], 5, nothing)
    assert settled(found, [ranked("c", 0.4)], 2, nothing)
    assert not settled(found, [ranked("c", 0.5)], 2, nothing)
    assert not settled(found, [ranked("c", 0.5 - 1e-9)], 2, nothing)
    assert not settled(found, [ranked("c", 0.4)], 3, nothing)
    assert not settled(found, [ranked("c", 0.4)], 2, much)
    assert settled(found, [ranked("c", 0.4)], 1, much)
