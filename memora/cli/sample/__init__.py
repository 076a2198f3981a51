"""The conversations that the demo saves: one user, one assistant, ten months."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files

from pydantic import BaseModel


class Named(BaseModel):
    """Id and name of a record that the demo creates."""

    id: str
    name: str


class Session(BaseModel):
    """A conversation; its id is the caller's own."""

    id: str
    title: str
    at: datetime
    messages: list[dict[str, str]]


class Change(BaseModel):
    """A later change of a session: messages are appended, or replace the rest from a position."""

    session: str
    at: datetime
    messages: list[dict[str, str]]
    position: int | None = None


class Text(BaseModel):
    """A version of a memory that somebody writes by hand."""

    content: str
    author: str


class Correction(BaseModel):
    """A memory that is corrected by hand: the statement in a message, and what becomes of it.

    Attributes:
        mistake: A later version that is wrong, and reverted.
        as_of: A time before the correction.
    """

    session: str
    position: int
    question: str
    right: Text
    mistake: Text
    as_of: datetime


class Sample(BaseModel):
    """Everything that the demo plays.

    Attributes:
        version: Part of the idempotency keys, so that a changed sample is another one.
    """

    version: int
    organization: Named
    user: Named
    agent: Named
    sessions: list[Session]
    append: Change
    edit: Change
    questions: list[str]
    correction: Correction

    def session(self, session_id: str) -> Session:
        """Return the session with this id."""
        return next(session for session in self.sessions if session.id == session_id)

    def changed(self, change: Change) -> list[dict[str, str]]:
        """Return the transcript of the changed session."""
        return self.session(change.session).messages[: change.position] + change.messages


def load() -> Sample:
    """Read the sample that comes with the package."""
    text = files(__name__).joinpath("conversations.json").read_text("utf-8")
    return Sample.model_validate_json(text)
