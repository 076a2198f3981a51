"""The search for canaries reads everything that a file has, wherever holes lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.canaries import Canaries, search_folder


@pytest.mark.parametrize("at", [0, 1, 4090, 4096, 1_000_000, 5_000_000, 32_000_000])
def test_a_canary_is_found_between_holes(tmp_path: Path, at: int) -> None:
    canaries = Canaries(1)
    path = tmp_path / "page.dat"
    with path.open("wb") as file:
        file.truncate(33_554_432)
        for place, text in ((at, canaries["here"]), (20_000_000, canaries["there"])):
            file.seek(place)
            file.write(text.encode())
    found = sorted(search_folder(canaries, tmp_path))
    assert found == [f"{name} (utf-8) in {tmp_path.name}/page.dat" for name in ("here", "there")]


def test_files_without_holes_are_read_whole(tmp_path: Path) -> None:
    canaries = Canaries(1)
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"x" * 10_000 + canaries["end"].encode())
    assert list(search_folder(canaries, tmp_path)) == [f"end (utf-8) in {tmp_path.name}/full"]
