"""Shell blocks parse, and what they name exists: commands, options, settings, extras, targets."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from memora.config import Settings
from tests.docs import blocks
from tests.docs.blocks import ROOT, Block

OTHER_VARIABLES = {"OPENAI_API_KEY", "NEO4J_PASSWORD", "MEMORA_CONFIG"}
SHELL = [
    block
    for page in (*blocks.PAGES, ROOT / "examples" / "README.md", ROOT / "CONTRIBUTING.md")
    for block in blocks.page_blocks(page)
    if block.language == "bash"
]


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location(
        "generate_cli_docs", ROOT / "scripts" / "generate_cli_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()
COMMANDS = {command.words: command for command in GENERATOR.commands()}


def lines(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command line of a block."""
    joined = block.code.replace("\\\n", " ")
    for line in joined.splitlines():
        if words := shlex.split(line, comments=True):
            yield words


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
async def test_block_parses(block: Block) -> None:
    process = await asyncio.create_subprocess_exec(
        "bash", "-n", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate(block.code.encode())
    assert process.returncode == 0, complaint.decode()


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_what_a_block_names_exists(block: Block) -> None:
    for words in lines(block):
        match words:
            case ["memora", *rest]:
                check_memora(rest)
            case ["export", *assignments]:
                check_variables(assignments)
            case ["make", target, *_]:
                assert re.search(rf"^{re.escape(target)}:", read("Makefile"), re.MULTILINE)
            case ["pip", "install", *what]:
                check_extras(what)
            case ["python" | ".venv/bin/python", script, *_]:
                assert (ROOT / script).is_file()
            case ["docker", "compose", "up", "--wait"]:
                assert (ROOT / "compose.yaml").is_file()
            case ["cp", *_]:
                pass
            case _:
                pytest.fail(f"{block.place}: nothing checks {words[0]!r}")


def check_memora(rest: list[str]) -> None:
    """Check commands, options and the number of arguments of one line."""
    path: tuple[str, ...] = ("memora",)
    allowed = dict(options(path))
    values: list[str] = []
    remaining = iter(rest)
    for word in remaining:
        if word.startswith("--"):
            assert word in allowed, f"{' '.join(path)} has no option {word}"
            if allowed[word]:
                next(remaining)
        elif (*path, word) in COMMANDS:
            path = (*path, word)
            allowed |= dict(options(path))
        else:
            values.append(word)
    wanted = COMMANDS[path].arguments
    required = [argument for argument in wanted if argument.is_required]
    most = math.inf if any(argument.is_repeated for argument in wanted) else len(wanted)
    assert len(required) <= len(values) <= most, f"{' '.join(path)}: {values}"


def options(path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each option of a command with what it takes."""
    for option in COMMANDS[path].options:
        for name in option.names:
            yield name, option.takes


def check_variables(assignments: list[str]) -> None:
    """Check that exported variables are settings, or known ones of others."""
    known = {f"MEMORA_{field}".upper() for field in Settings.model_fields} | OTHER_VARIABLES
    for assignment in assignments:
        assert assignment.split("=")[0] in known, assignment


def check_extras(what: list[str]) -> None:
    """Check that the distribution and its extras are called so."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    for requirement in what:
        if requirement.startswith("-"):
            continue
        name, _, extras = requirement.partition("[")
        assert name == project["name"]
        for extra in filter(None, extras.rstrip("]").split(",")):
            assert extra in project["optional-dependencies"], extra


def read(path: str) -> str:
    """Return a file of the repository."""
    return (ROOT / path).read_text("utf-8")


def test_command_reference_is_current() -> None:
    """Also proves that every command and option is documented: the page is made from them."""
    assert read("docs/cli.md") == GENERATOR.render()


def test_a_wrong_option_is_found() -> None:
    with pytest.raises(AssertionError, match="no option --nonsense"):
        check_memora(["memories", "--nonsense"])
    with pytest.raises(AssertionError, match="recall"):
        check_memora(["recall"])
    with pytest.raises(AssertionError, match="history"):
        check_memora(["history", "one", "two"])
    check_memora(["search", "one", "two"])
    with pytest.raises(AssertionError):
        check_extras(["memora-core[nonsense]"])
    with pytest.raises(AssertionError):
        check_variables(["MEMORA_NONSENSE=1"])
