"""Finds the code blocks of the README, the documentation and the docstrings.

A comment right above a block tells what is special about it; nothing is left out without one:

    <!-- docs-test: fresh -->              a new directory and new names, as for a new reader
    <!-- docs-test: engine -->             fresh, and the names of `player.ENGINE_NAMES` exist
    <!-- docs-test: needs neo4j -->        runs where that server is live, else shown as skipped
    <!-- docs-test: raises ConflictError -->  the block must end in this error
    <!-- docs-test: output -->             what the python block before has printed
    <!-- docs-test: not run: <reason> -->  the block is only compiled; the reason is for readers

Several fit into one comment, separated by `;`. In the output `...` stands for any text.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "memora"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
LANGUAGES = frozenset({"python", "bash", "toml", "json", "text", "yaml", "cypher", "sql"})

_FENCE = re.compile(r"^(?P<indent>\s*)(?P<marks>`{3,}|~{3,})\s*(?P<info>.*)$")
_DIRECTIVE = re.compile(r"^\s*<!--\s*docs-test:\s*(?P<text>.+?)\s*-->\s*$")
_KNOWN = re.compile(
    r"fresh|engine|output|needs (neo4j|qdrant)|raises [A-Z]\w+|not run: \S.+", re.DOTALL
)


class MarkupError(AssertionError):
    """A page that the collector does not understand."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: Of its first line of code, from 1.
        module: Module of the docstring that it stands in; empty for a page.
    """

    path: Path
    line: int
    language: str
    code: str
    directives: tuple[str, ...] = ()
    module: str = ""

    @property
    def place(self) -> str:
        """File and line, to jump to."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    def value_of(self, directive: str) -> str | None:
        """What follows a directive's name; an empty text for a bare one, None without it."""
        for given in self.directives:
            if given == directive:
                return ""
            if given.startswith((f"{directive} ", f"{directive}: ")):
                return given[len(directive) :].lstrip(": ")
        return None


def parse(text: str, path: Path, *, first_line: int = 1, module: str = "") -> list[Block]:
    """Return the fenced blocks of a markdown text, also those inside admonitions and lists."""
    blocks: list[Block] = []
    directives: tuple[str, ...] = ()
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        comment = _DIRECTIVE.match(line)
        if comment:
            directives = tuple(part.strip() for part in comment["text"].split(";"))
            if unknown := [part for part in directives if not _KNOWN.fullmatch(part)]:
                raise MarkupError(f"{path.name}:{first_line + at}: unknown directive {unknown}")
        elif opening := _FENCE.match(line):
            end = _end(lines, at, opening, path)
            code = textwrap.dedent("\n".join(lines[at + 1 : end]))
            language = opening["info"].split(" ")[0].split("{")[0].strip()
            blocks.append(Block(path, first_line + at + 1, language, code, directives, module))
            directives = ()
            at = end
        elif line.strip() and directives:
            raise MarkupError(f"{path.name}:{first_line + at}: a directive without its block")
        at += 1
    if directives:
        raise MarkupError(f"{path.name}: a directive without its block at the end")
    return blocks


def _end(lines: list[str], start: int, opening: re.Match[str], path: Path) -> int:
    for at in range(start + 1, len(lines)):
        if lines[at].strip() == opening["marks"]:
            return at
    raise MarkupError(f"{path.name}:{start + 1}: a block without an end")


def page_blocks(path: Path) -> list[Block]:
    """Return the blocks of a page."""
    return parse(path.read_text("utf-8"), path)


@dataclass(frozen=True)
class Story:
    """Blocks that share their names, in the order of the page: what one reader would type."""

    name: str
    blocks: tuple[Block, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        """Live servers that it needs."""
        named = {block.value_of("needs") for block in self.blocks}
        return tuple(sorted(name for name in named if name))


def stories(pages: tuple[Path, ...] = PAGES) -> list[Story]:
    """Return the python stories of all pages."""
    found: list[Story] = []
    for path in pages:
        part: list[Block] = []
        parts = [part]
        for block in page_blocks(path):
            told = block.value_of("output") is not None
            if block.language != "python" and not told:
                continue
            if part and not told and {"fresh", "engine"} & set(block.directives):
                part = []
                parts.append(part)
            part.append(block)
        name = str(path.relative_to(ROOT))
        found += [Story(f"{name}:{story[0].line}", tuple(story)) for story in parts if story]
    return found


def docstring_blocks() -> list[Block]:
    """Return the examples of every docstring of the package: fenced, or as doctests."""
    return [block for path in sorted(PACKAGE.rglob("*.py")) for block in _of_module(path)]


def _of_module(path: Path) -> Iterator[Block]:
    tree = ast.parse(path.read_text("utf-8"))
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node, clean=False)
        if docstring is None:
            continue
        line = node.body[0].lineno
        if ">>>" in docstring:
            yield Block(path, line, "doctest", docstring, module=name)
        yield from parse(docstring, path, first_line=line, module=name)
