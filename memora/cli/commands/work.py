"""Commands for work that is left: extraction jobs, and the outbox of the vector store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from memora.agent.main import Memora
from memora.cli.boundary import NEGATIVE, UNAVAILABLE
from memora.cli.options import (
    DEFAULT_ID,
    JsonOption,
    LimitOption,
    OrgOption,
    Owner,
    PathOption,
    SkipOption,
)
from memora.cli.output import console, emit_json, print_notes, printable, table, when
from memora.cli.session import run
from memora.errors import ConflictError, ExtractionError, NotFoundError
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.write_plan import OutboxEntry

_PAGE = 1000

jobs = typer.Typer(
    invoke_without_command=True,
    help="List extractions that are not done, or resume them.\n\n"
    "A transcript is stored before a model reads it. When the model fails, the extraction stays "
    "as a job: nothing is lost, and nothing that was paid for is paid again.",
    epilog="Example: memora jobs resume --all --path ./memory",
)
outbox = typer.Typer(
    invoke_without_command=True,
    help="Show vector work that waits; `drain` does what is due, `retry` all of it.\n\n"
    "Each change of the graph leaves an entry for the vector store in the same transaction. "
    "Entries that fail wait longer each time; the others are worked off at once.",
    epilog="Example: memora outbox drain --path ./memory",
)


@jobs.callback()
def list_jobs(
    ctx: typer.Context,
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Only jobs of this user.")
    ] = None,
    statuses: Annotated[
        list[str] | None,
        typer.Option("--status", help="pending, running, failed or done; may be repeated."),
    ] = None,
    skip: SkipOption = 0,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List extraction jobs, unless a subcommand follows."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = {"path": path, "org": org}
        return
    wanted: Sequence[str] = statuses or _left()

    async def work(memora: Memora) -> list[ExtractionJob]:
        return await memora.list_jobs(org, user_id=user, statuses=wanted, skip=skip, limit=limit)

    found = run(path, work, Owner(org, user))
    if as_json:
        emit_json({"org_id": org, "jobs": [_job_json(job) for job in found]})
        return
    rows = (
        [job.job_id, job.status.value, str(job.attempts), when(job.updated_at), _described(job)]
        for job in found
    )
    if found:
        console().print(table("Job", "Status", "Tries", "Changed (UTC)", "About", rows=rows))
    print_notes([f"{len(found)} jobs"])


@jobs.command("resume", epilog="Example: memora jobs resume --all --path ./memory")
def resume_jobs(
    ctx: typer.Context,
    job_id: Annotated[
        str | None, typer.Argument(metavar="JOB_ID", help="The job to resume.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are not done.")] = False,
    path: PathOption = None,
    org: Annotated[
        str | None, typer.Option("--org", metavar="ID", help="The organization.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Finish extractions that failed or were interrupted."""
    if (job_id is None) != every:
        raise typer.BadParameter("name a job, or say --all")
    org_id: str = org or ctx.obj["org"]

    async def work(memora: Memora) -> list[dict[str, Any]]:
        if job_id is not None:
            return [await _resumed(memora, org_id, job_id)]
        return [await _tried(memora, org_id, left) for left in await _jobs_left(memora, org_id)]

    results = run(path or ctx.obj["path"], work, Owner(org_id), models=True)
    if as_json:
        emit_json({"org_id": org_id, "jobs": results})
    else:
        rows = ((result["job_id"], result["result"]) for result in results)
        if results:
            console().print(table("Job", "Result", rows=rows))
        else:
            print_notes(["There is no job that is not done."])
    errors = [str(result["error"]) for result in results if result["error"] is not None]
    for error in errors:
        sys.stderr.write(f"memora: {printable(error)}\n")
    if errors:
        raise typer.Exit(UNAVAILABLE)
    if any(result["result"] == "running elsewhere" for result in results):
        raise typer.Exit(NEGATIVE)


def _left() -> list[str]:
    return [status.value for status in JobStatus if status is not JobStatus.DONE]


async def _jobs_left(memora: Memora, org_id: str) -> list[str]:
    ids: list[str] = []
    while True:
        page = await memora.list_jobs(org_id, statuses=_left(), skip=len(ids), limit=_PAGE)
        ids += [job.job_id for job in page]
        if len(page) < _PAGE:
            return ids


