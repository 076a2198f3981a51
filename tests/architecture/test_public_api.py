"""The public names and signatures are the stored ones."""

from __future__ import annotations

from difflib import unified_diff

from memora import __all__ as names
from tests.architecture.public_api import PUBLIC_MODULES, STORED, render


def test_public_names_and_signatures_are_the_stored_ones() -> None:
    stored = STORED.read_text("utf-8").splitlines()
    changes = unified_diff(stored, render().splitlines(), "stored", "now", lineterm="", n=1)
    text = "\n".join(changes)
    assert not text, (
        f"{text}\n\nIf users may see this change, run "
        "`python -m tests.architecture.public_api --write` and say it in CHANGELOG.md."
    )


def test_every_listed_name_is_there() -> None:
    for module in PUBLIC_MODULES:
        loaded = __import__(module, fromlist=["_"])
        for name in getattr(loaded, "__all__", ()):
            assert getattr(loaded, name) is not None
    assert "Memora" in names
