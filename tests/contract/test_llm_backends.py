"""Every language model backend over real HTTP, against a local server that speaks the protocols."""

from __future__ import annotations

import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, TypeVar

import pytest
from openai import AsyncAzureOpenAI
from pydantic import BaseModel

from memora.errors import InvalidInputError, LLMConnectionError, LLMResponseError
from memora.llm_backends import (
    AnthropicBackendLLM,
    AzureOpenAIBackendLLM,
    GroqBackendLLM,
    OpenAIBackendLLM,
    OpenAICompatibleBackendLLM,
    TogetherBackendLLM,
    TokenUsage,
)
from memora.llm_backends._chat import ChatBackend
from memora.testing.fakes import ScriptedBackendLLM
from memora.testing.llm_contract import (
    BAD,
    GOOD,
    MESSAGES,
    SECRET_KEY,
    Findings,
    LLMContract,
    LLMHttpContract,
    SeenRequest,
    Turn,
)
from tests.contract.llm_server import LLMServer

Backend = TypeVar("Backend", bound=ChatBackend)


def napless(llm: Backend, naps: list[float] | None = None) -> Backend:
    """The backend with waits that are noted instead of slept."""

    async def note(seconds: float) -> None:
        if naps is not None:
            naps.append(seconds)

    llm._sleep = note  # pyright: ignore[reportPrivateUsage]
    return llm


def load_nothing(*args: object, **kwargs: object) -> None: ...


@pytest.fixture(autouse=True)
def local_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Plain HTTP only; loading the certificates would be half of every test's time.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load_nothing)


@pytest.fixture
async def provider() -> AsyncIterator[LLMServer]:
    async with LLMServer() as server:
        yield server


@pytest.fixture
def naps() -> list[float]:
    return []


