"""Encryption of stored text: the caller's key, the store's keys, and what they seal.

The caller's key only wraps a random data key, which lies wrapped in the store: another caller's
key is one changed row. A sealed value reads `memora:<data key>:<base64>` and is AES-256-GCM with
a random nonce; its place (column, owner, id) is authenticated with it, so that a value that was
moved to another row or tenant is refused. What must be found by its value is a *mark*: AES-SIV,
the same for the same text in the same place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, final

from pydantic import SecretStr

from memora.errors import EncryptionKeyError, InvalidInputError, MissingExtraError

KEY_BYTES = 32
_NONCE = 12
_PREFIX = "memora:"

# Where a value lies: column first, then whatever names the row. None is another place than "".
Place = Sequence[str | int | None]


class SealError(Exception):
    """A sealed value does not authenticate: it was changed, moved, or is of an unknown key."""


def new_key() -> str:
    """Return a new random key for `encryption_key`: 32 bytes in base64."""
    return _encode(os.urandom(KEY_BYTES))


@final
class MasterKey:
    """The caller's key; its text never shows it.

    Args:
        key: 32 random bytes in base64, such as `new_key` returns.
        field: How errors name it.

    Raises:
        InvalidInputError: It is not such a key. A passphrase is none: it could be guessed.
        MissingExtraError: The library that encrypts is not installed.
    """

    def __init__(self, key: str | SecretStr, field: str = "encryption_key") -> None:
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        self._secret = _key_bytes(text, field)
        ciphers, self._changed = _library()
        self._cipher = ciphers.AESGCM(_derived(self._secret, "wrap"))

    def __repr__(self) -> str:
        return f"MasterKey(fingerprint={self.fingerprint!r})"

    @cached_property
    def fingerprint(self) -> str:
        """Tells keys apart and says nothing about them."""
        return _derived(self._secret, "fingerprint")[:8].hex()

    def wrap(self, key: DataKey) -> str:
        """Return a data key as it may lie in the store."""
        nonce = os.urandom(_NONCE)
        return _encode(nonce + self._cipher.encrypt(nonce, key.secret, _place(["key", key.id])))

    def unwrap(self, key_id: int, wrapped: str) -> DataKey:
        """Return the data key that `wrap` hid.

        Raises:
            SealError: It was not this key that wrapped it, or what it wrapped was changed.
        """
        data = _decode(wrapped)
        try:
            secret = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _place(["key", key_id]))
        except (self._changed, ValueError) as error:
            raise SealError from error
        return DataKey(key_id, secret)


@final
class DataKey:
    """A key of the store, which seals its values; its text never shows it.

    Args:
        key_id: Stands in front of every value.
        secret: Its 32 bytes.
    """

    def __init__(self, key_id: int, secret: bytes) -> None:
        ciphers, self._changed = _library()
        self.id = key_id
        self.secret = secret
        self._prefix = f"{_PREFIX}{key_id}:"
        self._cipher = ciphers.AESGCM(_derived(secret, "seal"))
        self._marker = ciphers.AESSIV(_derived(secret, "mark", 64))

    def __repr__(self) -> str:
        return f"DataKey(id={self.id})"

    @classmethod
    def random(cls, key_id: int) -> DataKey:
        """Return a new key."""
        return cls(key_id, os.urandom(KEY_BYTES))

    @cached_property
    def fingerprint(self) -> str:
        """Tells keys apart and says nothing about them."""
        return _derived(self.secret, "fingerprint")[:8].hex()

    def sealed(self, text: str) -> bool:
        """Tell whether a stored value says that it was sealed with this key."""
        return text.startswith(self._prefix)

    def seal(self, text: str, place: Place) -> str:
        """Return `text` encrypted for this place."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, text.encode(), _place(place))
        return self._prefix + _encode(nonce + sealed)

    def open(self, value: str, place: Place) -> str:
        """Return the text that was sealed for this place.

        Raises:
            SealError: It is not what this key sealed here.
        """
        data = _decode(value[len(self._prefix) :])
        try:
            return self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _place(place)).decode()
        except (self._changed, ValueError) as error:
            raise SealError from error

    def mark(self, text: str, place: Place) -> str:
        """Return `text` encrypted so that the same text in the same place reads the same."""
        return self._prefix + _encode(self._marker.encrypt(text.encode(), [_place(place)]))

    def unmark(self, value: str, place: Place) -> str:
        """Return the text of a mark.

        Raises:
            SealError: It is not what this key marked here.
        """
        data = _decode(value[len(self._prefix) :])
        try:
            return self._marker.decrypt(data, [_place(place)]).decode()
        except (self._changed, ValueError) as error:
            raise SealError from error


