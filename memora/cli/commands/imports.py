"""The commands that list imports of conversations, and take one back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from memora.agent.main import Memora
from memora.cli.options import (
    DEFAULT_ID,
    JsonOption,
    LimitOption,
    OrgOption,
    Owner,
    PathOption,
    SkipOption,
)
from memora.cli.output import console, emit_json, print_notes, table, when
from memora.cli.session import run
from memora.schema.imports import ImportRun, ImportUndo

imports = typer.Typer(
    invoke_without_command=True,
    help="List imports of conversations with their counts, or take one back whole.\n\n"
    "What an import wrote is kept apart by its id, so that a mistaken one can be undone and made "
    "again.",
    epilog="Example: memora imports --path ./memory --org demo",
)


@imports.callback()
def list_imports(
    ctx: typer.Context,
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Only imports for this user.")
    ] = None,
    skip: SkipOption = 0,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List imports, unless a subcommand follows."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = {"path": path, "org": org}
        return

    async def work(memora: Memora) -> list[ImportRun]:
        return await memora.list_imports(org, user, skip=skip, limit=limit)

    found = run(path, work, Owner(org, user))
    if as_json:
        emit_json({"org_id": org, "imports": [each.model_dump(mode="json") for each in found]})
        return
    rows = (
        [each.import_id, each.status.value, when(each.started_at), _described(each)]
        for each in found
    )
    if found:
        console().print(table("Import", "Status", "Begun (UTC)", "About", rows=rows))
    print_notes([f"{len(found)} imports"])


@imports.command("undo", epilog="Example: memora imports undo IMPORT_ID --dry-run --path ./memory")
def undo_import(
    ctx: typer.Context,
    import_id: Annotated[str, typer.Argument(metavar="IMPORT_ID", help="The import.")],
    path: PathOption = None,
    org: Annotated[
        str | None, typer.Option("--org", metavar="ID", help="The organization.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take back all that an import wrote; what it had superseded is current again."""
    org_id: str = org or ctx.obj["org"]

    async def work(memora: Memora) -> ImportUndo:
        return await memora.undo_import(org_id, import_id, dry_run=dry_run)

    undone = run(path or ctx.obj["path"], work, Owner(org_id))
    if as_json:
        emit_json(_undo_json(undone))
        return
    done = undone.done
    would = "would be " if dry_run else ""
    print_notes(
        [
            f"{import_id}{': nothing was written' if dry_run else ': undone'}",
            f"{done.interactions_removed} conversations {would}removed, "
            f"{done.interactions_restored} {would}as before, "
            f"{done.interactions_kept} kept by who continued them",
            f"{done.messages} messages and {done.memories} versions of memories {would}removed",
            f"{done.restored} {would}current again",
            f"{done.unlinked} stay, and {would or 'have been '}unlinked from it",
        ]
    )


def _undo_json(undone: ImportUndo) -> dict[str, Any]:
    return {**asdict(undone), "at": undone.at.isoformat()}


def _described(run: ImportRun) -> str:
    counts = (
        f"{run.conversations} conversations, {run.memories} memories, {run.failed} failed, "
        f"{run.skipped} skipped"
    )
    source = "" if run.process_id is None else f" from {run.process_id}"
    return f"for {run.user_id}{source}\n{counts}"
