"""Answers of models, as they come: the item is dropped, not the answer; the rest is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from memora.llm_backends._parse import Unusable, parse_answer
from memora.llm_backends._schema import strict_schema
from memora.schema.extraction_schema import (
    MAX_ITEMS,
    MAX_MEMORY_CHARS,
    ExtractedKind,
    MemoryComparisonResponse,
    MemoryExtractionResponse,
    SearchQueries,
    SelectedMemories,
)


def item(**fields: Any) -> dict[str, Any]:
    """Return a good item, with these fields changed; None as a field's value takes it away."""
    good = {
        "memory": "[[user]] likes tea",
        "msg_source_ids": [0],
        "memory_type": "preference",
        "importance": 0.5,
        "entities": ["tea"],
        "relations": [],
    }
    return {**good, **fields}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in item().items() if key != name}


def verdict(**fields: Any) -> dict[str, Any]:
    return {"candidate": 0, "verdict": "duplicate", "existing": 0, **fields}


def read(answer: Any) -> MemoryExtractionResponse:
    """Read an answer both ways in which it can come, which must agree."""
    found = MemoryExtractionResponse.model_validate_json(json.dumps(answer))
    parsed = parse_answer(json.dumps(answer), MemoryExtractionResponse)
    assert parsed == found
    return found


def test_a_good_answer_is_read_as_it_is() -> None:
    found = read({"memories": [item()]})
    (memory,) = found.memories
    assert memory.model_dump(mode="json") == item()
    assert found.rejected == {}


def test_l50_nothing_to_remember_is_an_answer() -> None:
    assert read({"memories": []}).memories == []
    assert MemoryComparisonResponse.model_validate({"verdicts": []}).verdicts == []
    assert SearchQueries.model_validate({"queries": []}).queries == []
    assert SelectedMemories.model_validate({"relevant": []}).relevant == []


ECHO = MemoryExtractionResponse.model_json_schema()
WHOLE: dict[str, Any] = {
    "L31 list": [],
    "L31 list of items": [item()],
    "L32 schema echo": ECHO,
    "L33 missing list": {},
    "L34 null list": {"memories": None},
    "L35 list of texts": {"memories": ["Jake likes tea"]},
    "L35 list of lists": {"memories": [["Jake likes tea", [0]]]},
    "L36 extra key": {"memories": [], "thoughts": "none"},
    "L36 extra key in every item": {"memories": [item(extra=1), item(extra=2)]},
    "L37 wrong case": {"Memories": []},
    "L37 wrong case in every item": {"memories": [{k.title(): v for k, v in item().items()}]},
    "L38 other language": {"erinnerungen": []},
    "L42 nested ids in every item": {"memories": [item(msg_source_ids=[[0]])]},
    "L43 null in every item": {"memories": [item(memory=None)]},
    "L46 mapping in every item": {"memories": [item(memory={"text": "x"})]},
    "field missing in every item": {"memories": [without("importance"), without("importance")]},
    "mapping instead of the list": {"memories": {"0": item()}},
    "text instead of the list": {"memories": "none"},
    "L09 error body": {"error": {"message": "overloaded", "type": "server_error"}},
    "L09 empty error body": {"error": None, "memories": []},
    "number": 5,
    "text": "nothing",
    "null": None,
}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE.keys())
def test_b89_an_answer_of_another_shape_is_refused(answer: Any) -> None:
    with pytest.raises(ValidationError):
        MemoryExtractionResponse.model_validate(answer)
    with pytest.raises(ValidationError):
        MemoryExtractionResponse.model_validate_json(json.dumps(answer))
    assert isinstance(parse_answer(json.dumps(answer), MemoryExtractionResponse), Unusable)


