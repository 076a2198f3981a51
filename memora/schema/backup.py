"""What stands in the manifest of a backup."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from memora.schema.transfer import Count, Time

BACKUP_FORMAT: Final = "memora-backup"
BACKUP_VERSION = 1
# A directory that has it, in this format, is a backup.
MANIFEST = "manifest.json"


class BackupKind(StrEnum):
    """How the data is kept: copies of the store's own files, or an export for any store."""

    NATIVE = "native"
    EXPORT = "export"


class BackupFile(BaseModel):
    """A file of the backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+\.[a-z0-9]+$")]
    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """`manifest.json`, which is written last.

    Attributes:
        version: Of the backup's layout.
        memora: Version of memora that made it.
        created_at: When the state was held that it contains.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["memora-backup"] = BACKUP_FORMAT
    version: Count = BACKUP_VERSION
    memora: str
    kind: BackupKind
    created_at: Time
    files: tuple[BackupFile, ...]
