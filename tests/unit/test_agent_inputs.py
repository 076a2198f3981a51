"""Arguments of the public calls: what is taken, and the name of what is not."""

from __future__ import annotations

from typing import Any

import pytest

from memora.agent.inputs import Defaults, Transcripts, save_request, search_of
from memora.core.messages import Transcript
from memora.errors import InvalidInputError
from memora.schema.recall import MemoryFilters
from memora.schema.scope import Scope
from tests.unit.kit import DAY, T0

SCOPE = Scope("acme", "jake", "jenny")
MESSAGES = [{"role": "user", "content": "I moved"}]


def search(defaults: Defaults | None = None, **given: Any) -> Any:
    arguments: dict[str, Any] = {
        "queries": ["tea"],
        "exclude": frozenset(),
        "limit": None,
        "filters": None,
        "as_of": None,
        "min_similarity": None,
        "explain": False,
        **given,
    }
    queries, exclude = arguments.pop("queries"), arguments.pop("exclude")
    return search_of(defaults or Defaults(), SCOPE, queries, exclude, **arguments)


def test_a_search_takes_its_defaults() -> None:
    found = search()
    assert (found.scope, found.queries, found.limit) == (SCOPE, ("tea",), 12)
    assert (found.filters, found.exclude, found.as_of) == (MemoryFilters(), frozenset(), None)
    assert (found.min_similarity, found.explain) == (None, False)
    tuned = Defaults(limit=3, min_similarity=0.4)
    assert (search(tuned).limit, search(tuned).min_similarity) == (3, 0.4)
    assert (search(tuned, limit=5, min_similarity=0).limit) == 5
    assert search(tuned, min_similarity=0).min_similarity == 0.0


def test_a_search_takes_what_is_given() -> None:
    found = search(
        queries=("a", "b"),
        exclude={"m1"},
        limit=1000,
        filters={"tags": ["x"]},
        as_of=T0.replace(tzinfo=None),
        explain=True,
    )
    assert (found.queries, found.exclude, found.limit) == (("a", "b"), frozenset({"m1"}), 1000)
    assert found.filters == MemoryFilters(tags=("x",))
    assert found.as_of == T0.replace(tzinfo=None).astimezone(found.as_of.tzinfo)
    assert search(queries=[]).queries == ()
    assert search(queries=["q"] * 16).queries == ("q",) * 16
    for exclude in (None, [], ["m1", "missing"], ("m1",), (m for m in ["m1"]), {"m1": 1}.keys()):
        assert search(exclude=exclude).exclude <= {"m1", "missing"}


BAD_SEARCHES: list[tuple[str, Any, str]] = [
    ("queries", "tea", "search_queries"),
    ("queries", None, "search_queries"),
    ("queries", 5, "search_queries"),
    ("queries", {"tea": 1}, "search_queries"),
    ("queries", ["q"] * 17, "search_queries"),
    ("queries", ["tea", ""], "search_queries[1]"),
    ("queries", [None], "search_queries[0]"),
    ("queries", ["\ud800"], "search_queries[0]"),
    ("exclude", "m1", "filter_out_memory_ids_set"),
    ("exclude", 5, "filter_out_memory_ids_set"),
    ("exclude", [5], "filter_out_memory_ids_set"),
    ("exclude", {"m1": 1}, "filter_out_memory_ids_set"),
    ("limit", 0, "limit"),
    ("limit", 1001, "limit"),
    ("limit", -1, "limit"),
    ("limit", True, "limit"),
    ("limit", "5", "limit"),
    ("filters", 5, "filters"),
    ("filters", {"x": 1}, "filters.x"),
    ("as_of", "2026-01-01", "as_of"),
    ("as_of", T0.date(), "as_of"),
    ("min_similarity", 2, "min_similarity"),
    ("min_similarity", True, "min_similarity"),
    ("min_similarity", float("nan"), "min_similarity"),
    ("explain", 1, "explain"),
    ("explain", None, "explain"),
]


@pytest.mark.parametrize(("name", "value", "field"), BAD_SEARCHES)
def test_b44_a_malformed_search_is_refused_by_name(name: str, value: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        search(**{name: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"limit": 0}, "recall_limit"), ({"min_similarity": -1}, "min_similarity")],
)
def test_malformed_defaults_are_refused_by_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Defaults(**fields)
    assert caught.value.field == name


def save(**given: Any) -> Any:
    arguments: dict[str, Any] = {
        "interaction_id": None,
        "current_datetime": None,
        "extract_agent_memories": False,
        "update_across_agents": True,
        "max_retries": 3,
        **given,
    }
    return save_request(T0, SCOPE, Transcript(MESSAGES), **arguments)


