"""The end of every command that fails: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from memora.cli.output import printable
from memora.errors import (
    ConflictError,
    InvalidInputError,
    MemoraError,
    MemoryDeleteError,
    MemoryUpdateError,
    NotFoundError,
)

NEGATIVE = 1
INVALID = 2
NOT_FOUND = 3
UNAVAILABLE = 4
DEFECT = 70

EXIT_CODES = "\n\n".join(
    [
        "Exit codes:",
        "0 all right",
        f"{NEGATIVE} doctor found something, what was asked for could not be done, or some records "
        "of a file failed",
        f"{INVALID} wrong usage or invalid input",
        f"{NOT_FOUND} no such store or record",
        f"{UNAVAILABLE} a store or provider cannot be used, or another process has the store open",
        f"{DEFECT} a defect of memora",
    ]
)


class NoStoreError(MemoraError):
    """There is no embedded store in the directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path}: there is no store here; `memora add` or `memora seed` makes one")


class Boundary(TyperGroup):
    """The root of all commands; what they raise ends here."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and turn its error into one line and an exit code."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if _is_typers(error):
                raise
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            else:
                _tell(error)
            raise typer.Exit(exit_code(error)) from None


def exit_code(error: Exception) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, InvalidInputError):
        return INVALID
    if isinstance(error, NotFoundError | NoStoreError):
        return NOT_FOUND
    if isinstance(error, ConflictError | MemoryUpdateError | MemoryDeleteError):
        return NEGATIVE
    if isinstance(error, MemoraError | OSError):
        return UNAVAILABLE
    return DEFECT


def _is_typers(error: Exception) -> bool:
    """Tell what typer answers itself: wrong usage, an exit, a reader that went away."""
    own = type(error).__module__.partition(".")[0] in {"typer", "click"}
    return own or (isinstance(error, OSError) and error.errno == errno.EPIPE)


def _tell(error: Exception) -> None:
    """Print what memora says about an error; a foreign one's text may hold what was stored."""
    if isinstance(error, MemoraError):
        lines = [str(error), *getattr(error, "__notes__", [])]
    elif isinstance(error, OSError):
        lines = [f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}"]
    else:
        lines = [f"unexpected {type(error).__name__}; `memora --debug ...` shows where"]
    for line in lines:
        sys.stderr.write(f"memora: {printable(line.replace(chr(10), ' '))}\n")