@final
class Keyring:
    """The keys that the values of a store may be sealed with.

    Args:
        keys: New values are sealed with the last one. None stands for plain text, which is read
            while a store is being encrypted or decrypted, and written at the end of the latter.
    """

    def __init__(self, keys: Iterable[DataKey | None] = (None,)) -> None:
        ordered = list(keys)
        self._keys = {str(key.id): key for key in ordered if key is not None}
        self.admits_plain = None in ordered
        self.current = ordered[-1]

    def __repr__(self) -> str:
        return f"Keyring({[*self._keys]}, admits_plain={self.admits_plain})"

    def __len__(self) -> int:
        return len(self._keys) + self.admits_plain

    def __iter__(self) -> Iterator[DataKey]:
        return iter(self._keys.values())

    @property
    def fingerprint(self) -> str | None:
        """That of the key which seals new values; None: they are plain."""
        return None if self.current is None else self.current.fingerprint

    def of(self, fingerprint: str | None) -> DataKey | None:
        """Return the key with this fingerprint; None for plain text.

        Raises:
            KeyError: There is no such key here.
        """
        if fingerprint is None:
            return None
        return {key.fingerprint: key for key in self._keys.values()}[fingerprint]

    def renew(self, value: str, place: Place, *, marked: bool = False) -> str:
        """Return a stored value as the last key seals it; the value itself when it is that.

        Raises:
            SealError: It was changed or moved, or nothing sealed it.
        """
        key = self.current
        if key is not None and key.sealed(value):
            try:
                _ = key.unmark(value, place) if marked else key.open(value, place)
            except SealError:
                if not self.admits_plain:
                    raise
            else:
                return value
        text = self._opened(value, place, marked=marked)
        return self.mark(text, place) if marked else self.seal(text, place)

    def seal(self, text: str, place: Place) -> str:
        """Return what is stored for `text`."""
        return text if self.current is None else self.current.seal(text, place)

    def mark(self, text: str, place: Place) -> str:
        """Return what is stored for `text` where it must be found."""
        return text if self.current is None else self.current.mark(text, place)

    def marks(self, text: str, place: Place) -> list[str]:
        """Return everything that may be stored for `text` where it must be found."""
        marks = [key.mark(text, place) for key in self._keys.values()]
        return [*marks, text] if self.admits_plain else marks

    def open(self, value: str, place: Place) -> str:
        """Return the text of a stored value.

        Raises:
            SealError: It was changed or moved, or nothing sealed it.
        """
        return self._opened(value, place, marked=False)

    def unmark(self, value: str, place: Place) -> str:
        """Return the text of a stored mark.

        Raises:
            SealError: It was changed or moved, or nothing marked it.
        """
        return self._opened(value, place, marked=True)

    def _opened(self, value: str, place: Place, *, marked: bool) -> str:
        key = self._key_of(value)
        if key is not None:
            try:
                return key.unmark(value, place) if marked else key.open(value, place)
            except SealError:
                # While plain text is admitted, it may look like anything.
                if not self.admits_plain:
                    raise
        if not self.admits_plain:
            raise SealError
        return value

    def _key_of(self, value: str) -> DataKey | None:
        if not value.startswith(_PREFIX):
            return None
        return self._keys.get(value[len(_PREFIX) :].partition(":")[0])


def optional_key(key: str | SecretStr | None, field: str = "encryption_key") -> MasterKey | None:
    """Return the key that a caller gave, or None.

    Raises:
        InvalidInputError: It is not 32 bytes in base64.
        MissingExtraError: The library that encrypts is not installed.
    """
    return None if key is None else MasterKey(key, field)


def keyring(
    store: str, rows: Sequence[tuple[int, str | None, str | None]], key: MasterKey | None
) -> Keyring:
    """Return the keys that lie wrapped in a store, oldest first.

    Args:
        store: How errors name it.
        rows: Id, wrapped key, fingerprint of the key that wrapped it; None twice is plain text.
        key: What the caller gave.

    Raises:
        EncryptionKeyError: The store is encrypted and the key is missing or another one, or the
            other way round.
    """
    if key is None:
        raise EncryptionKeyError(store, "it is encrypted, and no encryption_key was given")
    found: list[DataKey | None] = []
    for key_id, wrapped, fingerprint in rows:
        if wrapped is None:
            found.append(None)
            continue
        if fingerprint != key.fingerprint:
            raise EncryptionKeyError(store, "it is encrypted with another key than the given one")
        try:
            found.append(key.unwrap(key_id, wrapped))
        except SealError:
            reason = "its wrapped data key was changed: only a backup has it"
            raise EncryptionKeyError(store, reason) from None
    return Keyring(found)


def _key_bytes(text: object, field: str) -> bytes:
    allowed = "32 random bytes in base64, as `memora new-key` prints them (no passphrase)"
    if not isinstance(text, str):
        raise InvalidInputError(field, allowed, got=type(text).__name__)
    data = _decode(text.strip())
    if len(data) != KEY_BYTES:
        raise InvalidInputError(field, allowed, got=f"{len(text)} characters")
    return data


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    """Return the bytes of a base64 text in either alphabet; of anything else, nothing."""
    try:
        data = text.translate(_URL_SAFE).encode("ascii")
        return base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return b""


_URL_SAFE = str.maketrans("+/", "-_")


def _place(place: Place) -> bytes:
    """Return the place as bytes that no other place has."""
    parts: list[bytes] = []
    for part in place:
        if part is None:
            parts.append(b"\xff" * 4)
        else:
            data = str(part).encode("utf-8", "surrogatepass")
            parts.append(len(data).to_bytes(4, "big") + data)
    return b"".join(parts)


def _derived(secret: bytes, purpose: str, length: int = KEY_BYTES) -> bytes:
    """Return a key of its own for each purpose: HKDF-Expand with SHA-512, one block."""
    info = b"memora encryption " + purpose.encode("ascii") + b"\x01"
    return hmac.digest(secret, info, hashlib.sha512)[:length]


def _library() -> tuple[Any, type[Exception]]:
    """Return the ciphers of `cryptography`, and what they raise for a value that was changed."""
    try:
        ciphers: Any = import_module("cryptography.hazmat.primitives.ciphers.aead")
        exceptions: Any = import_module("cryptography.exceptions")
    except ImportError as error:
        raise MissingExtraError("cryptography", "crypto") from error
    return ciphers, exceptions.InvalidTag
