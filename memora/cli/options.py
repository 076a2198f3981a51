"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from memora.errors import InvalidInputError

PathOption = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="DIR",
        file_okay=False,
        help="Directory of an embedded store. Without it: the stores that the environment's "
        "MEMORA_ variables name, or else the default directory.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
OrgOption = Annotated[str, typer.Option("--org", metavar="ID", help="The organization.")]
UserOption = Annotated[str, typer.Option("--user", metavar="ID", help="The user.")]
AgentOption = Annotated[
    str | None, typer.Option("--agent", metavar="ID", help="Only what this agent obtained.")
]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", help="At most that many.")]
SkipOption = Annotated[int, typer.Option("--skip", metavar="N", help="Leave out the first ones.")]

DEFAULT_ID = "default"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose records a command is about.

    Attributes:
        user_id: None: the whole organization.
    """

    org_id: str
    user_id: str | None = None


def time_of(text: str | None, option: str) -> datetime | None:
    """Return the time that an option names.

    Raises:
        InvalidInputError: It is no ISO 8601 date or time.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        example = "a date or time such as 2024-05-31 or 2024-05-31T18:00+02:00"
        raise InvalidInputError(option, example) from None
