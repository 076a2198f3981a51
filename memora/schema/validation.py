"""Checks that every public call makes on its arguments, and the library's limits."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from memora.errors import InvalidInputError

ID_LENGTH = 255
NAME_LENGTH = 256
TEXT_BYTES = 1024 * 1024
MESSAGES = 100_000
QUERIES = 16
MODEL_QUERIES = 8
PAGE = 1000
SKIP = 2**31 - 1
TAGS = 100
# Deeper JSON meets the interpreter's limit, later and elsewhere than where it was given.
NESTING = 200
# Longest key that an error tells: fields have short names.
_KEY_LENGTH = 24

ROLES = frozenset({"user", "assistant", "system", "developer", "tool", "function"})


def shown_key(key: object) -> str | None:
    """Return a key that a caller misspelt, for an error; None: it may be content, not a name."""
    if isinstance(key, str) and key.isidentifier() and len(key) <= _KEY_LENGTH:
        return key
    return None


def kind_of(value: object) -> str:
    """Return the type's name, for an error text that must not show the value."""
    return "None" if value is None else type(value).__name__


def checked_id(value: object, field: str) -> str:
    """Return `value` as an id in NFC: 1 to 255 characters, no control characters.

    Raises:
        InvalidInputError: It is not such a text.
    """
    text = _checked_line(value, field, ID_LENGTH)
    if text != text.strip():
        raise InvalidInputError(field, "an id without spaces around it")
    return text


def checked_optional_id(value: object, field: str) -> str | None:
    """Return `value` as an id, or None when it is None."""
    return None if value is None else checked_id(value, field)


def checked_name(value: object, field: str) -> str:
    """Return `value` as a name in NFC: 1 to 256 characters, no control characters.

    Raises:
        InvalidInputError: It is not such a text.
    """
    return _checked_line(value, field, NAME_LENGTH)


def _checked_line(value: object, field: str, length: int) -> str:
    allowed = f"a text of 1 to {length} characters without control characters"
    if not isinstance(value, str):
        raise InvalidInputError(field, allowed, got=kind_of(value))
    text = unicodedata.normalize("NFC", value)
    if not text.strip() or len(text) > length:
        raise InvalidInputError(field, allowed, got=f"{len(text)} characters")
    # Cc: control, Cs: lone surrogates, Zl/Zp: line and paragraph separators.
    if not text.isprintable() and any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text
    ):
        raise InvalidInputError(field, allowed, got="a control character or lone surrogate")
    return text


def checked_text(value: object, field: str) -> str:
    """Return `value` as it is: a text with something in it, at most 1 MiB, valid Unicode.

    Raises:
        InvalidInputError: It is not such a text.
    """
    text = checked_content(value, field)
    if not text.strip():
        raise InvalidInputError(field, "a text that is not blank")
    return text


def checked_content(value: object, field: str) -> str:
    """Return `value` as it is: a text of at most 1 MiB in UTF-8, which may be blank.

    Raises:
        InvalidInputError: It is not such a text.
    """
    if not isinstance(value, str):
        raise InvalidInputError(field, "a text", got=kind_of(value))
    try:
        size = len(value) if value.isascii() else len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidInputError(field, "valid Unicode", got="a lone surrogate") from None
    if size > TEXT_BYTES:
        raise InvalidInputError(field, f"at most {TEXT_BYTES} bytes in UTF-8", got=f"{size} bytes")
    return value


def checked_int(value: object, field: str, low: int, high: int) -> int:
    """Return `value` as an int from `low` to `high`; a bool is not one.

    Raises:
        InvalidInputError: It is not such an int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(field, f"a whole number from {low} to {high}", got=kind_of(value))
    if not low <= value <= high:
        raise InvalidInputError(field, f"a whole number from {low} to {high}", got=_number(value))
    return value


def checked_seconds(value: object, field: str, high: float) -> float:
    """Return `value` as a number of seconds from 0 to `high`.

    Raises:
        InvalidInputError: It is not such a number.
    """
    allowed = f"a number of seconds from 0 to {high:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(field, allowed, got=kind_of(value))
    if not 0 <= value <= high:
        raise InvalidInputError(field, allowed, got=_number(value))
    return value


def checked_share(value: object, field: str) -> float:
    """Return `value` as a float from 0 to 1.

    Raises:
        InvalidInputError: It is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(field, "a number from 0 to 1", got=kind_of(value))
    if not 0 <= value <= 1:
        raise InvalidInputError(field, "a number from 0 to 1", got=_number(value))
    return float(value)


