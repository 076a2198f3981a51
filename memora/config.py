"""Settings of a whole engine; the only module that reads the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, cast
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from memora.errors import InvalidInputError

ENV_PREFIX = "MEMORA_"
CONFIG_FILE_VARIABLE = "MEMORA_CONFIG"
# The test suite's variables share the prefix.
_FOREIGN_PREFIX = "MEMORA_TEST_"

_KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "groq": "GROQ_API_KEY",
    "together": "TOGETHER_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
}
LLM_PROVIDERS = (*_KEY_VARIABLES, "ollama", "openai-compatible")
_LOCAL_EMBEDDERS = ("wordllama", "hashing", "fastembed")
_RERANKER_KEYS = {"cohere": "COHERE_API_KEY", "jina": "JINA_API_KEY"}
RERANKER_PROVIDERS = ("fastembed", *_RERANKER_KEYS, "rerank-compatible")
EMBEDDER_PROVIDERS = (
    *_LOCAL_EMBEDDERS,
    *(provider for provider in LLM_PROVIDERS if provider not in {"anthropic", "groq"}),
)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A language model or an embedder, written `provider:model`.

    Attributes:
        provider: Such as `openai`.
        model: The provider's name for it; empty for an embedder that runs here, meaning its own.
    """

    provider: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}" if self.model else self.provider

    @classmethod
    def parse(cls, text: str, field: str = "model") -> Self:
        """Read the name of a language model.

        Args:
            text: Such as `openai:gpt-4o` or `ollama:llama3.2:3b`.
            field: What an error calls it.

        Raises:
            InvalidInputError: The provider is not known, or no model is named.
        """
        provider, _, model = (part.strip() for part in text.partition(":"))
        if provider not in LLM_PROVIDERS or not model:
            raise InvalidInputError(field, f"'provider:model' with {_one_of(LLM_PROVIDERS)}")
        return cls(provider, model)

    @classmethod
    def parse_embedder(cls, text: str, field: str = "embedder") -> Self:
        """Read the name of an embedder.

        Args:
            text: Such as `wordllama` or `openai:text-embedding-3-small`.
            field: What an error calls it.

        Raises:
            InvalidInputError: The provider is not known, or a model is missing or one too many.
        """
        provider, _, model = (part.strip() for part in text.partition(":"))
        if provider not in EMBEDDER_PROVIDERS:
            raise InvalidInputError(field, f"'provider:model' with {_one_of(EMBEDDER_PROVIDERS)}")
        if provider in {"wordllama", "hashing"} and model:
            raise InvalidInputError(field, f"{provider!r} alone, it has no choice of models")
        if provider not in _LOCAL_EMBEDDERS and not model:
            raise InvalidInputError(field, f"'{provider}:' and the name of a model")
        return cls(provider, model)

    @classmethod
    def parse_reranker(cls, text: str, field: str = "reranker") -> Self:
        """Read the name of a reranker.

        Args:
            text: Such as `fastembed` or `cohere:rerank-v3.5`.
            field: What an error calls it.

        Raises:
            InvalidInputError: The provider is not known, or a model is missing.
        """
        provider, _, model = (part.strip() for part in text.partition(":"))
        if provider not in RERANKER_PROVIDERS:
            raise InvalidInputError(field, f"'provider:model' with {_one_of(RERANKER_PROVIDERS)}")
        if provider != "fastembed" and not model:
            raise InvalidInputError(field, f"'{provider}:' and the name of a model")
        return cls(provider, model)


@dataclass(frozen=True, slots=True)
class AzureAccess:
    """Where an Azure OpenAI resource is.

    Attributes:
        endpoint: URL of the resource.
        api_version: Version of its API; None for the backend's own default.
    """

    endpoint: str
    api_version: str | None = None


def _llm(value: object, info: ValidationInfo) -> object:
    return ModelSpec.parse(value, str(info.field_name)) if isinstance(value, str) else value


def _embedder(value: object) -> object:
    return ModelSpec.parse_embedder(value) if isinstance(value, str) else value


def _reranker(value: object) -> object:
    return ModelSpec.parse_reranker(value) if isinstance(value, str) else value


def _store_url(url: str, info: ValidationInfo) -> str:
    _refuse_credentials(url, str(info.field_name))
    if not urlsplit(url).scheme:
        raise InvalidInputError(str(info.field_name), "a URL with its scheme")
    return url


def _http_url(url: str, info: ValidationInfo) -> str:
    field = str(info.field_name)
    _refuse_credentials(url, field)
    url = url.rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInputError(field, "an http or https URL")
    return url


