"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

from memora.errors import MemoraError, TransferError

_BLOCK = 1024 * 1024


@contextlib.contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn what the system says about a file into memora's error."""
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else path
        raise TransferError(str(name), error.strerror or type(error).__name__) from error
    except ValueError as error:
        if isinstance(error, MemoraError) or not _is_impossible(path):
            raise
        raise TransferError(ascii(str(path)), "no file can be called so") from None


def _is_impossible(path: Path) -> bool:
    """Tell whether a path has a NUL, or a lone surrogate that is no byte of a file's name."""
    try:
        return b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        return True


class NewFile:
    """A file that takes its name only when it is complete and on disk.

    Its methods block: call them in a thread.

    Args:
        path: Its name in the end; what has it is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self.size = 0
        with translated(path):
            if path.is_dir():
                raise TransferError(str(path), "this is a directory")
            # Only its owner may read it, as the store itself.
            descriptor, name = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=".partial", dir=path.parent
            )
        self._partial = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    @property
    def sha256(self) -> str:
        """Digest of what was written so far."""
        return self._hash.hexdigest()

    def write(self, block: bytes) -> None:
        """Append."""
        with translated(self._path):
            self._file.write(block)
        self._hash.update(block)
        self.size += len(block)

    def finish(self) -> None:
        """Flush it to the disk and give it its name."""
        with translated(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)
            sync_directory(self._path.parent)

    def drop(self) -> None:
        """Leave nothing behind; after `finish`, do nothing."""
        # A full disk refuses what is still in the buffer.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink()


def sync_directory(path: Path) -> None:
    """Flush the names in a directory; where directories cannot be opened, it is not needed."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a file."""
    total, size = hashlib.sha256(), 0
    with translated(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
            size += len(block)
    return size, total.hexdigest()
