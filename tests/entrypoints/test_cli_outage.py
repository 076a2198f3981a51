"""A provider is down while a conversation is saved: nothing is lost, and a command finishes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.cli.boundary import UNAVAILABLE
from memora.errors import ExtractionError
from memora.testing.llm_contract import Turn
from tests.contract.llm_server import LLMServer
from tests.entrypoints.conftest import Answer, CommandLine

pytestmark = pytest.mark.timeout(60)

DOWN = Turn("status", status=503)


@pytest.fixture
async def server() -> AsyncIterator[LLMServer]:
    async with LLMServer() as server:
        yield server


@pytest.fixture
def settings(
    server: LLMServer, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Settings of the application, and of the commands that follow it."""
    values = {
        "path": str(cli.path),
        "embedder": "hashing",
        "extraction_model": "openai-compatible:local",
        "llm_base_url": f"{server.url}/v1",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"MEMORA_{name.upper()}", value)
    return values


async def command(cli: CommandLine, *arguments: str) -> Answer:
    """Run a command beside the server's loop."""
    return await asyncio.to_thread(cli, *arguments)


async def save(settings: dict[str, Any], text: str) -> ExtractionError | None:
    """Save one message as an application does; return the error that it gets."""
    async with Memora.from_settings(settings) as memora:
        await memora.for_user("jake", org_id="acme").ensure()
        try:
            await memora.save_or_update_interaction_and_memories(
                "acme",
                "jake",
                interaction=[{"role": "user", "content": text}],
                max_retries=0,
            )
        except ExtractionError as error:
            return error
    return None


def extracted(text: str) -> Turn:
    item = {"memory": text, "msg_source_ids": [0], "memory_type": "fact", "importance": 0.5}
    return Turn(text=json.dumps({"memories": [item]}))


async def remembered(cli: CommandLine) -> list[str]:
    listed = await command(cli, "memories", "--org", "acme", "--user", "jake", "--json")
    return sorted(memory["memory"] for memory in listed.json["memories"])


async def test_b70_an_outage_loses_nothing_and_resume_finishes_it(
    cli: CommandLine, server: LLMServer, settings: dict[str, Any]
) -> None:
    server.plan(DOWN)
    error = await save(settings, "I'm allergic to peanuts, by the way.")
    assert error is not None

    # The transcript is there, a job says what is left, and the store is consistent.
    listed = await command(
        cli, "interaction", error.interaction_id, "--org", "acme", "--user", "jake", "--json"
    )
    assert [m["content"] for m in listed.json["messages"]] == [
        "I'm allergic to peanuts, by the way."
    ]
    assert listed.json["memories"] == []
    [job] = (await command(cli, "jobs", "--org", "acme", "--json")).json["jobs"]
    assert (job["job_id"], job["status"]) == (error.job_id, "failed")
    assert (await command(cli, "doctor")).code == 0

    # Still down: said again, still there.
    server.plan(DOWN)
    again = await command(cli, "jobs", "resume", error.job_id, "--org", "acme")
    assert (again.code, again.out) == (UNAVAILABLE, "")
    assert error.job_id in again.err
    assert again.err.count("\n") == 1
    assert "peanuts" not in again.err

    server.plan(extracted("Jake is allergic to peanuts."))
    done = await command(cli, "jobs", "resume", "--all", "--org", "acme", "--json")
    assert done.code == 0
    assert [job["result"] for job in done.json["jobs"]] == ["finished"]
    assert await remembered(cli) == ["Jake is allergic to peanuts."]
    assert (await command(cli, "jobs", "--org", "acme", "--json")).json["jobs"] == []
    assert (await command(cli, "doctor")).code == 0
    assert len(server.requests) == 3


async def test_what_was_paid_for_is_not_paid_again(
    cli: CommandLine, server: LLMServer, settings: dict[str, Any]
) -> None:
    server.plan(extracted("Jake lives in the city of Ghent."))
    assert await save(settings, "I live in Ghent.") is None
    # The second conversation is read, then the model goes down before it can compare.
    server.plan(extracted("Jake lives in the city of Antwerp."), DOWN)
    error = await save(settings, "I live in Antwerp now.")
    assert error is not None
    assert error.stage == "compare"
    paid = len(server.requests)

    verdict = {"candidate": 0, "verdict": "contradiction", "existing": 0}
    server.plan(Turn(text=json.dumps({"verdicts": [verdict]})))
    done = await command(cli, "jobs", "resume", error.job_id, "--org", "acme")
    assert done.code == 0
    assert len(server.requests) == paid + 1
    assert await remembered(cli) == ["Jake lives in the city of Antwerp."]
    [current] = (await command(cli, "memories", "--org", "acme", "--user", "jake", "--json")).json[
        "memories"
    ]
    history = await command(
        cli, "history", current["memory_id"], "--org", "acme", "--user", "jake", "--json"
    )
    assert len(history.json["versions"]) == 2


async def test_doctor_needs_no_provider(
    cli: CommandLine, server: LLMServer, settings: dict[str, Any], tmp_path: Path
) -> None:
    server.plan(extracted("Jake sings."))
    assert await save(settings, "I sing.") is None
    asked = len(server.requests)
    for arguments in (["doctor"], ["reindex"], ["outbox"], ["jobs", "--org", "acme"]):
        assert (await command(cli, *arguments)).code == 0
    assert len(server.requests) == asked
