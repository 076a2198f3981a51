"""R5: seventy kinds of wrong answers, at every stage that asks a model, over real connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.errors import ExtractionError
from memora.graph_db import SQLiteGraph
from memora.graph_db.base import MemoryListing
from memora.llm_backends import OpenAICompatibleBackendLLM
from memora.schema.jobs import JobStatus
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB
from tests.reliability.data.malformed import KINDS, STAGES, UNANSWERED
from tests.reliability.kit import assert_clean
from tests.reliability.provider import Provider
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(60), pytest.mark.suite("R5")]

CASES = [f"{kind}-{stage}" for kind in KINDS for stage in STAGES]
SAVING = ("extract", "compare")
MAY = datetime(2025, 5, 1, 9, tzinfo=UTC)
EXISTING = "Jake likes black tea with milk"
CANARY = "Kim hid the gold in Zanzibar"
FOUND = ["Jake likes cold tea with milk", "Jake likes green tea with milk"]
# What an extraction finds where the answer itself says something else.
EXPECTED = {
    "L24-extract": [text.replace(" with", "\nwith") for text in FOUND],
    "L25-extract": [text.replace("tea", "tea\ufffd") for text in FOUND],
    "L27-extract": [text.replace("tea", "tea\x00") for text in FOUND],
    "L39-extract": FOUND[1:],
    "L40-extract": FOUND[1:],
    "L48-extract": [FOUND[0], f"{FOUND[1]}."],
    "L50-extract": [],
}
TALK = [
    {"role": "user", "content": "I like green tea with milk."},
    {"role": "assistant", "content": "Noted."},
    {"role": "user", "content": "And cold tea with milk."},
]


@dataclass
class Bench:
    """One store and one provider for all cases; `hasty` gives up on the provider soon."""

    provider: Provider
    patient: Memora
    hasty: Memora
    verbatim: Memora


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(Provider())
        graph = SQLiteGraph(None, clock=FrozenClock(step=timedelta(milliseconds=1)))
        vectors = EmbeddedVectorDB(tmp_path_factory.mktemp("malformed"), embedder=HashingEmbedder())

        async def engine(timeout: float) -> Memora:
            model = OpenAICompatibleBackendLLM(
                provider.url, "scripted", max_retries=1, timeout=timeout
            )
            model._sleep = at_once  # pyright: ignore[reportPrivateUsage]
            memora = Memora(vectors, graph, model, model)
            return await stack.enter_async_context(memora)

        bench = Bench(provider, await engine(30), await engine(0.25), Memora(vectors, graph))
        yield bench
        await assert_clean(bench.patient)


async def at_once(_seconds: float) -> None:
    """Wait for nothing between two tries."""


@dataclass
class Case:
    """One kind of wrong answer at one stage, in an organization of its own."""

    bench: Bench
    kind: str
    stage: str

    @property
    def owner(self) -> tuple[str, str]:
        return f"{self.kind}-{self.stage}", "jake"

    @property
    def memora(self) -> Memora:
        return self.bench.hasty if self.kind == "L10" else self.bench.patient

    async def begin(self) -> None:
        """Create two users who know something, and have the stage played badly from now on."""
        graph, org_id = self.memora.graph, self.owner[0]
        await graph.create_organization(org_id, org_id=org_id)
        for user_id, name, text in (("jake", "Jake", EXISTING), ("kim", "Kim", CANARY)):
            await graph.create_user(org_id, name, user_id=user_id)
            await self.bench.verbatim.save_or_update_interaction_and_memories(
                org_id,
                user_id,
                interaction=[{"role": "user", "content": text}],
                current_datetime=MAY,
            )
        self.bench.provider.play(self.stage, KINDS[self.kind](STAGES[self.stage]))

    async def memories(self, user_id: str = "jake") -> list[Memory]:
        """Return all versions, as they are stored."""
        return await self.memora.graph.list_memories(
            Scope(self.owner[0], user_id), MemoryListing(current_only=False)
        )

    async def texts(self) -> list[str]:
        named = await self.memora.graph.with_names(self.owner[0], await self.memories())
        return sorted(memory.memory for memory in named)

    def check_answers(self) -> None:
        """At most an answer and its repair were paid for; a broken connection was tried again."""
        provider = self.bench.provider
        assert provider.tries >= 1
        assert provider.answers <= 2
        assert provider.tries <= 2


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [case for case in CASES if case.endswith(SAVING)])
async def test_b35_b70_b71_b72_b73_a_save(bench: Bench, name: str) -> None:
    case = Case(bench, *name.split("-"))
    await case.begin()
    others = await case.memories("kim")
    if case.kind == "L61":
        bench.provider.before_answering = superseding(case)
    memora = case.memora
    failure: ExtractionError | None = None
    try:
        await memora.save_or_update_interaction_and_memories(
            *case.owner,
            interaction=TALK,
            external_id="talk",
            current_datetime=MAY + timedelta(days=1),
            max_retries=1,
        )
    except ExtractionError as error:
        failure = error
    case.check_answers()
    bench.provider.recover()
    stored = await memora.graph.get_interaction(*case.owner, "talk")
    assert [message.content for message in stored.messages or []] == [
        message["content"] for message in TALK
    ]
    assert (failure is not None) == (case.kind in UNANSWERED), failure
    if failure is not None:
        assert failure.stage == case.stage
        assert not set(FOUND) & set(await case.texts())
        (job,) = await memora.list_jobs(case.owner[0])
        assert (job.job_id, job.status) == (failure.job_id, JobStatus.FAILED)
        assert await bench.patient.resume_job(case.owner[0], job.job_id)
    assert await memora.list_jobs(case.owner[0]) == []
    await check_stored(case)
    assert await case.memories("kim") == others


def superseding(case: Case) -> Callable[[], Awaitable[None]]:
    """Let somebody else supersede what the model was shown."""

    async def supersede() -> None:
        (known,) = [memory for memory in await case.memories() if memory.memory == EXISTING]
        await case.memora.update_memory(*case.owner, known.memory_id, "Jake likes white tea")

    return supersede


async def check_stored(case: Case) -> None:
    """The good items are there, and nothing that no message of the user states."""
    memories = await case.memories()
    texts = await case.texts()
    assert set(EXPECTED.get(f"{case.kind}-{case.stage}", FOUND)) <= set(texts)
    if case.stage == "compare":
        (known,) = [memory for memory in memories if memory.memory == EXISTING]
        assert known.is_current == (case.kind == "L50")
    assert "Bad" not in texts
    assert not [text for text in texts if "Zanzibar" in text]
    assert len(memories) <= 2 + 200
    for memory in memories:
        positions = [message.msg_position for message in memory.message_sources]
        assert positions == sorted(set(positions))
        assert memory.author is not None or positions


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [case for case in CASES if not case.endswith(SAVING)])
async def test_b36_b38_b61_b79_a_recall(bench: Bench, name: str) -> None:
    case = Case(bench, *name.split("-"))
    await case.begin()
    before = [await case.memories(), await case.memories("kim")]
    answer: Any
    if case.stage == "summarise":
        answer = await case.memora.build_context(*case.owner, "What tea does Jake like?")
        assert answer.strip()
    else:
        found, ids = await case.memora.recall_memories_for_message(
            *case.owner,
            "What tea with milk does Jake like?",
            enable_final_model_based_memory_filter=case.stage == "select",
        )
        assert ids == [memory.memory_id for memory in found]
        answer = [memory.memory for memory in found]
        assert answer == ([] if name == "L50-select" else [EXISTING])
    case.check_answers()
    bench.provider.recover()
    assert CANARY not in str(answer)
    assert [await case.memories(), await case.memories("kim")] == before


def test_all_seventy_kinds_are_played_at_every_stage(score: Score) -> None:
    assert list(KINDS) == [f"L{number:02}" for number in range(1, 71)]
    score("R5", kinds=len(KINDS), stages=len(STAGES), cases=len(CASES))