def test_b46_a_save_takes_its_defaults_at_the_time_of_the_call() -> None:
    found = save()
    assert (found.at, found.scope, found.max_retries) == (T0, SCOPE, 3)
    assert (found.about_agent, found.across_agents) == (False, True)
    assert (found.title, found.metadata, found.expected_revision) == (None, None, None)
    assert save(current_datetime=T0 - DAY).at == T0 - DAY


def test_a_save_takes_what_is_given() -> None:
    found = save(
        interaction_id="cafe\u0301",
        external_id="ext",
        title="Title",
        metadata={"k": [1]},
        process_id="proc",
        expected_revision=0,
        idempotency_key="key",
        max_retries=0,
        extract_agent_memories=True,
        update_across_agents=False,
    )
    assert (found.interaction_id, found.external_id) == ("caf\u00e9", "ext")
    assert (found.title, found.metadata, found.process_id) == ("Title", {"k": [1]}, "proc")
    assert (found.expected_revision, found.idempotency_key, found.max_retries) == (0, "key", 0)
    assert (found.about_agent, found.across_agents) == (True, False)


BAD_SAVES: list[tuple[str, Any]] = [
    ("interaction_id", ""),
    ("interaction_id", ["x"]),
    ("external_id", 5),
    ("title", ""),
    ("title", "x" * 257),
    ("metadata", []),
    ("metadata", {"k": object()}),
    ("process_id", " "),
    ("current_datetime", "now"),
    ("current_datetime", 5),
    ("extract_agent_memories", 1),
    ("update_across_agents", None),
    ("max_retries", -1),
    ("max_retries", 21),
    ("max_retries", True),
    ("expected_revision", -1),
    ("expected_revision", "1"),
    ("expected_revision", 10**5000),
    ("idempotency_key", ""),
    ("idempotency_key", 5),
]


@pytest.mark.parametrize(
    ("name", "value"), BAD_SAVES, ids=[f"{n}-{i}" for i, (n, _v) in enumerate(BAD_SAVES)]
)
def test_a_malformed_save_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        save(**{name: value})
    assert caught.value.field == name


def talk(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": str(n)} for n in range(count)]


@pytest.mark.parametrize("count", [0, 3, 700])
async def test_b39_a_saved_transcript_is_remembered_for_its_next_version(count: int) -> None:
    transcripts = Transcripts()
    first = await transcripts.parse(SCOPE, talk(count), None)
    transcripts.remember(SCOPE, "i1", first)
    again = await transcripts.parse(SCOPE, talk(count + 2), "i1")
    assert again.messages() == Transcript(talk(count + 2)).messages()
    assert again.last_hash == Transcript(talk(count + 2)).last_hash


async def test_b01_what_is_remembered_belongs_to_one_user_and_conversation() -> None:
    transcripts = Transcripts()
    transcripts.remember(SCOPE, "i1", Transcript(talk(3)))
    for scope, interaction_id in ((Scope("acme", "ann"), "i1"), (SCOPE, "i2"), (SCOPE, None)):
        other = await transcripts.parse(scope, [*talk(2), {"role": "user", "content": "x"}],
                                        interaction_id)  # fmt: skip
        assert [m.content for m in other.messages()] == ["0", "1", "x"]


async def test_what_cannot_be_remembered_is_not() -> None:
    transcripts = Transcripts()
    timed = [{"role": "user", "content": "x", "timestamp": T0}]
    transcripts.remember(SCOPE, "i1", Transcript(timed))
    assert (await transcripts.parse(SCOPE, timed, "i1")).messages()[0].timestamp == T0


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transcripts, "_SIZE", 3)
    transcripts = Transcripts()
    for number in range(9):
        transcripts.remember(SCOPE, f"i{number}", Transcript(talk(1)))
    assert len(transcripts._known) == 3


@pytest.mark.parametrize(
    "interaction", [None, "x" * 1000, "x", {"role": "user"}, 5, [5], iter("x")]
)
async def test_b70_what_is_no_transcript_is_refused_by_name(interaction: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await Transcripts().parse(SCOPE, interaction, None)
    assert caught.value.field.startswith("interaction")


@pytest.mark.parametrize("interaction_id", ["", 5, ["i1"], {"$ne": 1}])
async def test_a_malformed_interaction_id_is_refused_by_name(interaction_id: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await Transcripts().parse(SCOPE, MESSAGES, interaction_id)
    assert caught.value.field == "interaction_id"