def _number(value: float) -> str:
    """Return a number for an error text; Python refuses to write out very long ones."""
    return str(value) if abs(value) < 10**20 else "a larger number"


def checked_bool(value: object, field: str) -> bool:
    """Return `value`, which must be True or False.

    Raises:
        InvalidInputError: It is something else.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(field, "True or False", got=kind_of(value))
    return value


def checked_path(value: object, field: str) -> Path:
    """Return `value`, the path of a file or directory.

    Raises:
        InvalidInputError: It is something else.
    """
    # Any object may say that it is a path, and may say it in bytes.
    if isinstance(value, os.PathLike):
        value = os.fspath(cast("os.PathLike[Any]", value))
    if not isinstance(value, str):
        raise InvalidInputError(field, "a path: a text or a pathlib.Path", got=kind_of(value))
    return Path(value)


def checked_page(skip: object, limit: object) -> tuple[int, int]:
    """Return (skip, limit) of a listing: skip from 0, limit 1 to 1000.

    Raises:
        InvalidInputError: One of them is out of range.
    """
    return checked_int(skip, "skip", 0, SKIP), checked_int(limit, "limit", 1, PAGE)


def checked_labels(value: object, field: str) -> tuple[str, ...]:
    """Return a list of short texts (tags, types, entities), each once, in order.

    Raises:
        InvalidInputError: It is no list of names, or holds more than 100.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidInputError(field, "a list of names", got=kind_of(cast("object", value)))
    labels = tuple(
        dict.fromkeys(checked_name(item, field) for item in cast("Iterable[object]", value))
    )
    if len(labels) > TAGS:
        raise InvalidInputError(field, f"at most {TAGS} names", got=str(len(labels)))
    return labels


def checked_list(value: object, field: str, allowed: str) -> list[object]:
    """Return the items of any collection; a text or mapping is none here.

    Args:
        value: What was given.
        field: How errors name it.
        allowed: What the error asks for.

    Raises:
        InvalidInputError: It is no collection.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidInputError(field, allowed, got=kind_of(cast("object", value)))
    return list(cast("Iterable[object]", value))


def checked_json_object(value: object, field: str) -> dict[str, Any]:
    """Return a copy of `value` that is plain JSON with text keys, at most 1 MiB.

    Raises:
        InvalidInputError: It is no mapping, or holds what JSON cannot.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(field, "a JSON object", got=kind_of(value))
    return cast("dict[str, Any]", json.loads(checked_json(cast("object", value), field)))


def checked_json(value: object, field: str) -> str:
    """Return `value` as JSON text.

    Raises:
        InvalidInputError: It holds what JSON cannot (other types, NaN, lone surrogates).
    """
    try:
        text = json.dumps(
            dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(field, "plain JSON", got=type(error).__name__) from None
    # Most values have fewer brackets than they may have levels.
    if text.count("[") + text.count("{") > NESTING and _is_deeper(cast("object", value), NESTING):
        raise InvalidInputError(field, f"plain JSON, nested at most {NESTING} deep")
    return checked_content(text, field)


def _is_deeper(value: object, levels: int) -> bool:
    """Tell whether lists and objects are nested deeper than that."""
    inner = [value]
    for _ in range(levels):
        nested: list[object] = []
        for each in inner:
            if isinstance(each, Mapping):
                nested += cast("Mapping[str, object]", each).values()
            elif isinstance(each, (list, tuple)):
                nested += cast("Sequence[object]", each)
        if not nested:
            return False
        inner = nested
    return any(isinstance(each, (Mapping, list, tuple)) for each in inner)
