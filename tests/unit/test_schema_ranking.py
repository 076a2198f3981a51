"""What callers may set of the ranking."""

from __future__ import annotations

from typing import Any

import pytest

from memora import RankingConfig
from memora.errors import InvalidInputError
from memora.schema.ranking import Fusion

REFUSED: list[tuple[Any, str]] = [
    ({"fusion": "best"}, "ranking.fusion"),
    ({"dense_weight": 1.1}, "ranking.dense_weight"),
    ({"dense_weight": True}, "ranking.dense_weight"),
    ({"dense_weight": float("nan")}, "ranking.dense_weight"),
    ({"diversity": -0.1}, "ranking.diversity"),
    ({"speaker_weight": "0.1"}, "ranking.speaker_weight"),
    ({"time_weight": 11}, "ranking.time_weight"),
    ({"recency_half_life_days": 0}, "ranking.recency_half_life_days"),
    ({"collapse_duplicates": 1}, "ranking.collapse_duplicates"),
    ({"type_weights": {"rule": 2}}, "ranking.type_weights[rule]"),
    ({"type_weights": {"": 0.1}}, "ranking.type_weights"),
    ({"type_weights": ["rule"]}, "ranking.type_weights"),
    ({"weight": 1}, "ranking.weight"),
    ({"my secret": 1}, "ranking"),
    ({"a" * 32: 1}, "ranking"),
    ({"type_weights": {"my secret": 2}}, "ranking.type_weights"),
    (3, "ranking"),
]


@pytest.mark.parametrize(("given", "field"), REFUSED)
def test_b44_a_malformed_ranking_is_refused_by_name(given: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        RankingConfig.parse(given)
    assert caught.value.field == field


def test_a_mapping_changes_what_it_names() -> None:
    own = RankingConfig(time_weight=0.2)
    assert RankingConfig.parse(None) == RankingConfig()
    assert RankingConfig.parse(None, own) is own
    assert RankingConfig.parse(own) is own
    changed = RankingConfig.parse({"fusion": "rrf"}, own)
    assert (changed.fusion, changed.time_weight) == (Fusion.RRF, 0.2)


def test_a_configuration_keeps_no_callers_mapping() -> None:
    types = {"rule": 0.1}
    config = RankingConfig(type_weights=types)
    types["rule"] = 9.0
    assert config.type_weights == {"rule": 0.1}
