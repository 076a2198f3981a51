"""The tree drawn in the docstring of `memora.errors` is the tree of its classes."""

from __future__ import annotations

import builtins
import inspect
import re

from memora import errors

_LINE = re.compile(r"^(?P<stem>[│├└─ ]*)(?P<names>\S.*)$")


def drawn() -> dict[str, str | None]:
    """Parent of each class in the drawing."""
    text = str(errors.__doc__).split("```text\n")[1].split("```")[0]
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        assert match, line
        depth = len(match["stem"]) // 4
        path = path[:depth]
        above = path[-1] if path else None
        for name in without_remarks(match["names"]).split(" ── "):
            group = expanded(name)
            parents.update(dict.fromkeys(group, above))
            above = group[-1]
            path = [*path[:depth], above] if group == [name] else path
    return parents


def without_remarks(text: str) -> str:
    return re.sub(r"\s*\([^)]*\)", "", text).strip()


def expanded(text: str) -> list[str]:
    """`A, B{C,D}E` → A, BCE, BDE."""
    names: list[str] = []
    for name in re.split(r",\s+", text):
        if brace := re.fullmatch(r"(\w*)\{([\w,]+)\}(\w*)", name):
            names += [f"{brace[1]}{middle}{brace[3]}" for middle in brace[2].split(",")]
        else:
            names.append(name)
    return names


def defined() -> dict[str, str | None]:
    """First public base of each class; what is mixed in comes later."""
    parents: dict[str, str | None] = {}
    for name, cls in inspect.getmembers(errors, inspect.isclass):
        if cls.__module__ != errors.__name__ or name.startswith("_"):
            continue
        public = (
            base.__name__
            for base in cls.__mro__[1:]
            if base.__module__ == errors.__name__ and not base.__name__.startswith("_")
        )
        parents[name] = next(public, None)
    return parents


def test_the_drawing_has_every_class_below_its_parent() -> None:
    assert drawn() == defined()


def test_remarks_about_builtin_bases_are_complete() -> None:
    remarks = dict(re.findall(r"(\w+) \(also an? (\w+)\)", str(errors.__doc__)))
    builtin_bases = {
        name: base.__name__
        for name in defined()
        for base in getattr(errors, name).__bases__
        if hasattr(builtins, base.__name__) and base is not Exception
    }
    assert remarks == builtin_bases
