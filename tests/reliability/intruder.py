"""Tries to open a store that another process owns, again and again; prints how often it tried."""

from __future__ import annotations

import sys

import pytest

from memora.errors import StoreLockedError
from memora.sync import Memora

TRIES = 20


def main(path: str, owner: int) -> None:
    for _try in range(TRIES):
        with pytest.raises(StoreLockedError) as caught:
            Memora.embedded(path, embedder="hashing").setup()
        assert caught.value.pid == owner
    print(TRIES)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
