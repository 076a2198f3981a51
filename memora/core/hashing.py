"""Hashes that decide whether two texts, messages or calls are the same."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

_APOSTROPHES = "'\u2019"


def normalised(text: str) -> str:
    """Return `text` without what does not change its statement: case, spacing, punctuation.

    Signs that carry meaning stay: `+`, `-` before a digit, `%`, currency and other symbols.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())
    kept: list[str] = []
    for index, char in enumerate(folded):
        before_digit = index + 1 < len(folded) and folded[index + 1].isdigit()
        if unicodedata.category(char)[0] != "P" or char in "%#&@":
            kept.append(char)
        elif before_digit and char in "-.,:/":
            kept.append(char)
        elif char not in _APOSTROPHES:
            kept.append(" ")
    return " ".join("".join(kept).split())


def content_hash(text: str) -> str:
    """Return the hash under which equal statements are found; equal up to `normalised`."""
    basis = normalised(text) or unicodedata.normalize("NFC", text).strip()
    return _digest(basis.encode("utf-8", "surrogatepass"))


def exact_hash(*texts: str) -> str:
    """Return a hash of these texts as they are, after NFC."""
    parts = [unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass") for text in texts]
    return _digest(b"".join(len(part).to_bytes(8, "big") + part for part in parts))


def body_hash(arguments: dict[str, Any]) -> str:
    """Return the hash of a call's arguments, for idempotency keys."""
    return _digest(
        json.dumps(
            arguments, sort_keys=True, ensure_ascii=False, default=str, separators=(",", ":")
        ).encode("utf-8", "surrogatepass")
    )


def tombstone(salt: str, prefix_hash: str, statement_hash: str) -> str:
    """Return the mark that a statement was purged from a message.

    Args:
        salt: The user's random salt, which is erased with the user, so that the mark says nothing
            about the text to someone who finds it later.
        prefix_hash: Hash of the message (with what came before it).
        statement_hash: `content_hash` of the statement.
    """
    digest = hashlib.blake2b(digest_size=16, key=salt.encode()[:64])
    digest.update(prefix_hash.encode())
    digest.update(b"\x00")
    digest.update(statement_hash.encode())
    return digest.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
