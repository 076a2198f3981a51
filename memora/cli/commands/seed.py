"""`memora seed`: a file of conversations and documents into a store."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from memora.agent.main import Memora
from memora.cli.boundary import NEGATIVE
from memora.cli.intake import STDIN, Intake
from memora.cli.options import DEFAULT_ID, JsonOption, PathOption
from memora.cli.output import console, emit_json, print_notes, printable
from memora.cli.session import has_store, run
from memora.importers.files import FoundDocument
from memora.schema.seeding import SeedConfig, SeedData, SeedEstimate

_SHOWN = 10


@dataclass(slots=True)
class _Run:
    """What the options say, and what the import answered."""

    intake: Intake
    user_id: str
    org_id: str
    agent_id: str | None
    process_id: str | None
    batch_size: int
    config: SeedConfig
    import_id: str | None
    prices: dict[str, tuple[float, float]]
    imports: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    memories: int = 0
    totals: dict[str, Any] = field(default_factory=dict[str, Any])

    def data(self, memora: Memora, *, dry: bool = False) -> SeedData:
        async def documents(found: list[FoundDocument]) -> None:
            if dry:
                self.intake.counts["documents"] += len(found)
            else:
                await self._documents(memora, found)

        return SeedData.for_conversations(
            self.user_id,
            self.intake.conversations(documents),
            org_id=self.org_id,
            agent_id=self.agent_id,
            process_id=self.process_id,
        )

    async def seed(self, memora: Memora, told: Progress) -> None:
        """Import the file."""
        if self.import_id is None:
            self.import_id = memora.graph.ids.short()
        task = told.add_task("Seeding", total=self.intake.size, rate=0.0, failed=0, tokens=0, n=0)
        before, started, undated = memora.usage, time.monotonic(), 0
        expired = 0
        events = memora.seed_events(
            self.data(memora),
            seed_config=self.config,
            batch_size=self.batch_size,
            import_id=self.import_id,
        )
        async with aclosing(events):
            async for event in events:
                result = event.result
                if result is None:
                    continue
                undated += event.is_undated
                expired += result.expired
                self.memories += result.memories
                await self.intake.ended(result.conversation_id, result.status, result.error)
                spent = memora.usage - before
                done = sum(self.intake.counts.values())
                told.update(
                    task,
                    completed=self.intake.position,
                    rate=done / max(time.monotonic() - started, 0.001),
                    failed=self.intake.failed,
                    tokens=spent.prompt_tokens + spent.completion_tokens,
                    n=done,
                )
        spent = memora.usage - before
        self.totals = {
            "undated": undated,
            "expired": expired,
            "memories": self.memories,
            "model_calls": spent.calls,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "duration_ms": round(1000 * (time.monotonic() - started)),
        }

    async def _documents(self, memora: Memora, found: list[FoundDocument]) -> None:
        """Import documents; those of other users than the command's are imports of their own."""
        of_user: dict[tuple[str, str], list[FoundDocument]] = {}
        for item in found:
            org_id, user_id = item.value.get("customer_id"), item.value.get("user_id")
            owner = (str(org_id or self.org_id), str(user_id or self.user_id))
            of_user.setdefault(owner, []).append(item)
        for owner, items in of_user.items():
            if owner not in self.imports:
                own = owner == (self.org_id, self.user_id)
                self.imports[owner] = (own and self.import_id) or memora.graph.ids.short()
            results = await memora.batch_create(
                [{"user_id": self.user_id, **item.value} for item in items],
                org_id=self.org_id,
                import_id=self.imports[owner],
            )
            for item, result in zip(items, results, strict=True):
                self.memories += result.memories
                if result.success:
                    self.intake.counts[result.status] += 1
                else:
                    await self.intake.fail(item, f"{result.error_type}: {result.error}")

    async def estimate(self, memora: Memora) -> SeedEstimate:
        """Tell what the import would do."""
        found = await memora.seed(
            self.data(memora, dry=True),
            seed_config=self.config,
            dry_run=True,
            prices=self.prices or None,
        )
        estimate = found.estimate or SeedEstimate()
        for each in estimate.failures:
            await self.intake.ended(each.conversation_id, each.status, each.error)
        return estimate


