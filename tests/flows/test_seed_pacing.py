"""An import and a provider that wants fewer calls, over HTTP."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from aiohttp import web

from memora import SeedConfig, SeedData
from memora.agent.pacing import Lane, Pace
from memora.errors import LLMError
from memora.llm_backends.openai_compatible_backend_llm import OpenAICompatibleBackendLLM
from tests.flows.conftest import Worlds

pytestmark = pytest.mark.timeout(120)
START = datetime(2024, 3, 1, tzinfo=UTC)
LATENCY = 0.03
PAUSE = 0.25
BATCH = 10


class Refusing:
    """A provider that refuses a share of the calls, and notes when each came.

    Attributes:
        served: Calls that it answered.
        refused_at: When it refused.
        came_at: When calls came.
    """

    def __init__(self, status: int, share: float, *, names_a_time: bool) -> None:
        self.url = ""
        self.served = 0
        self.refused_at: list[float] = []
        self.came_at: list[float] = []
        self._status, self._share, self._names_a_time = status, share, names_a_time
        self._random = random.Random(4)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.came_at.append(time.monotonic())
        if self._random.random() < self._share:
            self.refused_at.append(time.monotonic())
            headers = {"retry-after-ms": str(int(PAUSE * 1000))} if self._names_a_time else {}
            error: dict[str, Any] = {"error": {"code": "slow_down", "message": "too many"}}
            return web.json_response(error, status=self._status, headers=headers)
        await asyncio.sleep(LATENCY)
        self.served += 1
        data = json.loads(body["messages"][-1]["content"])
        found = [
            {
                "memory": message["content"],
                "msg_source_ids": [message["id"]],
                "memory_type": "fact",
                "importance": 0.5,
            }
            for message in data.get("new_messages", [])
        ]
        content = json.dumps({"memories": found} if found else {"verdicts": []})
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return web.json_response({"choices": [choice], "usage": usage})


def paused(refused_at: list[float]) -> float:
    """Return for how long somebody who heeds each refusal does not call."""
    total, until = 0.0, -math.inf
    for at in refused_at:
        total += max(0.0, at + PAUSE - max(at, until))
        until = max(until, at + PAUSE)
    return total


def unlike(number: int) -> str:
    """A statement that has nothing in common with the others, so that none is compared."""
    rng = random.Random(number)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=9)) for _word in range(5))


async def warmed_up(model: OpenAICompatibleBackendLLM, provider: Refusing) -> None:
    """Let the SDK be imported before anything is measured."""
    with suppress(LLMError):
        await model([{"role": "user", "content": "{}"}], max_retries=0)
    provider.served = 0
    provider.came_at.clear()
    provider.refused_at.clear()


@pytest.mark.parametrize(
    ("status", "names_a_time"), [(429, True), (429, False), (503, True)], ids=str
)
async def test_b35_a_third_of_the_calls_is_refused_and_everything_arrives(
    worlds: Worlds, status: int, names_a_time: bool
) -> None:
    count = 40
    given = [
        {
            "id": f"c{number}",
            "messages": [{"role": "user", "content": unlike(number)}],
            "created_at": START + timedelta(days=number),
        }
        for number in range(count)
    ]
    async with Refusing(status, 0.3, names_a_time=names_a_time) as provider:
        model = OpenAICompatibleBackendLLM(provider.url, "scripted", api_key="k", max_retries=5)
        await warmed_up(model, provider)
        world = await worlds.open(extraction=model)
        data = SeedData.for_conversations(world.user_id, given, org_id=world.org_id)
        # No retries: what the provider refuses for rate is none.
        config = SeedConfig(max_retries=0, retry_delay=PAUSE)
        started, cpu = time.monotonic(), time.process_time()
        result = await world.memora.seed(data, seed_config=config, batch_size=BATCH)
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
    assert (result.successful, result.failed) == (count, 0)
    calls, refused = len(provider.came_at), len(provider.refused_at)
    assert refused > count // 10
    # No busy loop: a refused call comes again once, not until it is heard.
    assert calls == provider.served + refused
    assert refused < 2 * provider.served
    # All calls heed the pause of one; those that were on their way came right after it.
    early = [
        came
        for came in provider.came_at
        if any(LATENCY + 0.05 < came - at < 0.9 * PAUSE for at in provider.refused_at)
    ]
    assert not names_a_time or len(early) <= calls // 5
    # At best calls go out ten at a time, and each ten with a refusal among them wait once; what
    # the machine needs for its own work is left out, as others may be at it.
    ideal = math.ceil(calls / BATCH) * (LATENCY + PAUSE)
    paced = paused(provider.refused_at) + LATENCY * calls / BATCH
    print(f"{calls} calls, {refused} refused, wall {wall:.2f} s, cpu {cpu:.2f} s")
    print(f"pauses and answers {paced:.2f} s, at best {ideal:.2f} s")
    assert paced <= 2 * ideal


async def test_b35_pauses_grow_while_nothing_succeeds_and_the_first_success_ends_that() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)
        pace._resume_at = 0.0  # pyright: ignore[reportPrivateUsage] - the time has passed

    pace = Pace(2.0, sleep)
    for wanted in (2.0, 4.0, 8.0):
        began = await pace.ready()
        # Ten calls of one moment are refused: that is one refusal.
        for _call in range(10):
            assert pace.refused(began, None)
        await pace.ready()
        assert wanted <= slept[-1] <= 1.11 * wanted
    pace.succeeded()
    assert pace.refused(await pace.ready(), None)
    await pace.ready()
    assert 2.0 <= slept[-1] <= 2.21


async def test_background_work_waits_for_live_calls_but_not_for_ever() -> None:
    lane = Lane()
    passed: list[str] = []

    async def background() -> None:
        await lane.give_way()
        passed.append("background")

    async with lane.live():
        waiting = asyncio.create_task(background())
        await asyncio.sleep(0.02)
        passed.append("live")
        assert lane.is_busy
    await waiting
    assert passed == ["live", "background"]
    async with lane.live():
        # Never starved, however many live calls there are.
        await asyncio.wait_for(background(), 5)