DROPPED: dict[str, dict[str, Any]] = {
    "L36 extra key": item(extra=1),
    "L37 wrong case": {"Memory": "x", **without("memory")},
    "L38 other language": {"erinnerung": "x", **without("memory")},
    "L41 bool as id": item(msg_source_ids=[True]),
    "L42 nested ids": item(msg_source_ids=[[0]]),
    "ids as text": item(msg_source_ids="0"),
    "L40 half an id": item(msg_source_ids=[0.5]),
    "L39 word as id": item(msg_source_ids=["zero"]),
    "L54 no ids": item(msg_source_ids=[]),
    "null ids": item(msg_source_ids=None),
    "L43 null": item(memory=None),
    "L44 empty": item(memory=""),
    "L44 blank": item(memory=" \n "),
    "L45 too long": item(memory="x" * 50_000),
    "L45 just too long": item(memory="x" * (MAX_MEMORY_CHARS + 1)),
    "L46 mapping": item(memory={"text": "x"}),
    "number": item(memory=5),
    "list": item(memory=["x"]),
    "missing memory": without("memory"),
    "missing ids": without("msg_source_ids"),
    "missing type": without("memory_type"),
    "missing importance": without("importance"),
    "importance too high": item(importance=1.5),
    "importance negative": item(importance=-0.1),
    "importance as bool": item(importance=True),
    "importance as word": item(importance="high"),
    "importance null": item(importance=None),
    "type null": item(memory_type=None),
    "type number": item(memory_type=5),
    "not an item": {},
}


@pytest.mark.parametrize("bad", DROPPED.values(), ids=DROPPED.keys())
def test_d6_a_bad_item_is_dropped_and_counted_and_the_rest_kept(bad: dict[str, Any]) -> None:
    found = read({"memories": [item(), bad, item(memory="second")]})
    assert [memory.memory for memory in found.memories] == ["[[user]] likes tea", "second"]
    assert sum(found.rejected.values()) == 1


@pytest.mark.parametrize("bad", [None, 5, "text", [], ["x"], True])
def test_l35_items_that_are_no_objects_are_dropped(bad: Any) -> None:
    found = read({"memories": [bad, item(), bad]})
    assert len(found.memories) == 1
    assert sum(found.rejected.values()) == 2


@pytest.mark.parametrize("name", ["L44 empty", "L44 blank", "L45 too long", "L54 no ids",
                                  "importance too high"])  # fmt: skip
def test_values_out_of_range_are_dropped_even_if_no_item_is_left(name: str) -> None:
    found = read({"memories": [DROPPED[name]]})
    assert found.memories == []
    assert sum(found.rejected.values()) == 1


TAKEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "L39 ids as texts": (item(msg_source_ids=["0", "12"]), {"msg_source_ids": [0, 12]}),
    "L40 whole floats": (item(msg_source_ids=[1.0]), {"msg_source_ids": [1]}),
    "importance as text": (item(importance="0.5"), {"importance": 0.5}),
    "importance 0": (item(importance=0), {"importance": 0}),
    "importance 1": (item(importance=1), {"importance": 1}),
    "blanks around": (item(memory="  tea\n"), {"memory": "tea"}),
    "full length": (item(memory="x" * MAX_MEMORY_CHARS), {"memory": "x" * MAX_MEMORY_CHARS}),
    "type in capitals": (item(memory_type="FACT"), {"memory_type": "fact"}),
    "L38 type in another language": (item(memory_type="Vorliebe"), {"memory_type": "other"}),
    "unknown type": (item(memory_type="hobby"), {"memory_type": "other"}),
    "L67 other script": (item(memory="هو يحب الشاي"), {"memory": "هو يحب الشاي"}),
    "L27 NUL": (item(memory="a\x00b"), {"memory": "a\x00b"}),
    "L51 L53 any number": (
        item(msg_source_ids=[-1, 10**9, 10**30]),
        {"msg_source_ids": [-1, 10**9, 10**30]},
    ),
    "L55 repeated": (item(msg_source_ids=[0, 0]), {"msg_source_ids": [0, 0]}),
}


