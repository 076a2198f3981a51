"""The reference describes every public name, on a page that the navigation shows."""

from __future__ import annotations

import re
from importlib import import_module

from tests.architecture.public_api import PUBLIC_MODULES
from tests.architecture.source import ROOT, modules

DOCS = ROOT / "docs"


def described() -> set[str]:
    """What the pages describe, by dotted name."""
    pages = (page.read_text("utf-8") for page in (DOCS / "api").glob("*.md"))
    return {name for page in pages for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}


def is_described(name: str) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:end]) in described() for end in range(2, len(parts) + 1))


def test_what_is_described_exists() -> None:
    for name in described():
        module, attribute = name, None
        if module not in modules():
            module, _, attribute = name.rpartition(".")
        assert module in modules(), name
        assert attribute is None or hasattr(import_module(module), attribute), name


def test_every_public_name_is_described() -> None:
    missing: set[str] = set()
    for name in PUBLIC_MODULES:
        listed = getattr(import_module(name), "__all__", None)
        if listed is None:
            missing |= set() if any(d.startswith(name) for d in described()) else {name}
            continue
        values = (getattr(import_module(name), key) for key in listed)
        classes = [value for value in values if isinstance(value, type)]
        missing |= {
            full
            for cls in classes
            if not is_described(full := f"{cls.__module__}.{cls.__qualname__}")
        }
    assert not missing, f"no page below docs/api describes {sorted(missing)}"


def test_every_contract_is_described() -> None:
    contracts = {name for name in modules() if name.endswith("_contract")}
    assert contracts
    assert not {name for name in contracts if not is_described(name)}