def seed(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSON or JSON lines of conversations or documents, or an export of ChatGPT, "
            "Claude, mem0 or Zep; - reads standard input.",
        ),
    ],
    user_id: Annotated[
        str,
        typer.Option(
            "--user-id", "--entity-id", "--user", metavar="ID", help="Whose memories they are."
        ),
    ],
    path: PathOption = None,
    org: Annotated[str, typer.Option("--org", metavar="ID", help="The organization.")] = DEFAULT_ID,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="ID", help="The agent that took part.")
    ] = None,
    process: Annotated[
        str | None,
        typer.Option("--process-id", metavar="ID", help="Where they come from; kept with them."),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", metavar="N", help="Conversations worked on at once."),
    ] = 10,
    agent_memories: Annotated[
        bool, typer.Option("--agent-memories", help="Also remember what the assistant says.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="IMPORT_ID", help="Go on under this import id."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what it would cost; write nothing.")
    ] = False,
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="MODEL=READ,WRITTEN",
            help="Price of a million tokens, for --dry-run; may be repeated.",
        ),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(
            "--failures",
            metavar="FILE",
            dir_okay=False,
            help="Write the records that failed here; the file can be seeded again.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import earlier conversations and documents at their own dates.

    Organization, user and agent are created where they are missing. Running it again is free:
    what is stored is told from what is new or changed, and what an interrupted run left is
    finished. Exit code 1: some records failed, all others are stored.
    """
    _check_files(file, failures)
    prices = dict(_price(given) for given in price or [])
    config = SeedConfig(extract_agent_memories=agent_memories)
    with Intake.opened(file, failures) as intake:
        work = _Run(intake, user_id, org, agent, process, batch_size, config, resume, prices)
        if dry_run:
            with _some_store(path) as store:
                estimate = run(store, work.estimate, models=True, create=True)
            _tell_estimate(intake, estimate, as_json=as_json)
        else:
            with _bar(quiet=as_json) as told:
                run(path, lambda memora: work.seed(memora, told), models=True, create=True)
            _tell(work, as_json=as_json)
    if intake.failed:
        raise typer.Exit(NEGATIVE)


@contextmanager
def _some_store(path: Path | None) -> Generator[Path | None]:
    """Yield the store, or an empty one where there is none: an estimate creates nothing."""
    if has_store(path):
        yield path
        return
    with TemporaryDirectory() as empty:
        yield Path(empty)


def _price(given: str) -> tuple[str, tuple[float, float]]:
    """Return a model and its prices of a million tokens, read and written."""
    model, _, numbers = given.rpartition("=")
    try:
        read, written = map(float, numbers.split(","))
    except ValueError:
        raise typer.BadParameter("--price is MODEL=READ,WRITTEN, such as gpt-x=0.4,1.6") from None
    return model, (read, written)


def _check_files(file: str, failures: Path | None) -> None:
    if file != STDIN and Path(file).is_dir():
        raise typer.BadParameter(f"{printable(file)}: this is a directory, not a file")
    if file != STDIN and not Path(file).exists():
        raise typer.BadParameter(f"{printable(file)}: there is no such file")
    if failures is None:
        return
    if file != STDIN and failures.exists() and failures.samefile(file):
        raise typer.BadParameter("--failures must be another file than FILE")
    if not failures.absolute().parent.is_dir():
        raise typer.BadParameter(f"{printable(str(failures.parent))}: there is no such directory")


@contextmanager
def _bar(*, quiet: bool) -> Generator[Progress]:
    """Show a bar on a terminal."""
    err = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.fields[n]} done, {task.fields[failed]} failed, "
            "{task.fields[rate]:.1f}/s, {task.fields[tokens]} tokens"
        ),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as progress:
        yield progress


def _tell(work: _Run, *, as_json: bool) -> None:
    intake = work.intake
    counts = intake.counts
    unchanged = counts["unchanged"] + counts["duplicate"]
    numbers: dict[str, Any] = {
        "total": sum(counts.values()) - counts["empty"],
        "created": counts["created"],
        "updated": counts["updated"],
        "unchanged": unchanged,
        "failed": intake.failed,
        "empty": counts["empty"],
        **work.totals,
    }
    if as_json:
        emit_json({"import_id": work.import_id, **numbers, "failures": _failures(intake)})
        return
    notes = [
        f"{numbers['created']} created, {numbers['updated']} updated, {unchanged} unchanged, "
        f"{intake.failed} failed",
        f"{numbers['memories']} memories, "
        f"{numbers['prompt_tokens'] + numbers['completion_tokens']} tokens",
        f"import {work.import_id}",
    ]
    if numbers["empty"]:
        notes.append(f"{numbers['empty']} conversations were empty")
    if numbers["undated"]:
        notes.append(f"{numbers['undated']} had no time of their own and got that of the import")
    if numbers["expired"]:
        notes.append(f"{numbers['expired']} short-term memories were expired already")
    _tell_failures(intake)
    print_notes(notes)


def _tell_estimate(intake: Intake, found: SeedEstimate, *, as_json: bool) -> None:
    documents = intake.counts["documents"]
    if as_json:
        emit_json(
            {
                "dry_run": True,
                **found.model_dump(mode="json", exclude={"failures"}),
                "documents": documents,
                "unreadable": intake.failed - len(found.failures),
                "empty": intake.counts["empty"],
                "failures": _failures(intake),
            }
        )
        return
    _tell_failures(intake)
    notes = [
        f"{found.conversations} conversations to import, {found.unchanged} unchanged, "
        f"{found.invalid + intake.failed - len(found.failures)} malformed",
        f"{found.model_calls} calls of the extraction model, about {found.prompt_tokens} tokens "
        f"read and {found.completion_tokens} written",
    ]
    if found.cost:
        notes.append(f"about {found.cost:.2f} at these prices")
    if documents:
        notes.append(f"{documents} documents, of which the calls are not estimated")
    print_notes(notes)


def _failures(intake: Intake) -> list[dict[str, str]]:
    return [{"place": each.place, "id": each.name, "error": each.error} for each in intake.told]


def _tell_failures(intake: Intake) -> None:
    for each in intake.told[:_SHOWN]:
        name = f" ({each.name})" if each.name else ""
        line = printable(f"{each.place}{name}: {each.error}").replace("\n", " ")
        sys.stderr.write(f"memora: {line}\n")
    if intake.failed > _SHOWN:
        sys.stderr.write(f"memora: {intake.failed - _SHOWN} more failed\n")
