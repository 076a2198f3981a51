"""Checks what is to come into a store before there is one: what is refused leaves none behind."""

from __future__ import annotations

from pathlib import Path

from memora.ops import backup, importing


def check_export(file: Path) -> None:
    """Read the whole file of an export.

    Raises:
        InvalidInputError: A line is malformed, not in its place, or contradicts itself.
        SchemaVersionError: The file is of a newer memora.
        TransferError: It cannot be read.
    """
    importing.check_file(file)


def check_backup(directory: Path) -> None:
    """Read the whole of a backup.

    Raises:
        TransferError: It is damaged, or none.
        SchemaVersionError: It is of a newer memora.
    """
    backup.verified(directory)
