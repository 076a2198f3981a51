"""Commands that look after what is remembered: how it is, and what may go."""

from __future__ import annotations

from typing import Annotated

import typer

from memora.cli.options import DEFAULT_ID, JsonOption, OrgOption, Owner, PathOption
from memora.cli.output import console, emit_json, print_notes, table, when
from memora.cli.session import run
from memora.schema.direct import MemoryHealth

OneUserOption = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="Only this user; none: all of them.")
]


def health(
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: OneUserOption = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", help="Memories compared for redundancy.")
    ] = 64,
    as_json: JsonOption = False,
) -> None:
    """Count the memories of an organization or a user: states, types, ages, twins, index lag."""
    found = run(
        path, lambda memora: memora.memory_health(org, user, sample=sample), Owner(org, user)
    )
    if as_json:
        emit_json({"org_id": org, "user_id": user, **found.model_dump(mode="json")})
        return
    rows = [
        *((name, str(count)) for name, count in found.by_status.items()),
        *((f"type {name}", str(count)) for name, count in found.by_type.items()),
        *((f"age {name}", str(count)) for name, count in found.ages.items() if count),
        ("pinned", str(found.pinned)),
        ("never used", str(found.unused)),
    ]
    console().print(table("What", "Memories", rows=rows))
    print_notes(_notes(found))


def _notes(found: MemoryHealth) -> list[str]:
    notes: list[str] = []
    if found.oldest is not None and found.newest is not None:
        notes.append(f"obtained from {when(found.oldest)} to {when(found.newest)}")
    if found.redundancy is not None:
        notes.append(f"{found.redundancy:.0%} of the newest {found.sampled} have a near twin")
    lag = f"{found.index_pending} changes wait for the index"
    if found.index_waiting_since is not None:
        lag += f" since {when(found.index_waiting_since)}"
    if found.index_dead:
        lag += f", {found.index_dead} were given up; see `memora outbox`"
    return [*notes, lag]


def sweep(
    path: PathOption = None,
    org: Annotated[
        str | None, typer.Option("--org", metavar="ID", help="Only this organization.")
    ] = None,
    user: OneUserOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove expired memories from both stores, and archive what nothing used for long.

    How long is said by the settings short_term_days and archive_after_days.
    """
    if user is not None and org is None:
        raise typer.BadParameter("--user needs --org")
    owner = None if org is None else Owner(org, user)
    receipt = run(path, lambda memora: memora.sweep(org, user, dry_run=dry_run), owner)
    if as_json:
        emit_json(receipt.model_dump(mode="json"))
        return
    would = "would be " if receipt.dry_run else ""
    print_notes(
        [
            f"{receipt.expired} expired memories {would}removed",
            f"{receipt.archived} {would}archived",
        ]
    )
