"""Writes `llms.txt` into the built site: the title, what it is about, and a line for every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

# Kept from the pages' own hook to the end of the build, by address.
_lines: dict[str, str] = {}
_sections: list[tuple[str, list[str]]] = []


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Note the page's heading, and its description or else its first paragraph."""
    text = str(page.meta.get("description") or first_paragraph(markdown))
    address = f"{(config.site_url or '').rstrip('/')}/{page.url}" if config.site_url else page.url
    heading = re.search(r"^# (.+)$", markdown, re.MULTILINE)
    link = f"- [{heading[1] if heading else page.title}]({address or './'})"
    _lines[page.url] = f"{link}: {text}" if text else link
    return markdown


def on_nav(nav: Navigation, **_: Any) -> Navigation:
    """Note which pages are in which section, in the order of the navigation."""
    _sections.clear()
    _lines.clear()
    loose = [item.url for item in nav.items if isinstance(item, Page)]
    _sections.append(("Start", loose))
    sections = (item for item in nav.items if item.is_section)
    _sections.extend((str(item.title), list(pages_below(item))) for item in sections)
    return nav


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write the file."""
    parts = [f"# {config.site_name}\n\n> {' '.join(str(config.site_description).split())}\n"]
    for title, urls in _sections:
        parts.append(f"\n## {title}\n\n" + "".join(f"{_lines[url]}\n" for url in urls))
    (Path(config.site_dir) / "llms.txt").write_text("".join(parts), "utf-8")


def pages_below(item: Any) -> Iterator[str]:
    for child in item.children:
        if isinstance(child, Page):
            yield child.url
        elif child.is_section:
            yield from pages_below(child)


def first_paragraph(markdown: str) -> str:
    """The first text that is no heading, directive, list, table or code, in one line."""
    without_comments = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", without_comments):
        text = " ".join(block.split())
        if text and not re.match(r"[#:`|!>*\-\d<=]", text):
            return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    return ""
