"""Hashes that decide whether two texts, messages or calls are the same."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

# Signs that are written in several ways.
_ALIKE = str.maketrans("\u2010\u2011\u2012\u2013\u2212\u2019\u2032\u201d\u2033", "-----''\"\"")
# Powers and fractions are among these; NFKC would write them as plain digits.
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u207f\u2150-\u215f\u2189]")
_NO_WORD = re.compile(r"[^\w\s]|_")
_ALWAYS = frozenset("%#&@?\u2030\u2031\u066a\u061f\u00a7")


def normalised(text: str) -> str:
    """Return `text` without what does not change its statement: case, spacing, punctuation.

    Whatever may carry meaning stays: two texts that wrongly count as different cost a comparison,
    two that wrongly count as equal lose a statement. See `_means` for what stays.
    """
    # Blanks at both ends, so that every sign has two neighbours.
    folded = f" {_folded(text.translate(_ALIKE))} "

    def replace(match: re.Match[str]) -> str:
        at, char = match.start(), match.group()
        if unicodedata.category(char)[0] != "P" or _means(folded[at - 1], char, folded[at + 1]):
            return char
        return "" if char == "'" else " "

    return " ".join(_NO_WORD.sub(replace, folded).split())


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _RAISED.sub(_set_off, text))
    return unicodedata.normalize("NFC", text.casefold())


def _set_off(match: re.Match[str]) -> str:
    """Keep a power or fraction apart from the digits before it: 10² is not 102."""
    char = match.group()
    is_power = unicodedata.decomposition(char).startswith("<super>")
    return f"^{char}" if is_power else f" {char}"


def _means(before: str, char: str, after: str) -> bool:
    """Tell whether a punctuation mark between these two characters may carry meaning."""
    if char in _ALWAYS or (before.isdigit() and after.isdigit()):
        return True
    if char in "._/:\\*" and before.isalnum() and after.isalnum():
        return True  # addresses, paths, versions
    match char:
        case ".":
            return after.isdigit() or (before.isspace() and after.isalnum())
        case ",":
            return after.isdigit()
        case "-":  # signs; the last sign of a grade or blood type
            signs = after.isdigit() or after == "." or unicodedata.category(after) == "Sc"
            return signs or (before.isalnum() and not after.isalnum())
        case "'" | '"':  # feet and inches
            return before.isdigit()
        case "!":
            return after == "="
        case "(" | ")":  # smileys
            return before in ":;=-"
        case _:
            return False


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
