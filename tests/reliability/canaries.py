"""Random texts that can be found again wherever they were copied to.

Files are searched in a process of their own: whoever opens a file of an SQLite store that this
process has open, drops its locks when it closes it.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import gc
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_ZEROS = re.compile(rb"\0{256,}")


class Canaries(dict[str, str]):
    """128 bits for every name that is asked for, as 32 hexadecimal digits, random by the seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __missing__(self, name: str) -> str:
        self[name] = hashlib.blake2b(f"{self._seed} {name}".encode(), digest_size=16).hexdigest()
        return self[name]


@cache
def forms(text: str) -> tuple[tuple[str, bytes], ...]:
    """Return the ways in which a store may have written the text."""
    return tuple(_forms(text))


def _forms(text: str) -> Iterator[tuple[str, bytes]]:
    data = text.encode()
    yield "utf-8", data
    yield "utf-16-le", text.encode("utf-16-le")
    yield "utf-16-be", text.encode("utf-16-be")
    yield "hex", data.hex().encode()
    yield "HEX", data.hex().upper().encode()
    yield "UPPER", text.upper().encode()
    yield "bytes", bytes.fromhex(text)
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data)
        # What depends on the bytes around the text is left out.
        yield f"base64+{before}", encoded[(0, 2, 3)[before] : (before + len(data)) // 3 * 4]


def search(canaries: Mapping[str, str], data: bytes) -> Iterator[str]:
    """Yield `name (form)` for everything that is in the data."""
    for name, text in canaries.items():
        for form, pattern in forms(text):
            if pattern in data:
                yield f"{name} ({form})"


def search_text(canaries: Mapping[str, str], text: str) -> list[str]:
    return list(search(canaries, text.encode("utf-8", "surrogatepass")))


def _without_holes(path: Path) -> bytes:
    """Return what a file has: most of the vector index's files is holes, which read as zeros."""
    if not hasattr(os, "SEEK_DATA"):
        return path.read_bytes()
    parts: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        at, size = 0, os.fstat(file.fileno()).st_size
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing comes any more
                    break
                return path.read_bytes()
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            file.seek(start)
            parts.append(file.read(at - start))
    return (b"\0" * 8).join(parts)


def search_folder(canaries: Mapping[str, str], folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        shown = path.relative_to(folder.parent)
        yield from (f"{hit} in the name of {shown}" for hit in search_text(canaries, path.name))
        if path.is_file():
            data = _ZEROS.sub(b"\0" * 8, _without_holes(path))
            yield from (f"{hit} in {shown}" for hit in search(canaries, data))


async def hits(canaries: Mapping[str, str], *folders: Path) -> list[str]:
    """Return what is found in all files of the folders, by a process of its own."""
    asked = json.dumps({"canaries": canaries, "folders": [str(folder) for folder in folders]})
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.reliability.canaries"],
        cwd=ROOT,
        input=asked,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def reachable(*roots: object) -> Iterator[object]:
    """Yield every object that can be reached from these, without modules, classes and code."""
    seen: set[int] = set()
    queue: list[object] = list(roots)
    code = (ModuleType, type, FunctionType, BuiltinFunctionType)
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, code):
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, MethodType):
            queue.append(value.__self__)
        elif type(value).__name__ not in {"frame", "Task", "module"}:
            queue += gc.get_referents(value)


def in_memory(canaries: Mapping[str, str], *roots: object) -> list[str]:
    """Return what the texts hold that can be reached from these objects."""
    found: set[str] = set()
    for value in reachable(*roots):
        if isinstance(value, str):
            found.update(search_text(canaries, value))
        elif isinstance(value, bytes | bytearray):
            found.update(search(canaries, bytes(value)))
    return sorted(found)


def names_in(found: Iterable[str]) -> set[str]:
    """Return the names of what was found."""
    return {hit.partition(" ")[0] for hit in found}


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    found: list[str] = []
    for folder in asked["folders"]:
        found += search_folder(asked["canaries"], Path(folder))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
