"""The public names with their signatures, as text.

`python -m tests.architecture.public_api --write` stores them; the diff is what users will see.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_name("public_api.txt")

LONG = 80
# Made from others of the list: only what it defines is of interest.
GENERATED = ("memora.sync",)
# Modules whose public names are promised, ports and facade first.
PUBLIC_MODULES = (
    "memora",
    "memora.agent.main",
    "memora.agent.bound",
    "memora.sync",
    "memora.config",
    "memora.graph_db",
    "memora.graph_db.base",
    "memora.graph_db.outbox",
    "memora.vector_db",
    "memora.vector_db.base",
    "memora.llm_backends",
    "memora.llm_backends.base",
    "memora.embeddings",
    "memora.embeddings.base",
    "memora.schema.models",
    "memora.schema.extraction_schema",
    "memora.schema.storage_schema",
    "memora.schema.recall",
    "memora.schema.scope",
    "memora.schema.direct",
    "memora.seeding",
    "memora.errors",
)


def render() -> str:
    """The whole list."""
    present = [name for name in PUBLIC_MODULES if find_spec(name)]
    return "\n".join(line for name in present for line in _module(name)).lstrip() + "\n"


def _module(name: str) -> Iterator[str]:
    module = import_module(name)
    listed = getattr(module, "__all__", None)
    yield f"\n[{name}]"
    for key in sorted(listed if listed is not None else vars(module)):
        value = getattr(module, key)
        if listed is None and (key.startswith("_") or getattr(value, "__module__", "") != name):
            continue
        if key == "__version__" or inspect.ismodule(value):
            yield key
        elif inspect.isclass(value) and name in GENERATED:
            yield f"class {key}"
        elif inspect.isclass(value) and value.__module__ == name:
            yield from _class(value)
        elif inspect.isclass(value):
            yield f"{key}{_arguments(value)} of {value.__module__}"
        elif inspect.isfunction(value):
            yield _function(key, value)


def _class(cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {cls.__name__}({bases})" if bases else f"class {cls.__name__}"
    for name, kind in sorted(getattr(cls, "__annotations__", {}).items()):
        if not name.startswith("_"):
            # Named tuples wrap theirs.
            yield f"  {name}: {getattr(kind, '__forward_arg__', kind)}"
    # What a class has from parts that have no page of their own is its own for users.
    parts = [
        base
        for base in cls.__mro__
        if base is cls
        or (base.__module__.startswith("memora.") and base.__module__ not in PUBLIC_MODULES)
    ]
    members = {name: value for part in reversed(parts) for name, value in vars(part).items()}
    for name, value in sorted(members.items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(value, property):
            yield f"  {name} (property)"
        elif isinstance(value, staticmethod | classmethod):
            yield f"  {type(value).__name__} {_function(name, value.__func__)}"
        elif inspect.isfunction(value) and value.__module__ in {p.__module__ for p in parts}:
            yield f"  {_function(name, value)}"
        elif issubclass(cls, Enum) and isinstance(value, cls):
            yield f"  {name} = {value!s}"


def _arguments(cls: type) -> str:
    return _signature(cls) if "__init__" in vars(cls) else ""


def _function(name: str, function: Any) -> str:
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    return f"{prefix}def {name}{_signature(function)}"


class _Bare(str):
    """An annotation that shows without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=_bare(p.annotation)) for p in signature.parameters.values()]
    returned = _bare(signature.return_annotation)
    text = str(signature.replace(parameters=parameters, return_annotation=returned))
    if len(text) <= LONG:
        return text
    # A parameter in a line: a diff then shows the one that changed.
    lines = [str(parameter) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        lines.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    end = text[text.rindex(")") :] if returned is inspect.Signature.empty else f") -> {returned!r}"
    return "(" + "".join(f"\n      {line}," for line in lines) + f"\n  {end}"


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        STORED.write_text(render(), "utf-8")
    else:
        print(render())
