"""Every command, setting, error, facade method and adapter has its place in the documentation."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from memora import errors
from memora.agent.bound import BoundMemora
from memora.agent.main import Memora
from memora.config import EMBEDDER_PROVIDERS, LLM_PROVIDERS, ModelSpec, Settings
from memora.schema import validation
from memora.schema.models import MemoryType
from memora.schema.recall import MemoryFilters
from memora.schema.validation import MODEL_QUERIES, QUERIES
from tests.docs.blocks import PAGES, ROOT
from tests.docs.test_shell_blocks import COMMANDS

DOCS = ROOT / "docs"
GUIDES = {page: page.read_text("utf-8") for page in PAGES if page.parent.name not in {"api"}}
PROSE = "\n".join(text for page, text in GUIDES.items() if page.name != "cli.md")


def public(cls: type) -> list[str]:
    """Return the public methods that a class itself defines."""
    return [
        name
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, classmethod))
    ]


@pytest.mark.parametrize("method", public(Memora))
def test_facade_method_is_in_a_guide(method: str) -> None:
    """Beyond the reference, which lists all by itself: a page tells what it is for."""
    assert re.search(rf"\b{method}\b", PROSE)


@pytest.mark.parametrize("method", public(BoundMemora))
def test_method_of_the_bound_handle_is_in_a_guide(method: str) -> None:
    assert re.search(rf"\b{method}\b", PROSE)


@pytest.mark.parametrize("words", [words for words in COMMANDS if len(words) > 1])
def test_command_is_in_a_guide(words: tuple[str, ...]) -> None:
    """Beyond the command reference, which is made from the commands."""
    assert " ".join(words) in PROSE


def settings_table() -> dict[str, str]:
    """Return the default that the page states, by setting."""
    page = (DOCS / "how-to" / "settings.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| .+ \|$", page, re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


def test_settings_table_is_the_settings() -> None:
    assert settings_table().keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_stated_default_is_the_default(name: str) -> None:
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    stated = settings_table()[name]
    if default is None:
        assert stated == "none"
    elif isinstance(default, bool):
        assert stated == str(default).lower()
    elif isinstance(default, int | float):
        assert float(stated) == default
    else:
        assert stated == str(default)


def test_reserved_settings_are_those_that_nothing_reads() -> None:
    page = (DOCS / "how-to" / "settings.md").read_text("utf-8")
    reserved = set(re.findall(r"^\| `(\w+)` .+\*reserved\* \|$", page, re.MULTILINE))
    package = ROOT / "memora"
    code = "\n".join(
        file.read_text("utf-8") for file in package.rglob("*.py") if file.name != "config.py"
    )
    assert reserved == {name for name in Settings.model_fields if f"settings.{name}" not in code}


def names_of(cls: type[Exception]) -> set[str]:
    """Return the names of a class and all below it."""
    return {cls.__name__}.union(*(names_of(below) for below in cls.__subclasses__()))


def test_error_tree_of_the_reference_is_whole() -> None:
    """The page shows the module's docstring, in which leaves of one kind are bundled."""
    drawn = errors.__doc__ or ""
    bundles = re.findall(r"(\w+)\{([\w,]+)\}(\w+)", drawn)
    named = set(re.findall(r"\w+Error\b", drawn))
    named |= {f"{a}{part}{z}" for a, parts, z in bundles for part in parts.split(",")}
    own = {
        name
        for name in names_of(errors.MemoraError)
        if not name.startswith("_") and getattr(errors, name, None) is not None
    }
    assert own <= named
    assert "::: memora.errors" in (DOCS / "api" / "errors.md").read_text("utf-8")


@pytest.mark.parametrize("provider", LLM_PROVIDERS)
def test_provider_is_in_the_guide(provider: str) -> None:
    assert f"| `{provider}` |" in (DOCS / "how-to" / "models.md").read_text("utf-8")


@pytest.mark.parametrize("provider", EMBEDDER_PROVIDERS)
def test_embedder_is_in_the_guide(provider: str) -> None:
    page = (DOCS / "how-to" / "embedder.md").read_text("utf-8")
    assert f"`{provider}`" in page or f"`{provider}:MODEL`" in page
    assert (
        ModelSpec.parse_embedder(
            provider if f"`{provider}`" in page else f"{provider}:MODEL"
        ).provider
        == provider
    )


def test_filter_fields_are_in_the_guide() -> None:
    page = (DOCS / "how-to" / "filters.md").read_text("utf-8")
    for field in MemoryFilters.model_fields:
        assert f"`{field}`" in page
    for kind in MemoryType:
        assert f"`{kind.value}`" in page


def test_numbers_in_the_pages_are_those_of_the_code() -> None:
    from memora.agent.extract import CONTEXT_MESSAGES
    from memora.agent.jobs import LEASE
    from memora.graph_db.outbox import MAX_ATTEMPTS

    assert MODEL_QUERIES == 8, "concepts/recall.md and how-to/models.md say 8"
    assert QUERIES == 16, "concepts/recall.md says 16"
    assert CONTEXT_MESSAGES == 8, "concepts/save.md and how-to/models.md say 8"
    assert LEASE.total_seconds() == 600, "how-to/outages.md says ten minutes"
    assert MAX_ATTEMPTS == 10, "how-to/outages.md and design/0002 say ten tries"


def test_limits_in_the_guarantees_are_those_of_the_code() -> None:
    page = (DOCS / "concepts" / "guarantees.md").read_text("utf-8")
    assert validation.TEXT_BYTES == 2**20, "the page says 1 MiB"
    for stated in (
        f"1 to {validation.ID_LENGTH} characters",
        f"1 to {validation.NAME_LENGTH} characters",
        f"| {validation.MESSAGES:,} |",
        f"| {validation.QUERIES} |",
        f"| 1 to {validation.PAGE} |",
    ):
        assert stated in page
    listed = re.search(r"^\| roles \| (.+) \|$", page, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split(", ")) == validation.ROLES


def test_extras_are_in_the_readme() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    readme = (ROOT / "README.md").read_text("utf-8")
    table = set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE))
    for_contributors = {"docs", "dev"}
    assert project["optional-dependencies"].keys() - for_contributors == table


def test_every_page_is_in_the_navigation_and_described() -> None:
    class Loader(yaml.SafeLoader):
        """Ignores mkdocs' own tags."""

    Loader.add_multi_constructor("", lambda *_: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)["nav"]
    listed = set(re.findall(r"[\w/-]+\.md", str(nav)))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert pages == listed
    for page in pages:
        assert re.match(r"---\ndescription: \S.+\n---\n", (DOCS / page).read_text("utf-8")), page


def test_readme_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "examples" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), link


def test_examples_in_the_package_are_pages_of_the_reference() -> None:
    """Each port and adapter that a reader may name has an entry."""
    reference = "\n".join(page.read_text("utf-8") for page in (DOCS / "api").glob("*.md"))
    for package in ("graph_db", "vector_db", "llm_backends", "embeddings"):
        module = __import__(f"memora.{package}", fromlist=["__all__"])
        for name in module.__all__:
            home = Path(inspect.getfile(getattr(module, name))).relative_to(ROOT)
            dotted = ".".join(home.with_suffix("").parts)
            assert f"::: {dotted}" in reference, f"{name} of {dotted}"