def _never(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "never" else value


def _refuse_credentials(url: str, field: str) -> None:
    # In a URL they would be shown wherever the address is shown.
    if "@" in urlsplit(url).netloc:
        raise InvalidInputError(field, "a URL without a user name or password in it")


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_StoreUrl = Annotated[_Text, AfterValidator(_store_url)]
_HttpUrl = Annotated[_Text, AfterValidator(_http_url)]
# Without NoDecode the environment's value would be taken for JSON.
_Llm = Annotated[ModelSpec, NoDecode, BeforeValidator(_llm)]
_Embedder = Annotated[ModelSpec, NoDecode, BeforeValidator(_embedder)]
_Reranker = Annotated[ModelSpec, NoDecode, BeforeValidator(_reranker)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]
# Neither the environment nor TOML has a None.
_Days = Annotated[
    Annotated[float, Field(gt=0, le=1_000_000)] | None, NoDecode, BeforeValidator(_never)
]


class Settings(BaseSettings):
    """What `Memora.from_settings` opens: both stores, the models, the embedder, and recall.

    Built from keyword arguments, which read nothing else, or by one of the class methods.

    Attributes:
        path: Directory of the embedded stores; None is the platform's data directory.
        encryption_key: Encrypts the text in the embedded graph: 32 bytes in base64, as
            `memora new-key` prints them; None is a plain store.
        graph_url: A server such as `neo4j://localhost:7687`; None is the embedded graph.
        vector_url: A server such as `http://localhost:6333`; None is the embedded index.
        vector_collection: None is the vector store's own default.
        vector_own_process: Run the engine of the embedded index in a process of its own.
        extraction_model: Strong model that reads conversations; None stores them verbatim.
        memory_search_model: Fast model for queries and filtering; None asks with the message.
        llm_base_url: Server of an `openai-compatible` model, or of Ollama when it is elsewhere.
        llm_api_key: Key of such a server; the other providers have their own variable.
        llm_timeout: Seconds for one attempt.
        embedder_base_url: As `llm_base_url`, for the embedder.
        embedder_api_key: As `llm_api_key`, for the embedder.
        embedder_dimensions: Length of the vectors where the model leaves a choice.
        reranker: Model that reads once more what a recall found; None: the search has the last
            word.
        reranker_base_url: Server of a `rerank-compatible` model.
        reranker_api_key: Key of such a server; the other providers have their own variable.
        rerank_candidates: How many found memories a reranker reads.
        language: ISO 639-1 code of the language most texts are in, for stemming and stop words; a
            text that is plainly in another one has that one's as well.
        embedding_cache_size: Vectors kept for texts that come again; 0 keeps none.
        similarity_threshold: Similarity from which an added text is compared with what is known;
            it belongs to this embedder, and another one after a reindex has its default.
        min_similarity: Similarity below which recall drops a memory; None drops none.
        recall_limit: Memories that recall returns at most.
        ranking: Fields of `RankingConfig`, what a score is made of; in a variable as JSON.
        short_term_days: Age at which `short_term` memories expire; None or `never`: they stay.
        archive_after_days: Age at which a sweep archives what nothing uses; None or `never`: it
            stays.

    Example:
        ```python
        settings = Settings(graph_url="neo4j://localhost:7687", graph_password="secret")
        ```
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    path: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    encryption_key: SecretStr | None = None
    graph_url: _StoreUrl | None = None
    graph_username: _Text = "neo4j"
    graph_password: SecretStr | None = None
    graph_database: _Text = "neo4j"
    vector_url: _HttpUrl | None = None
    vector_api_key: SecretStr | None = None
    vector_collection: _Text | None = None
    vector_own_process: bool = False
    extraction_model: _Llm | None = None
    memory_search_model: _Llm | None = None
    llm_base_url: _HttpUrl | None = None
    llm_api_key: SecretStr | None = None
    llm_timeout: _Positive = 30
    embedder: _Embedder = ModelSpec("wordllama")
    embedder_base_url: _HttpUrl | None = None
    embedder_api_key: SecretStr | None = None
    embedder_dimensions: _Count | None = None
    reranker: _Reranker | None = None
    reranker_base_url: _HttpUrl | None = None
    reranker_api_key: SecretStr | None = None
    rerank_candidates: Annotated[int, Field(ge=1, le=1000)] = 50
    language: _Text = "en"
    embedding_batch_size: _Count = 100
    embedding_cache_size: Annotated[int, Field(ge=0)] = 4096
    similarity_threshold: _Share = 0.8
    min_similarity: _Share | None = None
    recall_limit: Annotated[int, Field(ge=1, le=1000)] = 12
    ranking: dict[str, Any] = Field(default_factory=dict[str, Any])
    short_term_days: _Days = 7
    archive_after_days: _Days = 30

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # From None: pydantic's own text could be logged with more than the field's name.
            raise _first_problem(error) from None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read settings from a mapping; the environment is not looked at.

        Raises:
            InvalidInputError: A key is not known, or a value is not allowed.
        """
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read settings from a TOML file with the names of the fields as keys.

        Raises:
            InvalidInputError: The file cannot be read, or says something that is not allowed.
        """
        return cls(**_read_toml(Path(path)))

    @classmethod
    def from_env(cls) -> Self:
        """Read `MEMORA_` variables, over the file that `MEMORA_CONFIG` names if it is set.

        A variable without a value counts as not set.

        Raises:
            InvalidInputError: A `MEMORA_` variable is not known, or a value is not allowed.
        """
        known = {f"{ENV_PREFIX}{field}".upper() for field in cls.model_fields}
        given = {name.upper() for name in os.environ if name.upper().startswith(ENV_PREFIX)}
        unknown = sorted(
            name
            for name in given - known - {CONFIG_FILE_VARIABLE}
            if not name.startswith(_FOREIGN_PREFIX)
        )
        if unknown:
            raise InvalidInputError(", ".join(unknown), _one_of(sorted(known)))
        file = os.environ.get(CONFIG_FILE_VARIABLE)
        from_file = _read_toml(Path(file)) if file else {}
        return cls(**{**from_file, **EnvSettingsSource(cls)()})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @model_validator(mode="after")
    def _check_servers(self) -> Self:
        models = [self.extraction_model, self.memory_search_model]
        if _needs_url(models) and self.llm_base_url is None:
            raise InvalidInputError("llm_base_url", "set for an openai-compatible model")
        if _needs_url([self.embedder]) and self.embedder_base_url is None:
            raise InvalidInputError("embedder_base_url", "set for an openai-compatible embedder")
        return self


def default_path() -> Path:
    """Return the directory of the embedded stores when none is named."""
    return user_data_path("memora", appauthor=False)


def provider_key(provider: str) -> SecretStr | None:
    """Return the provider's API key from its usual variable; None for one that needs no key.

    Args:
        provider: One of `LLM_PROVIDERS` or `RERANKER_PROVIDERS`.

    Raises:
        InvalidInputError: The provider needs a key and the variable is not set.
    """
    variable = _KEY_VARIABLES.get(provider) or _RERANKER_KEYS.get(provider)
    if variable is None:
        return None
    return SecretStr(_required(variable, provider))


def azure_access() -> AzureAccess:
    """Return where the Azure OpenAI resource is, from its usual variables.

    Raises:
        InvalidInputError: `AZURE_OPENAI_ENDPOINT` is not set.
    """
    version = os.environ.get("AZURE_OPENAI_API_VERSION") or os.environ.get("OPENAI_API_VERSION")
    return AzureAccess(_required("AZURE_OPENAI_ENDPOINT", "azure"), version or None)


def _required(variable: str, provider: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise InvalidInputError(variable, f"set in the environment for the provider {provider!r}")
    return value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.expanduser().read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # From None: a TOML error quotes the file, which may hold keys.
        reason = type(error).__name__
        raise InvalidInputError(str(path), "a readable TOML file", got=reason) from None


def _needs_url(specs: list[ModelSpec | None]) -> bool:
    return any(spec is not None and spec.provider == "openai-compatible" for spec in specs)


def _first_problem(error: ValidationError) -> InvalidInputError:
    problems = error.errors(include_url=False, include_input=False)
    unknown = [str(p["loc"][0]) for p in problems if p["type"] == "extra_forbidden"]
    if unknown:
        return InvalidInputError(", ".join(unknown), _one_of(sorted(Settings.model_fields)))
    first = problems[0]
    own = cast("dict[str, object]", first.get("ctx", {})).get("error")
    if isinstance(own, InvalidInputError):
        return own
    allowed = first["msg"].removeprefix("Input should be ")
    return InvalidInputError(".".join(map(str, first["loc"])), allowed)


def _one_of(names: tuple[str, ...] | list[str]) -> str:
    return f"one of {', '.join(names)}"
