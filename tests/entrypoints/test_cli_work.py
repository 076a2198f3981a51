"""Commands for what is left to do: jobs, outbox, doctor, reindex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from memora.agent.main import Memora as AsyncMemora
from memora.cli.boundary import INVALID, NEGATIVE, NOT_FOUND, UNAVAILABLE
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import EmbeddingConnectionError, ExtractionError
from memora.sync import Memora
from memora.testing.fakes import OutageError, ScriptedBackendLLM
from tests.entrypoints.conftest import CommandLine

# Many stores are opened, each with disk flushes.
pytestmark = pytest.mark.timeout(60)


def owner(cli: CommandLine) -> tuple[str, ...]:
    return ("--path", str(cli.path), "--org", "acme")


def texts(cli: CommandLine) -> list[str]:
    listed = cli("memories", *cli.owner, "--json").json["memories"]
    return sorted(memory["memory"] for memory in listed)


def leave_jobs(cli: CommandLine, *said: str) -> list[str]:
    """Save conversations while the model is down; return the ids of their jobs."""

    def down(_call: object) -> Exception:
        return OutageError()

    ids: list[str] = []
    with Memora.embedded(
        cli.path, embedder="hashing", extraction_model=ScriptedBackendLLM(down)
    ) as memora:
        for text in said:
            with pytest.raises(ExtractionError) as caught:
                memora.save_or_update_interaction_and_memories(
                    "acme", "jake", interaction=[{"role": "user", "content": text}]
                )
            ids.append(caught.value.job_id)
    return ids


def leave_outbox_entries(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save while texts cannot be embedded."""
    with monkeypatch.context() as patched:
        break_embedder(patched)
        with Memora.embedded(cli.path, embedder="hashing") as memora:
            memora.save_or_update_interaction_and_memories(
                "acme", "jake", interaction=[{"role": "user", "content": "I play chess."}]
            )


def break_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(_self: HashingEmbedder, _texts: Sequence[str]) -> None:
        raise EmbeddingConnectionError("hashing", "out of order")

    monkeypatch.setattr(HashingEmbedder, "embed_documents", down)


def test_jobs_that_are_not_done_are_listed(cli: CommandLine, own: str) -> None:
    [job_id] = leave_jobs(cli, "I play chess.")
    [job] = cli("jobs", *owner(cli), "--json").json["jobs"]
    assert (job["job_id"], job["user_id"], job["status"]) == (job_id, "jake", "failed")
    assert (job["start"], job["end"], job["attempts"]) == (0, 1, 1)
    assert job["error"].startswith("OutageError")
    assert not {"params", "outputs"} & job.keys()
    text = cli("jobs", *owner(cli)).out
    assert job_id in text
    assert "messages 0 to 0" in text
    assert "chess" not in text


def test_jobs_are_filtered_by_user_and_status(cli: CommandLine, own: str) -> None:
    leave_jobs(cli, "I play chess.")
    assert cli("jobs", *owner(cli), "--user", "jake", "--json").json["jobs"] != []
    assert cli("jobs", *owner(cli), "--status", "done", "--json").json["jobs"] == []
    assert cli("jobs", *owner(cli), "--user", "joan").code == NOT_FOUND
    assert "0 jobs" in cli("jobs", *owner(cli), "--status", "running", "--status", "done").out


def test_a_job_is_resumed_by_its_id(cli: CommandLine, own: str) -> None:
    [job_id] = leave_jobs(cli, "I play chess.")
    # No model is configured here, so what was said is remembered as it was said.
    answer = cli("jobs", "resume", job_id, *owner(cli), "--json")
    assert answer.code == 0
    assert answer.json == {
        "org_id": "acme",
        "jobs": [{"job_id": job_id, "result": "finished", "error": None}],
    }
    assert "I play chess." in texts(cli)
    again = cli("jobs", "resume", job_id, *owner(cli))
    assert again.code == 0
    assert "finished before" in again.out
    assert cli("doctor", "--path", str(cli.path)).code == 0


def test_all_jobs_are_resumed(cli: CommandLine, own: str) -> None:
    ids = leave_jobs(cli, "I play chess.", "I sing.")
    answer = cli("jobs", "resume", "--all", *owner(cli), "--json")
    assert [job["job_id"] for job in answer.json["jobs"]] == ids
    assert {"I play chess.", "I sing."} <= set(texts(cli))
    assert "no job" in cli("jobs", "resume", "--all", *owner(cli)).out


