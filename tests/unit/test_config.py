"""Settings: defaults, sources, what is refused, and what never shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memora.config import (
    AzureAccess,
    ModelSpec,
    Settings,
    azure_access,
    default_path,
    provider_key,
)
from memora.errors import InvalidInputError

SECRET = "s3cret-value"


def test_defaults_are_the_documented_ones():
    assert Settings().model_dump() == {
        "path": None,
        "encryption_key": None,
        "graph_url": None,
        "graph_username": "neo4j",
        "graph_password": None,
        "graph_database": "neo4j",
        "vector_url": None,
        "vector_api_key": None,
        "vector_collection": None,
        "vector_own_process": False,
        "extraction_model": None,
        "memory_search_model": None,
        "llm_base_url": None,
        "llm_api_key": None,
        "llm_timeout": 30,
        "embedder": {"provider": "wordllama", "model": ""},
        "embedder_base_url": None,
        "embedder_api_key": None,
        "embedder_dimensions": None,
        "reranker": None,
        "reranker_base_url": None,
        "reranker_api_key": None,
        "rerank_candidates": 50,
        "language": "en",
        "embedding_batch_size": 100,
        "embedding_cache_size": 4096,
        "similarity_threshold": 0.8,
        "min_similarity": None,
        "recall_limit": 12,
        "ranking": {},
        "short_term_days": 7,
        "archive_after_days": 30,
    }


def test_keyword_arguments_and_mappings_do_not_read_the_environment(monkeypatch):
    monkeypatch.setenv("MEMORA_RECALL_LIMIT", "5")
    monkeypatch.setenv("MEMORA_CONFIG", "/nowhere.toml")
    assert Settings().recall_limit == 12
    assert Settings.from_mapping({"recall_limit": 7}).recall_limit == 7


def test_the_environment_is_read_by_prefix_and_blank_means_not_set(monkeypatch):
    monkeypatch.setenv("MEMORA_PATH", "~/store")
    monkeypatch.setenv("MEMORA_RECALL_LIMIT", "5")
    monkeypatch.setenv("MEMORA_EXTRACTION_MODEL", "ollama:llama3.2:3b")
    monkeypatch.setenv("MEMORA_GRAPH_PASSWORD", SECRET)
    monkeypatch.setenv("MEMORA_VECTOR_URL", "")
    monkeypatch.setenv("MEMORA_TEST_NEO4J_URI", "bolt://localhost")
    settings = Settings.from_env()
    assert settings.path == Path.home() / "store"
    assert settings.recall_limit == 5
    assert settings.extraction_model == ModelSpec("ollama", "llama3.2:3b")
    assert settings.graph_password is not None
    assert settings.graph_password.get_secret_value() == SECRET
    assert settings.vector_url is None


def test_a_variable_wins_over_the_file_that_the_environment_names(monkeypatch, tmp_path):
    file = tmp_path / "memora.toml"
    file.write_text('recall_limit = 5\nembedder = "hashing"\n', "utf-8")
    monkeypatch.setenv("MEMORA_CONFIG", str(file))
    monkeypatch.setenv("MEMORA_RECALL_LIMIT", "6")
    settings = Settings.from_env()
    assert (settings.recall_limit, settings.embedder) == (6, ModelSpec("hashing"))
    assert Settings.from_file(file).recall_limit == 5


@pytest.mark.parametrize("text", ["recall_limit = ", f"key = {SECRET}", "caf\udce9"])
def test_an_unreadable_file_is_refused_without_quoting_it(tmp_path, text):
    file = tmp_path / "memora.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInputError, match=r"memora\.toml: must be a readable TOML") as caught:
        Settings.from_file(file)
    assert SECRET not in str(caught.value)
    with pytest.raises(InvalidInputError, match="FileNotFoundError"):
        Settings.from_file(tmp_path / "other.toml")


def test_unknown_keys_are_named(monkeypatch, tmp_path):
    with pytest.raises(InvalidInputError, match=r"^grahp_url, pth: must be one of .*graph_url"):
        Settings.from_mapping({"grahp_url": "bolt://localhost", "pth": SECRET})
    file = tmp_path / "memora.toml"
    file.write_text("recal_limit = 5\n", "utf-8")
    with pytest.raises(InvalidInputError, match=r"^recal_limit: must be one of"):
        Settings.from_file(file)
    monkeypatch.setenv("MEMORA_GRAHP_URL", "bolt://localhost")
    with pytest.raises(InvalidInputError, match=r"^MEMORA_GRAHP_URL: .*MEMORA_GRAPH_URL"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("recall_limit", 0, "greater than or equal to 1"),
        ("recall_limit", 1001, "less than or equal to 1000"),
        ("recall_limit", "many", "a valid integer"),
        ("llm_timeout", 0, "greater than 0"),
        ("llm_timeout", float("inf"), "a finite number"),
        ("similarity_threshold", 1.1, "less than or equal to 1"),
        ("min_similarity", -0.1, "greater than or equal to 0"),
        ("embedding_cache_size", -1, "greater than or equal to 0"),
        ("graph_url", "localhost", "a URL with its scheme"),
        ("graph_url", " ", "at least 1 character"),
        ("vector_url", "localhost:6333", "an http or https URL"),
        ("llm_base_url", "ftp://localhost", "an http or https URL"),
        ("extraction_model", "gpt-4o", "with one of openai, azure"),
        ("extraction_model", "openai:", "with one of openai, azure"),
        ("extraction_model", "wordllama", "with one of openai, azure"),
        ("memory_search_model", "acme:m1", "with one of openai, azure"),
        ("embedder", "anthropic:claude", "with one of wordllama"),
        ("embedder", "openai", "'openai:' and the name of a model"),
        ("embedder", "wordllama:big", "'wordllama' alone"),
    ],
)
def test_a_value_out_of_range_names_field_and_range(field: str, value: Any, allowed: str):
    with pytest.raises(InvalidInputError) as caught:
        Settings(**{field: value})
    assert caught.value.field == field
    assert allowed in caught.value.allowed


@pytest.mark.parametrize("field", ["graph_url", "vector_url", "llm_base_url", "embedder_base_url"])
def test_a_url_with_credentials_is_refused_without_quoting_it(field: str):
    with pytest.raises(InvalidInputError, match="without a user name or password") as caught:
        Settings(**{field: f"http://me:{SECRET}@localhost"})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_show_nowhere():
    settings = Settings(
        graph_password=SECRET, vector_api_key=SECRET, llm_api_key=SECRET, embedder_api_key=SECRET
    )
    for shown in (repr(settings), str(settings), str(settings.model_dump())):
        assert SECRET not in shown
    assert SECRET not in settings.model_dump_json()


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().recall_limit = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://localhost:8000/v1/",
        "http://localhost:8000/v1/chat/completions/",
    ],
)
def test_an_ending_chat_completions_is_cut(url: str):
    assert Settings(llm_base_url=url).llm_base_url == "http://localhost:8000/v1"


def test_an_openai_compatible_model_needs_its_server():
    with pytest.raises(InvalidInputError, match=r"^llm_base_url: "):
        Settings(memory_search_model="openai-compatible:m")
    with pytest.raises(InvalidInputError, match=r"^embedder_base_url: "):
        Settings(embedder="openai-compatible:m", llm_base_url="http://localhost/v1")
    url = "http://localhost/v1"
    settings = Settings(extraction_model="openai-compatible:m", llm_base_url=url)
    assert settings.extraction_model == ModelSpec("openai-compatible", "m")


@pytest.mark.parametrize(
    "text", ["wordllama", "hashing", "fastembed", "fastembed:BAAI/bge-small-en-v1.5", "ollama:m:7b"]
)
def test_an_embedder_reads_back_as_it_is_written(text: str):
    assert str(ModelSpec.parse_embedder(text)) == text


def test_keys_come_from_the_providers_usual_variables(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", f" {SECRET}\n")
    key = provider_key("groq")
    assert key is not None
    assert key.get_secret_value() == SECRET
    assert SECRET not in repr(key)
    assert provider_key("ollama") is None
    assert provider_key("openai-compatible") is None
    with pytest.raises(InvalidInputError, match=r"^OPENAI_API_KEY: must be set"):
        provider_key("openai")


def test_azure_is_found_by_its_usual_variables(monkeypatch):
    with pytest.raises(InvalidInputError, match=r"^AZURE_OPENAI_ENDPOINT: must be set"):
        azure_access()
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com")
    assert azure_access() == AzureAccess("https://me.openai.azure.com")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    assert azure_access().api_version == "2024-10-21"


def test_the_default_path_is_the_platforms_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path().name == "memora"
