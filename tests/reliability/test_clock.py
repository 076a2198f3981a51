"""R1: a clock that jumps a day, and back, delays nothing for longer than a pause or a lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from memora import Memora
from memora.errors import ExtractionError, VectorDBConnectionError
from memora.graph_db.outbox import LEASE
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.index import IndexDocument
from memora.testing.clocks import FrozenClock
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from tests.reliability.kit import assert_clean
from tests.reliability.rows_index import RowsIndex
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(60), pytest.mark.suite("R1")]

DAY = timedelta(days=1)


class Outage(RowsIndex):
    """A vector store that can be down."""

    down = False

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        if self.down:
            raise VectorDBConnectionError("rows", "HTTP 503")
        await super().upsert(documents)


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_b20_vector_work_goes_on_after_the_clock_was_set_back(
    tmp_path: Path, score: Score
) -> None:
    clock = FrozenClock(step=timedelta(milliseconds=1))
    vectors = Outage(tmp_path / "vectors")
    async with Memora(vectors, SQLiteGraph(tmp_path / "graph.sqlite3", clock=clock)) as memora:
        user = memora.for_user("jake", org_id="acme")
        await user.save(say("I like tea"), external_id="talk")
        before = (await memora.graph.get_interaction("acme", "jake", "talk")).updated_at
        clock.advance(DAY)
        vectors.down = True
        await user.save([*say("I like tea"), *say("I have a dog")], external_id="talk")
        assert (await memora.graph.outbox_status()).pending == 1
        leased = await memora.graph.claim_outbox(
            now=clock.now() + DAY, lease_until=clock.now() + DAY + LEASE, limit=9
        )
        assert len(leased) == 1
        clock.advance(-2 * DAY)
        vectors.down = False
        assert (await memora.drain_outbox()).applied == 1
        await user.save([*say("I like tea"), *say("I have a cat")], external_id="talk")
        found = await memora.graph.get_interaction("acme", "jake", "talk")
        assert found.updated_at > before + DAY
        # Until the clock has caught up, doctor sees records of the future.
        clock.advance(2 * DAY)
        await assert_clean(memora)
    score("R1", clock_jumps=2, violations=0)


async def test_b35_a_job_goes_on_after_the_clock_was_set_back(tmp_path: Path, score: Score) -> None:
    clock = FrozenClock()
    answers: list[Answer] = [OutageError()]

    def script(call: Call) -> Answer:
        return answers.pop() if answers else {"memories": []}

    graph = SQLiteGraph(tmp_path / "graph.sqlite3", clock=clock)
    async with Memora(
        RowsIndex(tmp_path / "vectors"), graph, None, ScriptedBackendLLM(script)
    ) as memora:
        with pytest.raises(ExtractionError) as caught:
            await memora.for_user("jake", org_id="acme").save(say("I like tea"))
        job_id = caught.value.job_id
        later = clock.now() + DAY / 2
        assert await graph.claim_job("acme", job_id, now=later, lease_until=later + LEASE)
        assert await memora.resume_job("acme", job_id)
        assert await memora.list_jobs("acme") == []
        await assert_clean(memora)
    score("R1", clock_jumps=1, violations=0)
