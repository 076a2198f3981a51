"""Answers of the calls that work on single memories."""

from __future__ import annotations

from pydantic import Field

from memora.schema.models import Memory, Record


class DeleteReceipt(Record):
    """What `delete_memory` did.

    Attributes:
        status: `deleted`, or `not_found` when the user has no such memory (any more).
        deleted: Whether something was deleted.
    """

    status: str
    deleted: bool


class SavePreview(Record):
    """What a save would do; nothing was written.

    Attributes:
        added: New statements.
        merged: Known memories that would gain a source.
        superseded: Known memories that would get a successor.
        cut_messages: How many stored messages would be cut.
        new_messages: How many messages would be appended.
    """

    added: list[str] = Field(repr=False)
    merged: list[Memory] = Field(repr=False)
    superseded: list[Memory] = Field(repr=False)
    cut_messages: int
    new_messages: int
