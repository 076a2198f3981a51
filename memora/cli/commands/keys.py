"""Commands about the encryption key of an embedded store; no key is ever an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from memora import encryption
from memora.cli.options import JsonOption, PathOption
from memora.cli.output import emit_json, print_notes
from memora.cli.session import run
from memora.errors import InvalidInputError


def new_key() -> None:
    """Print a new random encryption key."""
    typer.echo(encryption.new_key())


def rotate_key(
    path: PathOption = None,
    new_key: Annotated[
        str | None,
        typer.Option("--new-key", metavar="FILE", help="File with the new key; - reads it."),
    ] = None,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Make the store plain again instead.")
    ] = False,
    reencrypt: Annotated[
        bool, typer.Option("--reencrypt", help="Encrypt all rows anew, not only the store's key.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Change the key of an embedded store, encrypt a plain one, or decrypt it.

    The key that opens the store now is the setting MEMORA_ENCRYPTION_KEY.
    """
    if (new_key is None) != decrypt:
        raise InvalidInputError("--new-key", "a file with the new key, or --decrypt in its place")
    key = None if new_key is None else _read(new_key)
    rows = run(path, lambda memora: memora.rotate_key(key, reencrypt=reencrypt))
    if as_json:
        emit_json({"encrypted": key is not None, "rows": rows})
    else:
        state = "The store is plain" if key is None else "The new key opens the store"
        print_notes([f"{state}; {rows} rows gone through"])


def _read(source: str) -> str:
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    return data.decode("ascii", "replace").strip()
