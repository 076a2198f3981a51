"""Identifiers: the only place that makes them."""

from __future__ import annotations

import uuid
from typing import Protocol

# Every derived id lies in this namespace, so two stores derive the same id from the same key.
_NAMESPACE = uuid.UUID("8f4a7c1e-6d0b-5e55-9b1a-4d2f6c3e9a70")
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Ids(Protocol):
    """Source of new identifiers."""

    def short(self) -> str:
        """Return a new short UUID (organizations, users, agents, interactions, jobs)."""
        ...

    def memory(self) -> str:
        """Return a new UUID string (memories)."""
        ...


class RandomIds:
    """Random identifiers: `shortuuid.uuid()` and `uuid4` strings."""

    def short(self) -> str:
        """Return a new short UUID."""
        return _base57(uuid.uuid4().int)

    def memory(self) -> str:
        """Return a new UUID string."""
        return str(uuid.uuid4())


def new_lease() -> str:
    """Return a token that no other worker has, in this process or another.

    It is no record's id, so it does not come from the injected source, which may repeat.
    """
    return uuid.uuid4().hex


def derived_memory_id(*parts: str) -> str:
    """Return the UUID5 that belongs to these parts; equal parts give equal ids."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(f"{len(part)}:{part}" for part in parts)))


def derived_short_id(*parts: str) -> str:
    """Return the short UUID that belongs to these parts; equal parts give equal ids."""
    return _base57(uuid.UUID(derived_memory_id(*parts)).int)


def _base57(number: int) -> str:
    """Write a 128-bit number in shortuuid's alphabet, most significant digit first, 22 digits."""
    digits: list[str] = []
    for _ in range(22):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
