"""Optional SDKs: imported when used, declared, and missed with a clear error."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable
from itertools import chain

import pytest

from memora.errors import MissingExtraError
from tests.architecture.source import ROOT, imports, modules, top
from tests.architecture.test_import_is_quiet import ENTRYPOINTS, SDKS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *chain.from_iterable(PROJECT["optional-dependencies"].values()),
]
# Their errors come out of the client that needs them; nothing else of them is used.
WITH_A_CLIENT = {"pydantic_core": "pydantic", "grpc": "qdrant-client", "httpx": "qdrant-client"}
# What memora.testing needs is the extra `testing`, not a dependency.
TESTING_ONLY = {"pytest", "pytest_asyncio", "hypothesis"}


async def ask(class_name: str, *arguments: str) -> None:
    from memora import llm_backends

    backend = getattr(llm_backends, class_name)(*arguments)
    try:
        await backend([{"role": "user", "content": "hello"}])
    finally:
        await backend.close()


async def embed_with_fastembed() -> None:
    from memora.embeddings import FastEmbedEmbedder

    async with FastEmbedEmbedder(allow_download=False) as embedder:
        await embedder.embed_queries(["hello"])


async def encrypt() -> None:
    from memora.graph_db import SQLiteGraph

    SQLiteGraph(None, encryption_key="A" * 43)


async def encode_with_fastembed() -> None:
    from memora.embeddings import FastEmbedSparseEncoder

    FastEmbedSparseEncoder(allow_download=False).encode_queries(["hello"])


USES: dict[str, tuple[str, str, Callable[[], Awaitable[None]]]] = {
    "anthropic": ("anthropic", "anthropic", lambda: ask("AnthropicBackendLLM", "key")),
    "fastembed dense": ("fastembed", "fastembed", embed_with_fastembed),
    "fastembed sparse": ("fastembed", "fastembed", encode_with_fastembed),
    "cryptography": ("cryptography", "crypto", encrypt),
    "openai": ("openai", "all", lambda: ask("OpenAIBackendLLM", "key")),
    "groq": ("groq", "all", lambda: ask("GroqBackendLLM", "key")),
    "together": ("openai", "all", lambda: ask("TogetherBackendLLM", "key")),
    "openai-compatible": (
        "openai",
        "all",
        lambda: ask("OpenAICompatibleBackendLLM", "http://127.0.0.1:9/v1", "model"),
    ),
}


@pytest.mark.parametrize("use", USES)
async def test_use_without_the_sdk_names_the_extra(
    use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk, extra, act = USES[use]
    for name in [name for name in sys.modules if top(name) == sdk] or [sdk]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=re.escape(f"memora-core[{extra}]")) as caught:
        await act()
    assert (caught.value.package, caught.value.extra) == (sdk, extra)


def test_every_module_imports_where_no_sdk_is_installed() -> None:
    names = [name for name in modules() if not name.startswith(ENTRYPOINTS)]
    script = (
        "import sys, importlib\n"
        f"sys.modules.update(dict.fromkeys({SDKS!r}))\n"
        "for name in sys.argv[1:]: importlib.import_module(name)"
    )
    command = [sys.executable, "-c", script, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_the_errors_name_extras_that_exist() -> None:
    wrong = [
        f"{module.where(node)}: {ast.unparse(node)}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "MissingExtraError"
        and isinstance(extra := node.args[1], ast.Constant)
        and extra.value not in PROJECT["optional-dependencies"]
    ]
    assert not wrong


def test_every_third_party_import_is_declared() -> None:
    declared = {normal(re.split(r"[\[<>=;! ]", line)[0]) for line in REQUIREMENTS}
    distributions = importlib.metadata.packages_distributions()
    missing: set[str] = set()
    for module in modules().values():
        for found in imports(module):
            name = top(found.target)
            if name in {"memora", *sys.stdlib_module_names, *TESTING_ONLY} or found.for_types:
                continue
            homes = {normal(home) for home in distributions.get(name, [name])}
            homes.add(WITH_A_CLIENT.get(name, ""))
            if not homes & declared:
                missing.add(f"{found.at}: {name}")
    assert not missing


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_only_one_dependency_has_an_upper_bound() -> None:
    bounded = [line for line in PROJECT["dependencies"] if "<" in line.split(";")[0]]
    assert [re.split(r"[<>=]", line)[0] for line in bounded] == ["qdrant-edge-py"]
    assert not [line for line in REQUIREMENTS if "==" in line.split(";")[0]]