async def _tried(memora: Memora, org_id: str, job_id: str) -> dict[str, Any]:
    """Resume one job of many: its failure must not keep the others from being resumed."""
    try:
        return await _resumed(memora, org_id, job_id)
    except (ExtractionError, ConflictError, NotFoundError) as error:
        return {"job_id": job_id, "result": "failed", "error": str(error)}


async def _resumed(memora: Memora, org_id: str, job_id: str) -> dict[str, Any]:
    if await memora.resume_job(org_id, job_id):
        return {"job_id": job_id, "result": "finished", "error": None}
    job = await memora.graph.get_job(org_id, job_id)
    done = job.status is JobStatus.DONE
    return {
        "job_id": job_id,
        "result": "finished before" if done else "running elsewhere",
        "error": None,
    }


def _job_json(job: ExtractionJob) -> dict[str, Any]:
    document = asdict(replace(job, params={}, outputs={}))
    del document["params"], document["outputs"]
    for field in ("created_at", "updated_at", "lease_until"):
        document[field] = None if document[field] is None else document[field].isoformat()
    return document


def _described(job: ExtractionJob) -> str:
    about = f"{job.interaction_id} of {job.user_id}, messages {job.start} to {job.end - 1}"
    return about if job.error is None else f"{about}\n{job.error}"


@outbox.callback()
def show_outbox(
    ctx: typer.Context,
    path: PathOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Show the outbox, unless a subcommand follows."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = {"path": path}
        return

    async def work(memora: Memora) -> tuple[Any, list[OutboxEntry]]:
        status = await memora.graph.outbox_status()
        return status, await memora.graph.list_outbox(limit=limit)

    status, entries = run(path, work, drain=False)
    if as_json:
        oldest = None if status.oldest is None else status.oldest.isoformat()
        emit_json(
            {
                "pending": status.pending,
                "dead": status.dead,
                "oldest": oldest,
                "entries": [_entry_json(entry) for entry in entries],
            }
        )
        return
    rows = (
        [str(entry.seq), entry.op.value, str(entry.attempts), _due(entry), _scope(entry)]
        for entry in entries
    )
    if entries:
        console().print(table("Entry", "Work", "Tries", "Due (UTC)", "About", rows=rows))
    print_notes([f"{status.pending} entries wait, {status.dead} were given up"])


@outbox.command("drain", epilog="Example: memora outbox drain --path ./memory")
def drain_outbox(ctx: typer.Context, path: PathOption = None, as_json: JsonOption = False) -> None:
    """Do the vector work that is due; exit code 1 when the vector store fails again."""
    report = run(path or ctx.obj["path"], lambda memora: memora.drain_outbox(), drain=False)
    _tell_drained(asdict(report), as_json=as_json)


@outbox.command("retry", epilog="Example: memora outbox retry --path ./memory")
def retry_outbox(ctx: typer.Context, path: PathOption = None, as_json: JsonOption = False) -> None:
    """Try all vector work again at once, also what was given up."""

    async def work(memora: Memora) -> dict[str, Any]:
        revived = await memora.graph.retry_outbox(memora.graph.clock.now())
        return {"retried": revived, **asdict(await memora.drain_outbox())}

    _tell_drained(run(path or ctx.obj["path"], work, drain=False), as_json=as_json)


def _tell_drained(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(report)
    else:
        print_notes([f"{report['applied']} entries done, {report['failed']} failed"])
    if report["failed"]:
        sys.stderr.write(f"memora: {printable(str(report['error']))}\n")
        raise typer.Exit(NEGATIVE)


def _entry_json(entry: OutboxEntry) -> dict[str, Any]:
    document = asdict(entry)
    del document["lease"]
    for field in ("enqueued_at", "not_before"):
        document[field] = None if document[field] is None else document[field].isoformat()
    return document


def _due(entry: OutboxEntry) -> str:
    if entry.dead:
        return "given up"
    return "now" if entry.not_before is None else when(entry.not_before)


def _scope(entry: OutboxEntry) -> str:
    about = f"{len(entry.memory_ids)} memories of {entry.user_id or 'all users'} in {entry.org_id}"
    return about if entry.error is None else f"{about}\n{entry.error}"