@pytest.mark.parametrize(("given", "expected"), TAKEN.values(), ids=TAKEN.keys())
def test_what_can_only_mean_one_thing_is_taken(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = read({"memories": [given]})
    assert found.rejected == {}
    (memory,) = found.memories
    assert {**item(), **expected} == memory.model_dump(mode="json")


def test_l25_a_lone_surrogate_is_no_text() -> None:
    answer = {"memories": [item(), item(memory="half \ud83d of it")]}
    found = MemoryExtractionResponse.model_validate(answer)
    assert [memory.memory for memory in found.memories] == ["[[user]] likes tea"]
    assert sum(found.rejected.values()) == 1
    with pytest.raises(ValidationError):
        MemoryExtractionResponse.model_validate_json(json.dumps(answer))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_l22_l30_numbers_that_are_none_are_refused(number: str) -> None:
    good = json.dumps(item())
    bad = good.replace("0.5", number)
    found = MemoryExtractionResponse.model_validate_json(f'{{"memories": [{good}, {bad}]}}')
    assert len(found.memories) == 1
    assert sum(found.rejected.values()) == 1


def test_l49_a_flood_is_cut_and_counted() -> None:
    found = read({"memories": [item(memory=f"m{n}") for n in range(5000)]})
    assert [memory.memory for memory in found.memories] == [f"m{n}" for n in range(MAX_ITEMS)]
    assert found.rejected == {"too_many": 5000 - MAX_ITEMS}


def test_counts_are_by_reason_and_say_nothing_of_the_content() -> None:
    found = read({"memories": [item(), *[item(memory="canary" * 1000)] * 2, item(extra="canary")]})
    assert sorted(found.rejected.values()) == [1, 2]
    assert "canary" not in json.dumps(found.rejected)


def test_the_counts_of_two_answers_are_their_own() -> None:
    first = read({"memories": [item(), item(memory="")]})
    assert sum(first.rejected.values()) == 1
    assert read({"memories": []}).rejected == {}


BAD_VERDICTS: dict[str, Any] = {
    "bool as candidate": verdict(candidate=True),
    "bool as existing": verdict(existing=False),
    "unknown verdict": verdict(verdict="maybe"),
    "no candidate": {"verdict": "new", "existing": None},
    "no existing": {"candidate": 0, "verdict": "new"},
    "extra": verdict(reason="because"),
    "existing as list": verdict(existing=[0]),
    "existing as id": verdict(existing="8f4a7c1e-6d0b-5e55-9b1a-4d2f6c3e9a70"),
    "no object": "duplicate",
}


@pytest.mark.parametrize("bad", BAD_VERDICTS.values(), ids=BAD_VERDICTS.keys())
def test_d6_a_bad_verdict_is_dropped_and_counted(bad: Any) -> None:
    answer = {"verdicts": [bad, verdict(candidate=1), verdict(candidate=2)]}
    found = MemoryComparisonResponse.model_validate_json(json.dumps(answer))
    assert [v.candidate for v in found.verdicts] == [1, 2]
    assert sum(found.rejected.values()) == 1


@pytest.mark.parametrize("bad", BAD_VERDICTS.values(), ids=BAD_VERDICTS.keys())
def test_b89_verdicts_of_another_shape_are_refused(bad: Any) -> None:
    with pytest.raises(ValidationError):
        MemoryComparisonResponse.model_validate({"verdicts": [bad, bad]})


@pytest.mark.parametrize(
    "answer", [[], {}, {"verdicts": None}, {"verdicts": {}}, {"verdicts": [], "x": 1}, None]
)
def test_b89_a_comparison_of_another_shape_is_refused(answer: Any) -> None:
    with pytest.raises(ValidationError):
        MemoryComparisonResponse.model_validate(answer)


def test_d6_search_queries_are_read_one_by_one() -> None:
    found = SearchQueries.model_validate({"queries": ["tea", None, 5, "", ["x"], "cat"]})
    assert found.queries == ["tea", "", "cat"]
    assert sum(found.rejected.values()) == 3
    for bad in ({}, {"queries": None}, {"queries": "tea"}, {"queries": [5]}, {"query": ["tea"]}):
        with pytest.raises(ValidationError):
            SearchQueries.model_validate(bad)


def test_d6_selected_numbers_are_read_one_by_one() -> None:
    found = SelectedMemories.model_validate({"relevant": [0, True, "1", 2.0, 0.5, None, -1]})
    assert found.relevant == [0, 1, 2, -1]
    assert sum(found.rejected.values()) == 3
    for bad in ({}, {"relevant": None}, {"relevant": 0}, {"relevant": [True]}, [0]):
        with pytest.raises(ValidationError):
            SelectedMemories.model_validate(bad)


SCHEMAS = [MemoryExtractionResponse, MemoryComparisonResponse, SearchQueries, SelectedMemories]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_b82_what_the_provider_is_told_is_strict(schema: type[BaseModel]) -> None:
    told = strict_schema(schema)
    assert told is not None
    assert told["additionalProperties"] is False
    assert told["required"] == list(told["properties"])
    for part in told.get("$defs", {}).values():
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])


def test_the_model_is_told_the_kinds_and_the_meaning_of_fields() -> None:
    text = json.dumps(MemoryExtractionResponse.model_json_schema())
    assert all(kind.value in text for kind in ExtractedKind)
    assert "[[user]]" in text
    assert "contradiction" in json.dumps(MemoryComparisonResponse.model_json_schema())