class HttpBackend(LLMHttpContract, ABC):
    """The contract over HTTP, and what a request must look like on the wire."""

    path: ClassVar[str]
    auth: ClassVar[Mapping[str, str]] = {"authorization": f"Bearer {SECRET_KEY}"}
    mode: ClassVar[str] = "json_schema"

    @staticmethod
    @abstractmethod
    def make(url: str, timeout: float) -> ChatBackend: ...

    @pytest.fixture
    async def llm(self, provider: LLMServer, naps: list[float]) -> AsyncIterator[ChatBackend]:
        llm = napless(self.make(provider.url, 8), naps)
        yield llm
        await llm.close()

    @pytest.fixture
    async def hasty_llm(self, provider: LLMServer, naps: list[float]) -> AsyncIterator[ChatBackend]:
        llm = napless(self.make(provider.url, 0.2), naps)
        yield llm
        await llm.close()

    async def test_request_goes_to_the_providers_path_with_its_key(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        provider.plan(Turn(text="hello"))
        await llm(MESSAGES)
        (request,) = provider.requests
        assert request.path == self.path
        assert self.auth.items() <= request.headers.items()
        assert request.body["model"] == llm.model
        assert request.body["max_tokens"] == 1024
        assert "temperature" in request.body

    async def test_system_message_keeps_its_role(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        provider.plan(Turn(text="hello"))
        await llm(MESSAGES)
        assert self.system_text(provider.requests[0].body) == MESSAGES[0]["content"]
        chat = [m for m in provider.requests[0].body["messages"] if m["role"] != "system"]
        assert chat == MESSAGES[1:]

    async def test_b82_schema_reaches_the_provider_as_json(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        provider.plan(Turn(text=GOOD))
        await llm(MESSAGES, Findings)
        self.assert_schema(provider.requests[0])

    def system_text(self, body: Mapping[str, Any]) -> str:
        return body["messages"][0]["content"]

    def assert_schema(self, request: SeenRequest) -> None:
        sent = request.body["response_format"]
        if self.mode == "json_object":
            assert sent == {"type": "json_object"}
            assert_schema_in_prompt(self.system_text(request.body))
            return
        assert sent["type"] == "json_schema"
        assert sent["json_schema"]["name"] == "Findings"
        assert sent["json_schema"]["strict"] is True
        assert_findings_schema(sent["json_schema"]["schema"])


def assert_findings_schema(schema: Mapping[str, Any]) -> None:
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["findings"]
    finding = schema["$defs"]["Finding"]
    assert finding["required"] == ["text", "weight"]
    assert finding["additionalProperties"] is False
    assert finding["properties"]["text"]["description"] == "One short sentence."


def assert_schema_in_prompt(system: str) -> None:
    head, _, text = system.partition("\n{")
    assert head.startswith(MESSAGES[0]["content"])
    assert "JSON" in head
    assert json.loads("{" + text) == Findings.model_json_schema()


class TestOpenAI(HttpBackend):
    path = "/v1/chat/completions"

    @staticmethod
    def make(url: str, timeout: float) -> ChatBackend:
        return OpenAIBackendLLM(SECRET_KEY, base_url=f"{url}/v1", timeout=timeout)

    async def test_organization_and_project_are_sent(self, provider: LLMServer) -> None:
        provider.plan(Turn(text="hello"))
        async with OpenAIBackendLLM(
            SECRET_KEY, "org-1", "proj-1", "gpt-4o-mini", 0.1, 0.9, 64, 0, base_url=provider.url
        ) as llm:
            await llm(MESSAGES)
        (request,) = provider.requests
        assert request.headers["openai-organization"] == "org-1"
        assert request.headers["openai-project"] == "proj-1"
        assert request.body["model"] == "gpt-4o-mini"
        assert request.body["temperature"] == 0.1
        assert request.body["top_p"] == 0.9
        assert request.body["max_tokens"] == 64

    async def test_reasoning_model_gets_its_own_parameters(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        def unsupported(param: str, message: str) -> Turn:
            error = {"code": "unsupported_parameter", "param": param, "message": message}
            return Turn("status", status=400, error=error)

        provider.plan(
            unsupported(
                "max_tokens",
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
            ),
            unsupported("temperature", "Unsupported value: 'temperature' does not support 0.7"),
            unsupported("top_p", "Unsupported parameter: 'top_p'"),
            Turn(text="hello"),
            Turn(text="again"),
        )
        assert await llm(MESSAGES, max_retries=0) == "hello"
        assert await llm(MESSAGES, max_retries=0) == "again"
        assert len(provider.requests) == 5
        for request in provider.requests[3:]:
            assert request.body["max_completion_tokens"] == 1024
            assert request.body.keys().isdisjoint({"max_tokens", "temperature", "top_p"})

    async def test_wrong_value_is_no_missing_feature(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        error = {"param": "max_tokens", "message": "max_tokens is too large: at most 512"}
        provider.plan(Turn("status", status=400, error=error))
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES)
        assert raised.value.kind == "request"
        assert len(provider.requests) == 1


class TestAzureOpenAI(HttpBackend):
    path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    auth: ClassVar[Mapping[str, str]] = {"api-key": SECRET_KEY}

    @staticmethod
    def make(url: str, timeout: float) -> ChatBackend:
        return AzureOpenAIBackendLLM(azure_endpoint=url, api_key=SECRET_KEY, timeout=timeout)

    async def test_given_client_is_used_with_our_retries_and_not_closed(
        self, provider: LLMServer
    ) -> None:
        client = AsyncAzureOpenAI(
            azure_endpoint=provider.url,
            api_key=SECRET_KEY,
            api_version="2024-08-01-preview",
            max_retries=5,
        )
        provider.plan(Turn("status", status=500), Turn(text="hello"))
        async with napless(AzureOpenAIBackendLLM(client, "my-deployment", 0.2, 0.5, 99)) as llm:
            with pytest.raises(LLMConnectionError):
                await llm(MESSAGES, max_retries=0)
            assert len(provider.requests) == 1
            assert await llm(MESSAGES) == "hello"
        assert provider.requests[0].path == (
            "/openai/deployments/my-deployment/chat/completions?api-version=2024-08-01-preview"
        )
        assert client.max_retries == 5
        assert not client.is_closed()
        await client.close()

    def test_client_or_endpoint_and_key_are_needed(self) -> None:
        with pytest.raises(InvalidInputError, match="azure_openai_client"):
            AzureOpenAIBackendLLM(azure_endpoint="https://example.openai.azure.com")


class TestGroq(HttpBackend):
    path = "/openai/v1/chat/completions"
    mode = "json_object"

    @staticmethod
    def make(url: str, timeout: float) -> ChatBackend:
        return GroqBackendLLM(SECRET_KEY, base_url=url, timeout=timeout)

    async def test_schema_is_enforced_where_the_model_can(self, provider: LLMServer) -> None:
        provider.plan(Turn(text=GOOD))
        async with GroqBackendLLM(SECRET_KEY, "openai/gpt-oss-20b", base_url=provider.url) as llm:
            await llm(MESSAGES, Findings)
        assert provider.requests[0].body["response_format"]["json_schema"]["strict"] is True

    async def test_invalid_json_sent_as_an_error_is_repaired(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        error = {"code": "json_validate_failed", "failed_generation": BAD}
        provider.plan(Turn("status", status=400, error=error), Turn(text=GOOD))
        assert (await llm(MESSAGES, Findings)).findings
        assert provider.requests[1].body["messages"][-2] == {"role": "assistant", "content": BAD}
        assert llm.usage.calls == 2

    async def test_json_cut_at_the_limit_is_truncated(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        error = {
            "code": "json_validate_failed",
            "message": "max completion tokens reached before generating a valid document",
        }
        provider.plan(Turn("status", status=400, error=error))
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.kind == "truncated"


class TestTogether(HttpBackend):
    path = "/v1/chat/completions"

    @staticmethod
    def make(url: str, timeout: float) -> ChatBackend:
        return TogetherBackendLLM(SECRET_KEY, base_url=f"{url}/v1", timeout=timeout)

    def assert_schema(self, request: SeenRequest) -> None:
        super().assert_schema(request)
        assert_schema_in_prompt(self.system_text(request.body))


class TestOpenAICompatible(HttpBackend):
    path = "/api/v1/chat/completions"

    @staticmethod
    def make(url: str, timeout: float) -> ChatBackend:
        return OpenAICompatibleBackendLLM(
            f"{url}/api/v1/chat/completions", "llama3.2", SECRET_KEY, timeout=timeout
        )

    def assert_schema(self, request: SeenRequest) -> None:
        super().assert_schema(request)
        assert_schema_in_prompt(self.system_text(request.body))

    async def test_schema_goes_where_the_server_takes_it(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        refusal = Turn("status", status=400, error={"message": "response_format: unknown type"})
        provider.plan(refusal, refusal, Turn(text=GOOD), Turn(text=GOOD), Turn(text="hello"))
        assert (await llm(MESSAGES, Findings, max_retries=0)).findings
        assert (await llm(MESSAGES, Findings)).findings
        await llm(MESSAGES)
        formats = [r.body.get("response_format", {}).get("type") for r in provider.requests]
        assert formats == ["json_schema", "json_object", None, None, None]
        assert_schema_in_prompt(self.system_text(provider.requests[3].body))
        assert self.system_text(provider.requests[4].body) == MESSAGES[0]["content"]

    async def test_server_that_rejects_every_mode_is_not_asked_for_ever(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        error = {"message": "json_object is not supported"}
        provider.plan(*[Turn("status", status=400, error=error)] * 4)
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.kind == "request"
        assert len(provider.requests) == 3

    async def test_nothing_of_the_openai_environment_reaches_another_server(
        self, provider: LLMServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-the-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
        provider.plan(Turn(text="hello"))
        async with OpenAICompatibleBackendLLM(provider.url, "llama3.2") as llm:
            assert await llm(MESSAGES, max_retries=0) == "hello"
        assert "of-the-environment" not in json.dumps(dict(provider.requests[0].headers))

    async def test_usage_without_counts_is_zero(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        provider.plan(Turn("html"))
        with pytest.raises(LLMResponseError):
            await llm(MESSAGES)
        assert llm.usage == TokenUsage(1, 0, 0)


class TestAnthropic(HttpBackend):
    path = "/v1/messages"
    # Which header holds the key depends on the version of the SDK.
    auth: ClassVar[Mapping[str, str]] = {}

    @staticmethod
    def make(url: str, timeout: float) -> ChatBackend:
        return AnthropicBackendLLM(SECRET_KEY, base_url=url, timeout=timeout)

    async def test_key_is_sent(self, llm: ChatBackend, provider: LLMServer) -> None:
        provider.plan(Turn(text="hello"))
        await llm(MESSAGES)
        headers = provider.requests[0].headers
        assert SECRET_KEY in (headers.get("x-api-key"), headers.get("authorization", "")[7:])

    def system_text(self, body: Mapping[str, Any]) -> str:
        assert all(m["role"] in ("user", "assistant") for m in body["messages"])
        return body["system"]

    def assert_schema(self, request: SeenRequest) -> None:
        (tool,) = request.body["tools"]
        assert tool["input_schema"] == Findings.model_json_schema()
        assert request.body["tool_choice"] == {"type": "tool", "name": tool["name"]}

    async def test_model_that_refuses_a_forced_tool_gets_the_schema_natively(
        self, llm: ChatBackend, provider: LLMServer
    ) -> None:
        def rejected(message: str) -> Turn:
            error = {"type": "invalid_request_error", "message": message}
            return Turn("status", status=400, error=error)

        provider.plan(
            rejected("Thinking may not be enabled when tool_choice forces tool use."),
            rejected("`temperature` is deprecated for this model."),
            Turn(text=GOOD),
        )
        assert (await llm(MESSAGES, Findings, max_retries=0)).findings
        body = provider.requests[-1].body
        assert body.keys().isdisjoint({"tools", "tool_choice", "temperature"})
        assert body["output_config"]["format"]["type"] == "json_schema"
        assert_findings_schema(body["output_config"]["format"]["schema"])

    async def test_top_p_replaces_the_temperature(self, provider: LLMServer) -> None:
        provider.plan(Turn(text="hello"))
        async with AnthropicBackendLLM(SECRET_KEY, top_p=0.5, base_url=provider.url) as llm:
            await llm(MESSAGES)
        assert provider.requests[0].body["top_p"] == 0.5
        assert "temperature" not in provider.requests[0].body


class PlannedAnswers:
    """A script for the fake: the planned texts, in order."""

    def __init__(self) -> None:
        self.requests: list[SeenRequest] = []
        self.texts: list[str] = []

    def plan(self, *turns: Turn) -> None:
        self.texts += [turn.text for turn in turns]


class TestScripted(LLMContract):
    @pytest.fixture
    def provider(self) -> PlannedAnswers:
        return PlannedAnswers()

    @pytest.fixture
    def llm(self, provider: PlannedAnswers) -> ScriptedBackendLLM:
        return ScriptedBackendLLM(lambda _: provider.texts.pop(0))


async def test_b42_one_backend_in_two_roles(provider: LLMServer) -> None:
    provider.plan(Turn(text="hello"), Turn(text=GOOD))
    llm = OpenAIBackendLLM(SECRET_KEY, base_url=provider.url)
    search_model, extraction_model = llm, llm
    assert await search_model(MESSAGES) == "hello"
    assert await extraction_model(MESSAGES, Findings)
    await search_model.close()
    await extraction_model.close()


async def test_b89_schema_of_optional_fields_is_open_to_strict_mode(provider: LLMServer) -> None:
    class Loose(BaseModel):
        names: list[str] = []
        extra: dict[str, int] = {}

    provider.plan(Turn(text='{"names": ["a"]}'))
    async with OpenAIBackendLLM(SECRET_KEY, base_url=provider.url) as llm:
        assert (await llm(MESSAGES, Loose)).names == ["a"]
    sent = provider.requests[0].body["response_format"]["json_schema"]
    assert sent["strict"] is False
    assert sent["schema"] == Loose.model_json_schema()
