"""The command that takes a source back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from memora.agent.main import Memora
from memora.cli.options import (
    DEFAULT_ID,
    JsonOption,
    OrgOption,
    Owner,
    PathOption,
    UserOption,
)
from memora.cli.output import emit_json, print_notes
from memora.cli.session import run
from memora.schema.sources import RollbackReceipt, SourceSelector


def rollback(
    by_source: Annotated[
        str,
        typer.Option(
            "--by-source",
            metavar="KIND:ID",
            help="What is taken back: interaction:ID, agent:ID, import:ID or process:ID.",
        ),
    ],
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and write nothing.")
    ] = False,
    author: Annotated[
        str | None, typer.Option("--author", metavar="NAME", help="Kept in the receipt.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take back all that one source brought in; what it had superseded is current again."""
    selector = SourceSelector.parse(by_source, "--by-source")
    source: dict[str, Any] = {selector.field: selector.source_id}

    async def work(memora: Memora) -> RollbackReceipt:
        return await memora.rollback_source(org, user, **source, author=author, dry_run=dry_run)

    receipt = run(path, work, Owner(org, user))
    if as_json:
        emit_json({"org_id": org, "user_id": user, **_receipt_json(receipt)})
        return
    would = "would be " if receipt.dry_run else ""
    print_notes(
        [
            f"{receipt.source}{': nothing was written' if receipt.dry_run else ''}",
            f"{len(receipt.removed)} versions {would}removed",
            f"{len(receipt.restored)} {would}current again",
            f"{len(receipt.unlinked)} stay, and {would or 'have been '}unlinked from it",
            f"{len(receipt.cancelled_jobs)} extractions {would}cancelled",
        ]
    )


def _receipt_json(receipt: RollbackReceipt) -> dict[str, Any]:
    return {**asdict(receipt), "source": str(receipt.source), "at": receipt.at.isoformat()}