def test_the_group_takes_store_and_organization_too(cli: CommandLine, own: str) -> None:
    leave_jobs(cli, "I play chess.")
    answer = cli("jobs", *owner(cli), "resume", "--all")
    assert (answer.code, answer.err) == (0, "")
    assert "I play chess." in texts(cli)
    assert cli("outbox", "--path", str(cli.path), "drain").code == 0


def test_a_missing_job_is_told(cli: CommandLine, own: str) -> None:
    answer = cli("jobs", "resume", "nothing", *owner(cli))
    assert (answer.code, answer.out) == (NOT_FOUND, "")
    assert answer.err == "memora: job 'nothing' does not exist in this scope\n"


def test_a_job_that_somebody_else_runs_is_a_negative_result(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job_id] = leave_jobs(cli, "I play chess.")

    async def busy(_self: AsyncMemora, _org_id: str, _job_id: str) -> bool:
        return False

    monkeypatch.setattr(AsyncMemora, "resume_job", busy)
    answer = cli("jobs", "resume", job_id, *owner(cli))
    assert answer.code == NEGATIVE
    assert "running elsewhere" in answer.out


def test_one_job_that_fails_does_not_keep_the_others(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = leave_jobs(cli, "I play chess.", "I sing.")
    resume = AsyncMemora.resume_job

    async def flaky(self: AsyncMemora, org_id: str, job_id: str) -> bool:
        if job_id == first:
            raise ExtractionError("some-id", first, stage="extract", reason="still down")
        return await resume(self, org_id, job_id)

    monkeypatch.setattr(AsyncMemora, "resume_job", flaky)
    answer = cli("jobs", "resume", "--all", *owner(cli), "--json")
    assert answer.code == UNAVAILABLE
    assert "still down" in answer.err
    results = {job["job_id"]: job["result"] for job in answer.json["jobs"]}
    assert results == {first: "failed", second: "finished"}
    assert "I sing." in texts(cli)


def test_an_empty_outbox_is_shown(cli: CommandLine, saved: str) -> None:
    document = cli("outbox", "--path", str(cli.path), "--json").json
    assert document == {"pending": 0, "dead": 0, "oldest": None, "entries": []}
    assert cli("outbox", "--path", str(cli.path)).out == "0 entries wait, 0 were given up\n"


def test_the_outbox_shows_what_waits_and_why(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_outbox_entries(cli, monkeypatch)
    for _look in range(2):  # looking works nothing off
        document = cli("outbox", "--path", str(cli.path), "--json").json
        assert (document["pending"], document["dead"]) == (1, 0)
        [entry] = document["entries"]
        assert (entry["op"], entry["org_id"], entry["user_id"]) == ("sync", "acme", "jake")
        assert entry["attempts"] == 1
        assert "out of order" in entry["error"]
        assert "lease" not in entry
    text = cli("outbox", "--path", str(cli.path)).out
    assert "1 memories of jake in acme" in text
    assert "chess" not in text


def test_retry_does_all_that_waits(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_outbox_entries(cli, monkeypatch)
    answer = cli("outbox", "retry", "--path", str(cli.path), "--json")
    assert answer.code == 0
    # On a slow machine the entry is due by itself meanwhile, and nothing is left to be retried.
    assert answer.json in (
        {"retried": retried, "applied": 1, "failed": 0, "error": None} for retried in (0, 1)
    )
    assert cli("outbox", "--path", str(cli.path), "--json").json["pending"] == 0
    [found] = cli("recall", "chess", *cli.owner, "--limit", "1", "--json").json["memories"]
    assert found["memory"] == "I play chess."


def test_a_vector_store_that_fails_again_is_a_negative_result(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_outbox_entries(cli, monkeypatch)
    break_embedder(monkeypatch)
    answer = cli("outbox", "retry", "--path", str(cli.path))
    assert answer.code == NEGATIVE
    assert answer.out == "0 entries done, 1 failed\n"
    assert "out of order" in answer.err


def test_drain_does_what_is_due(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_outbox_entries(cli, monkeypatch)
    make_due(cli)
    answer = cli("outbox", "drain", "--path", str(cli.path), "--json")
    assert answer.json == {"applied": 1, "failed": 0, "error": None}
    assert cli("outbox", "drain", "--path", str(cli.path)).out == "0 entries done, 0 failed\n"


def make_due(cli: CommandLine) -> None:
    """Let the entries that wait be due, without working them off."""
    memora = Memora.embedded(cli.path, embedder="hashing")
    try:
        memora.graph.setup()
        # A moment that is long over by the time of the next command.
        memora.graph.retry_outbox(memora.graph.get_organization("acme").created_at)
    finally:
        memora.close()


def test_a_clean_store_is_clean(cli: CommandLine, saved: str) -> None:
    document = cli("doctor", "--path", str(cli.path), "--json").json
    assert document == {
        "clean": True,
        "findings": [],
        "memories": 3,
        "vectors": 3,
        "pending": 0,
        "complete": True,
    }
    assert cli("doctor", "--path", str(cli.path)).out == (
        "3 memories and 3 vectors checked: nothing found\n"
    )


def lose_a_vector(cli: CommandLine) -> str:
    with Memora.embedded(cli.path, embedder="hashing") as memora:
        lost = memora.graph.get_all_user_memories("acme", "jake")[0].memory_id
        memora.vector_db.delete_memory(lost, "acme", "jake")
    return lost


def test_doctor_finds_what_is_wrong_and_reindex_repairs_it(cli: CommandLine, own: str) -> None:
    lost = lose_a_vector(cli)
    answer = cli("doctor", "--path", str(cli.path), "--json")
    assert answer.code == NEGATIVE
    assert answer.json["findings"] == [
        {
            "invariant": "I5",
            "record_id": lost,
            "detail": "no vector",
            "kind": "missing_vector",
            "org_id": "acme",
            "user_id": "jake",
            "blocks": False,
        }
    ]
    text = cli("doctor", "--path", str(cli.path))
    assert text.code == NEGATIVE
    assert lost in text.out
    assert "1 findings" in text.out
    assert cli("reindex", "--path", str(cli.path), "--json").json == {"indexed": 3}
    assert cli("doctor", "--path", str(cli.path)).code == 0


def test_reindex_tells_how_many(cli: CommandLine, own: str) -> None:
    answer = cli("reindex", "--path", str(cli.path))
    assert (answer.code, answer.out, answer.err) == (0, "3 memories indexed\n", "")


def test_reindex_shows_a_bar_to_people(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = cli("reindex", "--path", str(cli.path))
    assert answer.code == 0
    assert "Indexing" in answer.err
    assert "3 memories" in answer.err


def test_b23_reindex_moves_to_another_embedder(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORA_EMBEDDER", "wordllama")
    refused = cli("outbox", "drain", "--path", str(cli.path))
    assert refused.code == UNAVAILABLE
    assert "wordllama" in refused.err
    found = cli("doctor", "--path", str(cli.path), "--json")
    assert found.code == NEGATIVE
    assert [each["kind"] for each in found.json["findings"]] == ["model_mismatch"]
    assert cli("reindex", "--path", str(cli.path), "--json").json == {"indexed": 3}
    assert cli("doctor", "--path", str(cli.path)).code == 0


def test_b23_reindex_names_the_embedder_that_opens_the_store(
    cli: CommandLine, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = cli("reindex", "--path", str(cli.path), "--embedder", "wordllama")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "3 memories indexed",
        "from now on the store opens with MEMORA_EMBEDDER=wordllama",
    ]
    refused = cli("memories", *cli.owner)
    assert refused.code == UNAVAILABLE
    for word in ("hashing/256", "wordllama", "memora reindex"):
        assert word in refused.err
    assert cli("doctor", "--path", str(cli.path)).code == NEGATIVE
    monkeypatch.setenv("MEMORA_EMBEDDER", "wordllama")
    assert cli("doctor", "--path", str(cli.path)).code == 0


def test_reindex_with_an_embedder_that_is_not_known(cli: CommandLine, own: str) -> None:
    answer = cli("reindex", "--path", str(cli.path), "--embedder", "nobody")
    assert answer.code == INVALID
    assert "embedder" in answer.err
    assert cli("doctor", "--path", str(cli.path)).code == 0


def test_reindex_of_an_empty_store(cli: CommandLine) -> None:
    with Memora.embedded(cli.path, embedder="hashing"):
        pass
    assert cli("reindex", "--path", str(cli.path), "--json").json == {"indexed": 0}


def test_findings_hold_no_content(cli: CommandLine, own: str) -> None:
    lose_a_vector(cli)
    printed: dict[str, Any] = cli("doctor", "--path", str(cli.path), "--json").json
    assert "Oslo" not in str(printed)
