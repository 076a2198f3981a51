"""Constructors, imports and the port itself: what needs no provider."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import pytest
from pydantic import BaseModel

import memora.llm_backends as backends
from memora.errors import InvalidInputError, MissingExtraError
from memora.llm_backends import (
    AnthropicBackendLLM,
    AzureOpenAIBackendLLM,
    BaseBackendLLM,
    GroqBackendLLM,
    OpenAIBackendLLM,
    OpenAICompatibleBackendLLM,
    TogetherBackendLLM,
    TokenUsage,
)

KEY = "sk-canary-0815"
MESSAGES = [{"role": "user", "content": "hello"}]
URL = "http://127.0.0.1:9/v1"
Make = Callable[[], BaseBackendLLM]
MADE: dict[str, tuple[str, Make]] = {
    "openai": ("openai", lambda: OpenAIBackendLLM(KEY, base_url=URL)),
    "azure": ("openai", lambda: AzureOpenAIBackendLLM(azure_endpoint=URL, api_key=KEY)),
    "groq": ("groq", lambda: GroqBackendLLM(KEY, base_url=URL)),
    "together": ("openai", lambda: TogetherBackendLLM(KEY, base_url=URL)),
    "anthropic": ("anthropic", lambda: AnthropicBackendLLM(KEY, base_url=URL)),
    "openai-compatible": ("openai", lambda: OpenAICompatibleBackendLLM(URL, "llama3.2", KEY)),
}


def positional(make: type) -> list[tuple[str, object]]:
    parameters = inspect.signature(make).parameters.values()
    return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_signatures_of_0_3_stay() -> None:
    tail = [("top_p", 1), ("max_tokens", 1024)]
    assert positional(OpenAIBackendLLM) == [
        ("api_key", inspect.Parameter.empty),
        ("organization", None),
        ("project", None),
        ("model", "gpt-4o"),
        ("temperature", 0.7),
        *tail,
        ("max_retries", 3),
    ]
    assert positional(AzureOpenAIBackendLLM) == [
        ("azure_openai_client", None),
        ("model", "gpt-4o"),
        ("temperature", 0.7),
        *tail,
    ]
    assert [name for name, _ in positional(GroqBackendLLM)] == [
        name for name, _ in positional(TogetherBackendLLM)
    ]
    assert positional(TogetherBackendLLM) == [
        ("api_key", inspect.Parameter.empty),
        ("model", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("temperature", 0.7),
        *tail,
        ("max_retries", 3),
    ]


@pytest.mark.parametrize("provider", MADE)
def test_b86_repr_and_attributes_shown_hold_no_key(provider: str) -> None:
    llm = MADE[provider][1]()
    assert repr(llm) == f"{type(llm).__name__}(provider={provider!r}, model={llm.model!r})"
    assert KEY not in str(llm)


@pytest.mark.parametrize("provider", MADE)
async def test_s03_missing_sdk_names_the_extra(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, make = MADE[provider]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"memora-core\[") as raised:
        await make()(MESSAGES)
    assert raised.value.package == package
    assert raised.value.extra == ("anthropic" if package == "anthropic" else "all")


def test_s03_importing_the_backends_imports_no_sdk() -> None:
    code = (
        "import sys, memora.llm_backends as b\n"
        "quiet = set(sys.modules)\n"
        "made = [getattr(b, name) for name in b.__all__]\n"
        f"b.OpenAIBackendLLM({KEY!r}); b.AnthropicBackendLLM({KEY!r}); b.GroqBackendLLM({KEY!r})\n"
        "found = {'openai', 'groq', 'anthropic', 'httpx', 'httpx2', 'aiohttp'} & set(sys.modules)\n"
        "lazy = {'tenacity', 'pydantic'} & quiet\n"
        "raise SystemExit(f'{found} {lazy}' if found or lazy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_found_and_listed() -> None:
    assert dir(backends) == sorted(backends.__all__)
    for name in backends.__all__:
        assert getattr(backends, name).__name__ == name
    with pytest.raises(AttributeError, match="NoSuchBackend"):
        _ = backends.NoSuchBackend


def test_context_window_is_known_or_set() -> None:
    assert OpenAIBackendLLM(KEY).context_window == 128_000
    assert GroqBackendLLM(KEY).context_window == 131_072
    assert GroqBackendLLM(KEY, model="llama-3.3-70b-specdec").context_window == 8_192
    assert TogetherBackendLLM(KEY).context_window == 131_072
    assert AnthropicBackendLLM(KEY).context_window == 200_000
    assert OpenAIBackendLLM(KEY, model="gpt-9").context_window is None
    assert OpenAIBackendLLM(KEY, context_window=42).context_window == 42


@pytest.mark.parametrize("key", ["", "  ", "sk canary", "sk-\ncanary", "sk-cänary", "sk-\0canary"])
@pytest.mark.parametrize("make", [OpenAIBackendLLM, GroqBackendLLM, TogetherBackendLLM])
def test_unusable_key_is_refused_without_quoting_it(
    make: type[OpenAIBackendLLM], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    with pytest.raises(InvalidInputError, match="api_key") as raised:
        make(key)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:11434", "ftp://host/v1", "http://", "http://host:99999/v1", "http://a b/v1"],
)
def test_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="base_url"):
        OpenAICompatibleBackendLLM(url, "llama3.2")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("max_tokens", 0),
        ("max_retries", -1),
        ("timeout", 0),
        ("timeout", float("inf")),
        ("timeout", float("nan")),
        ("context_window", 0),
    ],
)
def test_unusable_setting_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=field):
        OpenAIBackendLLM(KEY, **{field: value})  # pyright: ignore[reportArgumentType]


class Upper(BaseBackendLLM):
    """What a third party has to write: two methods, no `super().__init__()`."""

    def __init__(self) -> None:
        self.closed = 0

    async def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[BaseModel] | None = None,
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> str | BaseModel:
        self.record_usage(prompt_tokens=3, completion_tokens=2)
        text = messages[-1]["content"].upper()
        return output_schema_model.model_validate_json(text) if output_schema_model else text

    async def close(self) -> None:
        self.closed += 1


async def test_third_party_backend_needs_two_methods() -> None:
    first, second = Upper(), Upper()
    async with first as llm:
        assert await llm(MESSAGES) == "HELLO"
        assert await llm(MESSAGES) == "HELLO"
    assert first.closed == 1
    assert first.usage == TokenUsage(2, 6, 4)
    assert second.usage == TokenUsage()
    assert first.usage - TokenUsage(1, 3, 2) == TokenUsage(1, 3, 2)
    assert repr(first) == "Upper(provider='custom', model='')"
    assert first.context_window is None
