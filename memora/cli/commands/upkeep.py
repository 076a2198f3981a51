"""Commands that check and rebuild a store."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from memora.cli.boundary import NEGATIVE
from memora.cli.options import JsonOption, PathOption
from memora.cli.output import console, emit_json, print_notes, table
from memora.cli.session import run

_INCOMPLETE = "not everything could be checked: records cannot be read until this is repaired"


def doctor(path: PathOption = None, as_json: JsonOption = False) -> None:
    """Check that nothing in a store contradicts itself; exit code 1 when something does.

    It repairs nothing, and opens also a store that is damaged.
    """
    diagnosis = run(path, lambda memora: memora.doctor(), setup=False)
    if as_json:
        emit_json({"clean": diagnosis.clean, **asdict(diagnosis)})
    else:
        if diagnosis.findings:
            rows = ((f.invariant, f.kind, f.record_id, f.detail) for f in diagnosis.findings)
            console().print(table("Rule", "Kind", "Record", "What is wrong", rows=rows))
        checked = f"{diagnosis.memories} memories and {diagnosis.vectors} vectors checked"
        found = "nothing found" if diagnosis.clean else f"{len(diagnosis.findings)} findings"
        waiting = f"; {diagnosis.pending} outbox entries wait" if diagnosis.pending else ""
        print_notes([f"{checked}: {found}{waiting}"])
        if not diagnosis.complete:
            print_notes([_INCOMPLETE])
    if not diagnosis.clean:
        raise typer.Exit(NEGATIVE)


def reconcile(
    path: PathOption = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Repair; without it nothing is changed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what would repair what doctor finds, or repair it; exit code 1 while something is wrong.

    No message, memory, interaction, agent or user is ever deleted. An interrupted run is finished
    by the next one.
    """
    with _progress("Repairing", "repairs", quiet=as_json) as tell:
        done = run(
            path,
            lambda memora: memora.reconcile(
                apply=apply, on_progress=lambda count, _all: tell(count)
            ),
            setup=False,
        )
    if as_json:
        emit_json({"clean": done.clean, **asdict(done)})
    else:
        if done.repairs:
            rows = (
                (
                    each.outcome,
                    each.finding.kind,
                    each.finding.record_id,
                    each.reason or each.action,
                )
                for each in done.repairs
            )
            console().print(table("Outcome", "Kind", "Record", "Repair", rows=rows))
        repaired = sum(each.outcome == "repaired" for each in done.repairs)
        if done.applied:
            print_notes([f"{repaired} of {len(done.repairs)} findings repaired"])
        elif done.clean:
            print_notes(["nothing to repair"])
        else:
            print_notes([f"{len(done.repairs)} findings; --apply repairs what can be repaired"])
        if not done.complete:
            print_notes([_INCOMPLETE])
    if not done.clean:
        raise typer.Exit(NEGATIVE)


EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help="The new embedder, such as openai:text-embedding-3-small. Without it: the one that "
        "the settings name.",
    ),
]


def reindex(
    path: PathOption = None, embedder: EmbedderOption = None, as_json: JsonOption = False
) -> None:
    """Make all vectors again from the graph, also by another embedder; no language model is asked.

    The old vectors are removed when all new ones are there. A run that is interrupted changes
    nothing.
    """
    with _progress("Indexing", "memories", quiet=as_json) as tell:
        done = run(
            path,
            lambda memora: memora.reindex(tell, embedder=embedder),
            # They are replaced, also where they are of another embedder than the settings name.
            vectors=False,
        )
    if as_json:
        emit_json({"indexed": done})
    else:
        notes = [f"{done} memories indexed"]
        if embedder is not None:
            notes.append(f"from now on the store opens with MEMORA_EMBEDDER={embedder}")
        print_notes(notes)


@contextmanager
def _progress(verb: str, what: str, *, quiet: bool) -> Generator[Callable[[int], None]]:
    """Show a bar on a terminal, and yield what moves it."""
    err = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed}} {what}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as progress:
        task = progress.add_task(verb, total=None)
        yield lambda count: progress.update(task, completed=count)
        finished = max(int(progress.tasks[0].completed), 1)
        progress.update(task, total=finished, completed=finished)
