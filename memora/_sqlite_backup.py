"""Tells a backup from a store: opened as one, its files would not be as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memora.errors import InvalidInputError
from memora.schema.backup import BACKUP_FORMAT, MANIFEST

# Memora's own has a few hundred bytes.
_MANIFEST_BYTES = 64 * 1024


def check_no_backup(directory: Path) -> None:
    """Check that a store may be opened in the directory; nothing is written.

    Raises:
        InvalidInputError: The directory is a backup.
    """
    if _is_backup(directory):
        allowed = "the directory of a store"
        got = f"a backup; `memora restore {directory} --path DIR` makes a store of it"
        raise InvalidInputError("path", allowed, got=got)


def _is_backup(directory: Path) -> bool:
    try:
        with (directory / MANIFEST).open("rb") as file:
            found: Any = json.loads(file.read(_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and ("format", BACKUP_FORMAT) in found.items()
