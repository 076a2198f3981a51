"""Keys and sealed values, without a store."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from memora.encryption import DataKey, Keyring, MasterKey, SealError, keyring, new_key
from memora.errors import EncryptionKeyError, InvalidInputError

PLACE = ("memory.text", "org", "user", "id")
texts = st.text(st.characters(exclude_categories=["Cs"]))
places = st.lists(st.one_of(st.none(), texts, st.integers()), max_size=4).map(tuple)


def test_a_new_key_is_32_random_bytes() -> None:
    keys = {new_key() for _ in range(20)}
    assert len(keys) == 20
    assert {len(base64.urlsafe_b64decode(key)) for key in keys} == {32}


@pytest.mark.parametrize(
    "form",
    [
        lambda key: key,
        lambda key: key.rstrip("="),
        lambda key: f"  {key}\n",
        lambda key: key.translate(str.maketrans("-_", "+/")),
        SecretStr,
    ],
)
def test_every_spelling_of_a_key_is_the_same_key(form) -> None:
    key = new_key()
    assert MasterKey(form(key)).fingerprint == MasterKey(key).fingerprint


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        " ",
        "correct horse battery staple",
        "a" * 42,
        "a" * 44 + "ü",
        "ä",
        new_key()[:-4],
        7,
        None,
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(wrong) -> None:
    with pytest.raises(InvalidInputError, match="32 random bytes in base64") as caught:
        MasterKey(wrong)
    assert not str(wrong).strip() or len(str(wrong)) < 5 or str(wrong) not in str(caught.value)


def test_r12_no_text_of_a_key_shows_it() -> None:
    key = new_key()
    master, data = MasterKey(key), DataKey.random(1)
    shown = f"{master!r} {data!r} {Keyring([data])!r} {master} {data}"
    for secret in (key, key[:12], data.secret.hex(), repr(data.secret)):
        assert secret not in shown


@given(texts, places)
def test_a_value_is_what_was_sealed(text: str, place: tuple) -> None:
    ring = Keyring([DataKey.random(3)])
    assert ring.open(ring.seal(text, place), place) == text
    assert ring.unmark(ring.mark(text, place), place) == text


def test_sealed_values_differ_and_marks_do_not() -> None:
    ring = Keyring([DataKey.random(1)])
    assert ring.seal("text", PLACE) != ring.seal("text", PLACE)
    assert ring.mark("text", PLACE) == ring.mark("text", PLACE)
    assert ring.mark("text", PLACE) != ring.mark("text", ("memory.text", "org", "other", "id"))


@given(places, places)
def test_b04_a_value_opens_in_its_place_only(place: tuple, other: tuple) -> None:
    ring = Keyring([DataKey.random(1)])
    # A number and its digits are the same: a column has one type.
    same = [None if p is None else str(p) for p in place] == [
        None if p is None else str(p) for p in other
    ]
    for value, opened in (
        (ring.seal("text", place), ring.open),
        (ring.mark("text", place), ring.unmark),
    ):
        if same:
            assert opened(value, other) == "text"
        else:
            with pytest.raises(SealError):
                opened(value, other)


@pytest.mark.parametrize("marked", [False, True])
def test_every_flipped_byte_is_noticed(marked: bool) -> None:
    ring = Keyring([DataKey.random(1)])
    value = ring.mark("text", PLACE) if marked else ring.seal("text", PLACE)
    opened = ring.unmark if marked else ring.open
    head, _, body = value.rpartition(":")
    data = base64.urlsafe_b64decode(body)
    for at in range(len(data)):
        changed = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
        with pytest.raises(SealError):
            opened(f"{head}:{base64.urlsafe_b64encode(changed).decode()}", PLACE)


@pytest.mark.parametrize(
    "value",
    [
        *("", "text", "memora:", "memora:1:", "memora:1:AAAA", "memora:1:ä", "memora:2:AAAA"),
        *("memora:²:AAAA", "memora:-1:AAAA", f"memora:{'9' * 5000}:AAAA", f"memora:1:{'A' * 99}"),
    ],
)
def test_what_nothing_sealed_is_refused(value: str) -> None:
    ring = Keyring([DataKey.random(1)])
    with pytest.raises(SealError):
        ring.open(value, PLACE)
    with pytest.raises(SealError):
        ring.unmark(value, PLACE)
    # While plain text is admitted it is text, whatever it looks like.
    both = Keyring([None, DataKey.random(1)])
    assert both.open(value, PLACE) == value
    renewed = both.renew(value, PLACE)
    assert (renewed != value, both.open(renewed, PLACE)) == (True, value)


def test_renewing_goes_to_the_last_key_and_no_further() -> None:
    old, new = DataKey.random(1), DataKey.random(2)
    ring = Keyring([old, new])
    value = old.seal("text", PLACE)
    renewed = ring.renew(value, PLACE)
    assert new.open(renewed, PLACE) == "text"
    assert ring.renew(renewed, PLACE) == renewed
    assert Keyring([new, None]).renew(renewed, PLACE) == "text"
    assert ring.marks("text", PLACE) == [old.mark("text", PLACE), new.mark("text", PLACE)]
    with pytest.raises(SealError):
        Keyring([new]).open(value, PLACE)


def test_a_wrapped_key_opens_with_its_key_only() -> None:
    master, other, data = MasterKey(new_key()), MasterKey(new_key()), DataKey.random(7)
    wrapped = master.wrap(data)
    rows = [(7, wrapped, master.fingerprint)]
    assert keyring("store", rows, master).fingerprint == data.fingerprint
    for key, number, text, reason in (
        (None, 7, wrapped, "no encryption_key was given"),
        (other, 7, wrapped, "another key"),
        (master, 8, wrapped, "was changed"),
        (master, 7, f"{wrapped[:-8]}AAAAAAA=", "was changed"),
        (master, 7, "", "was changed"),
    ):
        with pytest.raises(EncryptionKeyError, match=reason):
            keyring("store", [(number, text, master.fingerprint)], key)


def test_a_place_longer_than_its_parts_is_another() -> None:
    data = DataKey.random(1)
    with pytest.raises(SealError):
        data.open(data.seal("text", ("a", "bc")), ("ab", "c"))
    with pytest.raises(SealError):
        data.open(data.seal("text", ("a", None)), ("a", ""))
