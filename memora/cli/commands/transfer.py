"""Commands that move a store: into a file or directory, and back."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from memora.agent.incoming import check_backup, check_export
from memora.cli.boundary import NEGATIVE
from memora.cli.options import JsonOption, PathOption
from memora.cli.output import console, emit_json, print_notes
from memora.cli.session import has_store, run

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file.")]
ExportArgument = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The file.")
]
DirectoryArgument = Annotated[
    Path, typer.Argument(metavar="DIR", file_okay=False, help="Directory of the backup.")
]
BackupArgument = Annotated[
    Path,
    typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Directory of the backup."),
]
OneOrgOption = Annotated[
    str | None, typer.Option("--org", metavar="ID", help="Only this organization.")
]


def export(
    file: FileArgument,
    path: PathOption = None,
    org_id: OneOrgOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write everything but the vectors into one file, which any store can import.

    The file is plain text, also where the store is encrypted.
    """
    with _counting("Exporting", quiet=as_json) as told:
        report = run(
            path,
            lambda memora: memora.export_to(file, org_id=org_id, on_progress=told),
            vectors=False,
        )
    if as_json:
        emit_json({**asdict(report), "path": str(report.path)})
    else:
        print_notes([f"{report.records.total} records written to {file} ({report.size} bytes)"])


def import_file(file: ExportArgument, path: PathOption = None, as_json: JsonOption = False) -> None:
    """Read the file of an export into a store, which is created if it is not there.

    An import that was interrupted is finished by the same command.
    """
    if not has_store(path):
        check_export(file)
    with _counting("Importing", quiet=as_json) as told:
        report = run(path, lambda memora: memora.import_from(file, on_progress=told), create=True)
    if as_json:
        emit_json({**asdict(report), "path": str(report.path)})
    else:
        resumed = f"; {report.resumed} of them were there" if report.resumed else ""
        waiting = f"; {report.drained.failed} outbox entries wait" if report.drained.failed else ""
        print_notes([f"{report.records.total} records of {file} imported{resumed}{waiting}"])


def backup(
    directory: DirectoryArgument, path: PathOption = None, as_json: JsonOption = False
) -> None:
    """Copy a store into a new or empty directory.

    An embedded store is copied as it is: an encrypted one stays so. Others are exported.
    """
    report = run(path, lambda memora: memora.backup(directory))
    if as_json:
        files = [file.model_dump() for file in report.files]
        emit_json({"directory": str(directory), "kind": report.kind.value, "files": files})
    else:
        print_notes([f"{report.kind.value} backup of {report.size} bytes in {directory}"])


def restore(
    directory: BackupArgument, path: PathOption = None, as_json: JsonOption = False
) -> None:
    """Fill a new or empty store from a backup, and check it; exit code 1 when that finds something.

    The backup is verified first.
    """
    if not has_store(path):
        check_backup(directory)
    report = run(path, lambda memora: memora.restore(directory), create=True)
    diagnosis = report.diagnosis
    if as_json:
        emit_json(
            {
                "directory": str(directory),
                "kind": report.kind.value,
                "indexed": report.indexed,
                "clean": diagnosis.clean,
                **asdict(diagnosis),
            }
        )
    else:
        found = "nothing found" if diagnosis.clean else f"{len(diagnosis.findings)} findings"
        print_notes([f"{diagnosis.memories} memories restored and checked: {found}"])
    if not diagnosis.clean:
        raise typer.Exit(NEGATIVE)


@contextmanager
def _counting(what: str, *, quiet: bool) -> Generator[Callable[[int], None]]:
    """Show how many records are done, where somebody looks."""
    err = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        TextColumn("{task.completed} records"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda count: progress.update(task, completed=count)
