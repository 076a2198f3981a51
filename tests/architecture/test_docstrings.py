"""Every public name has a docstring; a contract's stands in the base only."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from difflib import SequenceMatcher
from importlib import import_module
from types import FunctionType
from typing import Any

from tests.architecture.source import modules

# From here on a docstring counts as its parent's again.
SAME = 0.8


def public_classes() -> Iterator[tuple[str, type]]:
    for name in modules():
        if name.rpartition(".")[2].startswith("__"):
            continue
        module = import_module(name)
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == name:
                yield f"{name}.{cls.__qualname__}", cls


def own_methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that the class itself defines, not what a metaclass put there."""
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(function, FunctionType) and function.__module__ == cls.__module__:
            yield name, function


def inherited(cls: type, name: str) -> list[Any]:
    return [vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)]


def is_test(name: str) -> bool:
    return name.startswith(("test_", "Test"))


def test_every_public_class_and_function_has_a_docstring() -> None:
    bare: list[str] = []
    for name in modules():
        if name.rpartition(".")[2].startswith("_"):
            continue
        bare += [
            f"{name}.{key}"
            for key, value in vars(import_module(name)).items()
            if isinstance(value, FunctionType)
            and value.__module__ == name
            and not key.startswith("_")
            and not is_test(key)
            and not value.__doc__
        ]
    bare += [
        name
        for name, cls in public_classes()
        if not any(part.startswith("_") for part in name.split(".")) and not vars(cls)["__doc__"]
    ]
    assert not bare, "\n".join(bare)


def test_every_public_method_has_a_docstring_or_overrides_one() -> None:
    bare: list[str] = []
    for name, cls in public_classes():
        if any(part.startswith("_") for part in name.split(".")) or is_protocol(cls):
            continue
        bare += [
            f"{name}.{key}"
            for key, value in own_methods(cls)
            if not key.startswith("_")
            and not is_test(key)
            and not value.__doc__
            and not inherited(cls, key)
        ]
    assert not bare, "\n".join(bare)


def is_protocol(cls: type) -> bool:
    """A protocol lists what is needed of another class, which documents it."""
    return bool(getattr(cls, "_is_protocol", False))


def test_no_override_repeats_its_parent() -> None:
    repeated: list[str] = []
    for name, cls in public_classes():
        for key, value in own_methods(cls):
            own = value.__doc__
            parents = [doc for base in inherited(cls, key) if (doc := base.__doc__)]
            if own and any(alike(own, doc) for doc in parents if key != "__init__"):
                repeated.append(f"{name}.{key}: {own.splitlines()[0]}")
    assert not repeated, "\n".join(repeated)


def alike(own: str, parent: str) -> bool:
    first, second = own.strip().splitlines()[0], parent.strip().splitlines()[0]
    return SequenceMatcher(None, first.lower(), second.lower()).ratio() >= SAME
