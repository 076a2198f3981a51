"""Commands that check and rebuild a store."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from memora.cli.boundary import NEGATIVE
from memora.cli.options import JsonOption, PathOption
from memora.cli.output import console, emit_json, print_notes, table
from memora.cli.session import run


def doctor(path: PathOption = None, as_json: JsonOption = False) -> None:
    """Check that nothing in a store contradicts itself; exit code 1 when something does.

    It repairs nothing. Opening the store works off what an earlier process left, as always.
    """
    diagnosis = run(path, lambda memora: memora.doctor())
    if as_json:
        emit_json({"clean": diagnosis.clean, **asdict(diagnosis)})
    else:
        if diagnosis.findings:
            rows = ((f.invariant, f.record_id, f.detail) for f in diagnosis.findings)
            console().print(table("Rule", "Record", "What is wrong", rows=rows))
        checked = f"{diagnosis.memories} memories and {diagnosis.vectors} vectors checked"
        found = "nothing found" if diagnosis.clean else f"{len(diagnosis.findings)} findings"
        waiting = f"; {diagnosis.pending} outbox entries wait" if diagnosis.pending else ""
        print_notes([f"{checked}: {found}{waiting}"])
    if not diagnosis.clean:
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
    err = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} memories"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=as_json or not err.is_terminal) as progress:
        task = progress.add_task("Indexing", total=None)
        done = run(
            path,
            lambda memora: memora.reindex(
                lambda count: progress.update(task, completed=count), embedder=embedder
            ),
            # They are replaced, also where they are of another embedder than the settings name.
            vectors=False,
        )
        progress.update(task, total=max(done, 1), completed=max(done, 1))
    if as_json:
        emit_json({"indexed": done})
    else:
        notes = [f"{done} memories indexed"]
        if embedder is not None:
            notes.append(f"from now on the store opens with MEMORA_EMBEDDER={embedder}")
        print_notes(notes)
