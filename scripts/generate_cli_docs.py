#!/usr/bin/env python3
"""Write docs/cli.md from the commands themselves.

Usage: .venv/bin/python scripts/generate_cli_docs.py [--check]   (fails if it is not current)

Reads what the commands declare and not what they print, which changes with typer's version.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from typer.models import ArgumentInfo, OptionInfo  # noqa: E402 - after the path to memora

from memora.cli.main import app  # noqa: E402

TARGET = ROOT / "docs" / "cli.md"
HEAD = """\
---
description: Every command of memora, with its arguments and options.
---

# Command line

<!-- Written by scripts/generate_cli_docs.py, not by hand. -->
"""
TYPES = {int: "INTEGER", float: "FLOAT"}


@dataclass(frozen=True)
class Parameter:
    """An argument or option.

    Attributes:
        names: `MESSAGE`, or the names of an option.
        takes: What an option takes; empty for a flag.
        is_repeated: An argument that takes several values.
    """

    names: tuple[str, ...]
    takes: str
    help: str
    default: Any
    is_option: bool
    is_required: bool
    is_repeated: bool


@dataclass(frozen=True)
class Command:
    """A command, or a group that may be called itself.

    Attributes:
        words: How it is called, such as `("memora", "jobs", "resume")`.
    """

    words: tuple[str, ...]
    help: str
    epilog: str
    parameters: tuple[Parameter, ...]

    @property
    def arguments(self) -> list[Parameter]:
        return [parameter for parameter in self.parameters if not parameter.is_option]

    @property
    def options(self) -> list[Parameter]:
        return [parameter for parameter in self.parameters if parameter.is_option]


def commands() -> list[Command]:
    """Return the root command and all below it, in the order of `--help`."""
    return list(_below(app, ("memora",), app.info))


def _below(group: Any, words: tuple[str, ...], info: Any) -> Iterator[Command]:
    callback = group.registered_callback
    own = callback.callback if callback else None
    texts = [*(source for source in (callback, info, group.info) if source is not None)]
    yield Command(
        words,
        next((t.help for t in texts if isinstance(t.help, str)), None) or _docstring(own),
        next((t.epilog for t in texts if isinstance(t.epilog, str)), ""),
        _parameters(own),
    )
    for command in group.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        yield Command(
            (*words, name),
            command.help or _docstring(command.callback),
            command.epilog or "",
            _parameters(command.callback),
        )
    for below in group.registered_groups:
        yield from _below(below.typer_instance, (*words, below.name), below)


def _docstring(callback: Any) -> str:
    return (inspect.getdoc(callback) or "") if callback else ""


def _parameters(callback: Any) -> tuple[Parameter, ...]:
    if callback is None:
        return ()
    hints = get_type_hints(callback, include_extras=True)
    found = (
        _parameter(name, hints[name], given.default)
        for name, given in inspect.signature(callback).parameters.items()
    )
    return tuple(parameter for parameter in found if parameter is not None)


def _parameter(name: str, hint: Any, default: Any) -> Parameter | None:
    infos = [item for item in get_args(hint) if isinstance(item, ArgumentInfo | OptionInfo)]
    if not infos:
        return None  # typer.Context
    info, taken = infos[0], get_args(hint)[0]
    kinds = set(_kinds(taken))
    is_list = any(get_origin(part) is list for part in (taken, *get_args(taken)))
    dashed = name.replace("_", "-")
    is_option = isinstance(info, OptionInfo)
    # Inside of Annotated an option's first name arrives as the default.
    given = [info.default] if isinstance(info.default, str) else []
    spelled = (*given, *(info.param_decls or ())) or (f"--{dashed}",)
    return Parameter(
        names=spelled if is_option else (info.metavar or dashed.upper(),),
        takes="" if bool in kinds or not is_option else info.metavar or _kind(kinds),
        help=info.help or "",
        default=None if default is inspect.Parameter.empty else default,
        is_option=is_option,
        is_required=default is inspect.Parameter.empty,
        is_repeated=is_list and not is_option,
    )


def _kinds(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is None:
        yield hint
    for inner in get_args(hint):
        yield from _kinds(inner)


def _kind(kinds: set[Any]) -> str:
    return next((name for kind, name in TYPES.items() if kind in kinds), "TEXT")


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for command in commands():
        lines += _section(command)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _section(command: Command) -> list[str]:
    level = len(command.words)
    lines = [] if level == 1 else [f"{'#' * min(level, 4)} `{' '.join(command.words)}`", ""]
    lines += [_prose(command.help), "", "```text", _usage(command), "```", ""]
    for title, parameters in (("argument", command.arguments), ("option", command.options)):
        if parameters:
            rows = [f"| {_spelled(p)} | {_described(p)} |" for p in parameters]
            lines += [f"| {title} | meaning |", "|---|---|", *rows, ""]
    return lines + _closing(command.epilog)


def _prose(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _usage(command: Command) -> str:
    arguments = [p.names[0] if p.is_required else f"[{p.names[0]}]" for p in command.arguments]
    below = any(
        other.words[:-1] == command.words for other in commands() if other.words != command.words
    )
    tail = ["COMMAND"] if command.words == ("memora",) else ["[COMMAND]"] if below else []
    return " ".join([*command.words, "[OPTIONS]", *arguments, *tail])


def _spelled(parameter: Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.names)
    return f"{names} `{parameter.takes}`" if parameter.takes else names


def _described(parameter: Parameter) -> str:
    text = " ".join(parameter.help.split()).replace("|", r"\|")
    if parameter.default in (None, False, "") or not parameter.is_option:
        return text
    return f"{text} Default: `{parameter.default}`."


def _closing(epilog: str) -> list[str]:
    """Return a command's closing words: examples as code, exit codes as a list."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(epilog)):
        text = " ".join(paragraph.split())
        if example := re.fullmatch(r"(?:Example|Start with): (memora .+)", text):
            lines += ["", "```bash", example[1], "```", ""]
        elif re.fullmatch(r"\d+ .+", text):
            code, meaning = text.split(" ", 1)
            lines.append(f"- `{code}`: {meaning}")
        elif text:
            lines += [text, ""]
    return [*lines, ""]


def main(*, check: bool) -> int:
    """Write the page, or tell whether it is current."""
    text = render()
    if not check:
        TARGET.write_text(text, "utf-8")
    elif not TARGET.exists() or TARGET.read_text("utf-8") != text:
        print(f"{TARGET.relative_to(ROOT)} is not current", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
