"""The command that erases a user or an organization."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from memora.agent.main import Memora
from memora.cli.boundary import NEGATIVE
from memora.cli.options import JsonOption, PathOption
from memora.cli.output import emit_json, print_notes, printable
from memora.cli.session import run
from memora.errors import VectorDBError
from memora.schema.erasure import ErasureReceipt


def erase(
    org: Annotated[str, typer.Option("--org", metavar="ID", help="The organization.")],
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help="The user. Without one: the organization."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    receipt: Annotated[
        Path | None,
        typer.Option(
            "--receipt", metavar="FILE", dir_okay=False, help="Write the receipt to a new file."
        ),
    ] = None,
    path: PathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a user, or a whole organization, and look whether anything is left.

    It cannot be undone. Exit code 1 says that something is left to do: run it again.
    """
    _confirm(org, user, yes=yes)

    async def work(memora: Memora) -> ErasureReceipt:
        # One that cannot be reached must not keep the graph: its part follows.
        with suppress(VectorDBError):
            await memora.vector_db.setup()
        if user is None:
            return await memora.erase_organization(org)
        return await memora.erase_user(org, user)

    with _new_file(receipt) as write:
        done = run(path, work, vectors=False)
        write(json.dumps(done.as_json(), indent=2) + "\n")
    if as_json:
        emit_json(done.as_json())
    else:
        print_notes([_told(done)])
    if not done.complete:
        sys.stderr.write(f"memora: not complete: {printable(str(done.reason))}\n")
        raise typer.Exit(NEGATIVE)


def _confirm(org: str, user: str | None, *, yes: bool) -> None:
    if yes:
        return
    if not is_terminal():
        raise typer.BadParameter("say --yes: there is nobody to ask")
    subject = f"organization {org!r} with all its users" if user is None else f"user {user!r}"
    typer.confirm(f"Erase {printable(subject)} for good?", abort=True, err=True)


def is_terminal() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin.isatty()


@contextmanager
def _new_file(path: Path | None) -> Generator[Callable[[str], object]]:
    """Make the file before anything is erased, and take it back when nothing was.

    Raises:
        BadParameter: It exists: an earlier receipt is not overwritten.
    """
    if path is None:
        yield len
        return
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise typer.BadParameter(f"{path} exists: name a new file") from None
    try:
        with file:
            yield file.write
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _told(done: ErasureReceipt) -> str:
    counts = {kind.replace("_", " "): n for kind, n in asdict(done.graph.erased).items() if n}
    if done.vectors.erased:
        counts["vectors"] = done.vectors.erased
    if not counts:
        return "There was nothing to erase."
    return "Erased: " + ", ".join(f"{number} {kind}" for kind, number in counts.items())
