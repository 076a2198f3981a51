"""Clauses on write plans: all or nothing, once, and never into nothing; and on jobs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from memora.errors import (
    ConflictError,
    InteractionNotFoundError,
    JobNotFoundError,
    UserNotFoundError,
)
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.write_plan import IdempotencyRecord, MemoryEnd, OutboxOp, SourceLink
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures

LEASE = timedelta(minutes=1)


class PlanClauses(TenantFixtures):
    """Write plans."""

    async def test_i9_a_key_is_answered_once(self, tenant: Tenant) -> None:
        """The same key and body replays the first answer and writes nothing."""
        record = IdempotencyRecord("key ' 1", "body", {"ids": ["é", None], "n": 1.5})
        plan = tenant.plan(
            interaction=tenant.creation("talk", "a"),
            memories=(tenant.statement("m"),),
            idempotency=record,
        )
        first = await tenant.graph.apply(plan)
        assert (first.replayed, first.result) == (False, None)
        assert (first.revision, first.message_count) == (1, 1)
        assert (first.created_at, first.updated_at) == (tenant.start, tenant.start)
        before = await tenant.snapshot()
        again = await tenant.graph.apply(
            replace(plan, idempotency=replace(record, result={"other": 1}))
        )
        assert (again.replayed, again.result) == (True, record.result)
        assert await tenant.snapshot() == before
        assert await tenant.graph.find_idempotency(tenant.scope, record.key) == record

    async def test_i9_another_body_under_a_known_key_conflicts(self, tenant: Tenant) -> None:
        """Another body under the key is a conflict; another user's key is another key."""
        record = IdempotencyRecord("key", "body", {})
        await tenant.apply(memories=(tenant.statement("a"),), idempotency=record)
        other = replace(record, body_hash="other")
        with pytest.raises(ConflictError) as caught:
            await tenant.apply(memories=(tenant.statement("b"),), idempotency=other)
        assert (caught.value.record, caught.value.record_id) == ("idempotency_key", "key")
        assert len(await tenant.all_memories()) == 1
        scope = await tenant.other_user()
        assert await tenant.graph.find_idempotency(scope, "key") is None
        receipt = await tenant.apply(scope, memories=(tenant.statement("c"),), idempotency=other)
        assert not receipt.replayed

    async def test_b13_the_same_call_at_once_is_written_once(self, tenant: Tenant) -> None:
        """Concurrent calls with one key have one effect and one answer."""
        record = IdempotencyRecord("key", "body", {"id": 1})
        receipts = await asyncio.gather(
            *(
                tenant.apply(memories=(tenant.statement(f"m{n}"),), idempotency=record)
                for n in range(4)
            )
        )
        assert sorted(receipt.replayed for receipt in receipts) == [False, True, True, True]
        assert {tuple((r.result or {"id": 1}).items()) for r in receipts} == {(("id", 1),)}
        assert len(await tenant.all_memories()) == 1

    async def test_b13_the_same_plan_twice_is_once(self, tenant: Tenant) -> None:
        """Without a key the repetition of a plan is a conflict; its effect is there once."""
        talk = await tenant.begin("talk", "a")
        for plan in (
            tenant.plan(interaction=tenant.creation("new", "x"), memories=(tenant.statement("m"),)),
            tenant.plan(interaction=tenant.change(talk, 1, 1, "b")),
            tenant.plan(memories=(tenant.statement("n"),)),
        ):
            await tenant.graph.apply(plan)
            before = await tenant.snapshot()
            with pytest.raises(ConflictError):
                await tenant.graph.apply(plan)
            assert await tenant.snapshot() == before

    async def test_b12_a_failure_on_the_way_leaves_nothing(self, tenant: Tenant) -> None:
        """When the last part of a plan is refused, nothing of it is stored or enqueued."""
        talk = await tenant.begin("talk", "a", "b")
        head = await tenant.store("head")
        version = await tenant.version(head, "version", obtained_at=tenant.at(1))
        before = await tenant.snapshot()
        with pytest.raises(ConflictError):
            await tenant.apply(
                interaction=tenant.change(talk, 1, 1, "c", title="New"),
                memories=(
                    tenant.statement("good", interaction_id="talk", sources=(talk.source(0),)),
                    version,
                    tenant.statement("head", "this id is taken"),
                ),
                job=tenant.job(talk, 0, 2),
                idempotency=IdempotencyRecord("key", "body", {}),
            )
        assert await tenant.snapshot() == before
        assert await tenant.graph.find_idempotency(tenant.scope, "key") is None

    async def test_b14_nothing_is_written_for_a_user_that_is_gone(self, tenant: Tenant) -> None:
        """An answer that comes after the user was deleted resurrects nothing."""
        talk = await tenant.begin("talk", "a")
        plan = tenant.plan(
            interaction=tenant.change(talk, 1, 1, "b"),
            memories=(tenant.statement("m", interaction_id="talk"),),
            idempotency=IdempotencyRecord("key", "body", {}),
        )
        await tenant.graph.delete_user(tenant.org_id, tenant.user_id)
        queue = await tenant.queue()
        with pytest.raises(UserNotFoundError):
            await tenant.graph.apply(plan)
        assert await tenant.queue() == queue
        assert [entry.op for entry in queue] == [OutboxOp.DROP_USER]
        await tenant.graph.create_user(tenant.org_id, "Jake", user_id=tenant.user_id)
        assert await tenant.all_memories() == []
        with pytest.raises(InteractionNotFoundError):
            await tenant.graph.apply(plan)
        assert await tenant.graph.find_idempotency(tenant.scope, "key") is None

    async def test_vector_work_is_enqueued_with_the_change(self, tenant: Tenant) -> None:
        """One entry names every memory that a plan inserts, supersedes, ends or links."""
        talk = await tenant.begin("talk", "a")
        assert await tenant.queue() == []
        old, gone, linked = [await tenant.store(name) for name in ("old", "gone", "linked")]
        await tenant.empty_queue()
        await tenant.apply(
            memories=(
                tenant.statement("new"),
                await tenant.version(old, "newer", obtained_at=tenant.at(1)),
            ),
            links=(SourceLink(linked, (talk.source(0),)),),
            ends=(MemoryEnd(gone, tenant.at(1)),),
        )
        (entry,) = await tenant.queue()
        names = ("new", "newer", "old", "gone", "linked")
        assert sorted(entry.memory_ids) == sorted(tenant.memory_id(name) for name in names)
        assert (entry.op, entry.user_id, entry.attempts) == (OutboxOp.SYNC, tenant.user_id, 0)
        assert (entry.enqueued_at, entry.lease, entry.dead) == (tenant.start, None, False)

    # Jobs

    async def test_a_job_runs_once_at_a_time(self, tenant: Tenant) -> None:
        """A claim takes the lease, counts the attempt, and can be repeated when it ran out."""
        talk = await tenant.begin("talk", "a", "b")
        job = tenant.job(talk, 0, 2, params={"é": [1]}, agent_id=tenant.agent_id)
        await tenant.apply(job=job)
        graph, org_id = tenant.graph, tenant.org_id
        assert await graph.get_job(org_id, "job") == job
        now = tenant.later()
        claimed = await graph.claim_job(org_id, "job", now=now, lease_until=now + LEASE)
        assert claimed is not None
        assert (claimed.status, claimed.attempts) == (JobStatus.RUNNING, 1)
        assert (claimed.lease_until, claimed.params) == (now + LEASE, {"é": [1]})
        assert claimed.updated_at > job.updated_at
        for at in (now, now + LEASE - timedelta(microseconds=1)):
            again = await graph.claim_job(org_id, "job", now=at, lease_until=at + LEASE)
            assert again is None
        after = now + LEASE
        taken_over = await graph.claim_job(org_id, "job", now=after, lease_until=after + LEASE)
        assert taken_over is not None
        assert taken_over.attempts == 2
        failed = replace(
            taken_over, status=JobStatus.FAILED, error="x", lease_until=None, outputs={"a": {}}
        )
        await graph.save_job(failed)
        assert await graph.find_job(org_id, "job") == failed
        retried = await graph.claim_job(org_id, "job", now=after, lease_until=after + LEASE)
        assert retried is not None
        assert (retried.attempts, retried.outputs) == (3, {"a": {}})
        await graph.save_job(replace(retried, status=JobStatus.DONE, lease_until=None))
        assert await graph.claim_job(org_id, "job", now=after, lease_until=after) is None
        assert await graph.claim_job(org_id, "missing", now=after, lease_until=after) is None

    async def test_concurrent_claims_of_a_job_give_it_to_one(self, tenant: Tenant) -> None:
        """Of several workers that claim a job at once one gets it."""
        talk = await tenant.begin("talk", "a")
        await tenant.apply(job=tenant.job(talk, 0, 1))
        now = tenant.later()
        claims = await asyncio.gather(
            *(
                tenant.graph.claim_job(tenant.org_id, "job", now=now, lease_until=now + LEASE)
                for _ in range(4)
            )
        )
        assert sum(claim is not None for claim in claims) == 1

    async def test_jobs_are_listed_by_creation(self, tenant: Tenant) -> None:
        """Jobs are listed by creation, then id, of a user or of all, in the states asked for."""
        other = await tenant.other_user()
        talk = await tenant.begin("talk", "a")
        theirs = await tenant.begin("theirs", "a", scope=other)
        graph, org_id = tenant.graph, tenant.org_id
        for name in ("c", "b"):
            await tenant.apply(job=tenant.job(talk, 0, 1, name))
        tenant.later()
        await tenant.apply(job=tenant.job(talk, 0, 1, "a", status=JobStatus.DONE))
        await tenant.apply(other, job=replace(tenant.job(theirs, 0, 1, "d"), user_id=other.user_id))

        async def listed(**selection: object) -> list[str]:
            found = await graph.list_jobs(org_id, **selection)  # type: ignore[arg-type] - each another
            return [job.job_id for job in found]

        assert await listed() == ["b", "c", "a", "d"]
        assert await listed(user_id=tenant.user_id) == ["b", "c", "a"]
        assert await listed(statuses=[JobStatus.DONE]) == ["a"]
        unfinished = [JobStatus.PENDING, JobStatus.FAILED, JobStatus.RUNNING]
        assert await listed(user_id=other.user_id, statuses=unfinished) == ["d"]
        assert await listed(skip=1, limit=2) == ["c", "a"]

    async def test_cutting_a_transcript_shortens_its_jobs(self, tenant: Tenant) -> None:
        """An unfinished job ends where the transcript was cut; with nothing left it is done."""
        talk = await tenant.begin("talk", *"abcdef")
        graph, org_id = tenant.graph, tenant.org_id
        await tenant.apply(job=tenant.job(talk, 0, 2, "before"))
        await tenant.apply(job=tenant.job(talk, 1, 5, "across"))
        await tenant.apply(job=tenant.job(talk, 3, 6, "behind"))
        await tenant.apply(job=tenant.job(talk, 0, 6, "done", status=JobStatus.DONE))
        await tenant.edit(talk, 3, "x", "y", "z")
        jobs = {job.job_id: job for job in await graph.list_jobs(org_id)}
        assert (jobs["before"].start, jobs["before"].end) == (0, 2)
        assert (jobs["across"].start, jobs["across"].end) == (1, 3)
        assert jobs["behind"].status is JobStatus.DONE
        assert (jobs["done"].end, jobs["across"].status) == (6, JobStatus.PENDING)

    async def test_b14_a_required_job_that_is_gone_refuses_the_plan(self, tenant: Tenant) -> None:
        """A late answer of a job that went with its interaction writes nothing."""
        talk = await tenant.begin("talk", "a")
        job = tenant.job(talk, 0, 1)
        late = tenant.plan(
            memories=(tenant.statement("m"),),
            job=replace(job, status=JobStatus.DONE),
            job_must_exist=True,
        )
        with pytest.raises(InteractionNotFoundError):
            await tenant.graph.apply(late)
        await tenant.apply(job=job)
        await tenant.graph.delete_user_interaction_and_its_memories(
            tenant.org_id, tenant.user_id, "talk"
        )
        with pytest.raises(InteractionNotFoundError):
            await tenant.graph.apply(late)
        with pytest.raises(InteractionNotFoundError):
            await tenant.apply(job=job)
        with pytest.raises(JobNotFoundError):
            await tenant.graph.save_job(job)
        assert await tenant.all_memories() == []
        assert await tenant.graph.list_jobs(tenant.org_id) == []

    async def test_a_worker_that_lost_its_job_changes_nothing(self, tenant: Tenant) -> None:
        """Who was overtaken neither saves the job nor writes what it found, done or not."""
        job = tenant.job(await tenant.begin("talk", "a"), 0, 1)
        await tenant.apply(job=job)
        graph, org_id, now = tenant.graph, tenant.org_id, tenant.later()
        first = await graph.claim_job(org_id, "job", now=now, lease_until=now)
        second = await graph.claim_job(org_id, "job", now=now, lease_until=now)
        assert first is not None
        assert second is not None

        async def is_refused(worker: ExtractionJob, statement: str) -> None:
            late = replace(worker, status=JobStatus.DONE)
            for attempt in (
                graph.save_job(replace(worker, status=JobStatus.FAILED)),
                tenant.apply(
                    memories=(tenant.statement(statement),), job=late, job_must_exist=True
                ),
            ):
                with pytest.raises(ConflictError) as caught:
                    await attempt
                assert (caught.value.record, caught.value.record_id) == ("job", "job")
            assert all(memory.memory != statement for memory in await tenant.all_memories())

        await is_refused(first, "first")
        done = replace(second, status=JobStatus.DONE, lease_until=None)
        await tenant.apply(memories=(tenant.statement("second"),), job=done, job_must_exist=True)
        await is_refused(first, "again")
        assert await graph.get_job(org_id, "job") == done

    async def test_a_plan_replaces_its_job(self, tenant: Tenant) -> None:
        """The job of a plan is inserted with it, and replaced by a later plan."""
        job = tenant.job(await tenant.begin("talk", "a"), 0, 1)
        await tenant.apply(job=job)
        done = replace(job, status=JobStatus.DONE, attempts=3, outputs={"x": 1})
        await tenant.apply(memories=(tenant.statement("m"),), job=done, job_must_exist=True)
        assert await tenant.graph.get_job(tenant.org_id, "job") == done
