"""The JSON schema of an answer, plain and in the dialect of strict structured output."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel

# Providers differ in what else they accept; bounds and patterns are checked on the answer anyway.
_KEPT = frozenset(
    {"type", "description", "enum", "const", "properties", "items", "anyOf", "$ref", "$defs"}
)


class _OpenSchemaError(Exception):
    """A part of the schema allows anything, which strict mode cannot express."""


@lru_cache(maxsize=128)
def plain_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema as pydantic writes it; callers do not change it."""
    return model.model_json_schema()


@lru_cache(maxsize=128)
def strict_schema(model: type[BaseModel]) -> dict[str, Any] | None:
    """The schema with closed objects and all fields required, or `None` where that cannot be."""
    try:
        return _strict(plain_schema(model))
    except _OpenSchemaError:
        return None


def schema_name(model: type[BaseModel]) -> str:
    """The model's name in the characters that providers allow."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", model.__name__)[:64]


def schema_instruction(model: type[BaseModel]) -> str:
    """What the prompt says where the provider does not enforce the schema."""
    schema = json.dumps(plain_schema(model), ensure_ascii=False)
    return f"Answer with one JSON object and nothing else. It must fit this JSON schema:\n{schema}"


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return {"$ref": node["$ref"], **_definitions(node)}
    strict = {key: value for key, value in node.items() if key in _KEPT} | _definitions(node)
    choices = cast("list[dict[str, Any]]", node.get("anyOf") or node.get("oneOf") or [])
    if choices:
        strict["anyOf"] = [_strict(choice) for choice in choices]
    elif node.get("type") == "object":
        fields = cast("dict[str, dict[str, Any]]", node.get("properties"))
        if not fields or node.get("additionalProperties"):
            raise _OpenSchemaError
        strict["properties"] = {name: _strict(field) for name, field in fields.items()}
        strict["required"] = list(fields)
        strict["additionalProperties"] = False
    elif node.get("type") == "array":
        if not isinstance(node.get("items"), dict):
            raise _OpenSchemaError
        strict["items"] = _strict(node["items"])
    elif strict.keys().isdisjoint({"type", "enum", "const"}):
        raise _OpenSchemaError
    return strict


def _definitions(node: dict[str, Any]) -> dict[str, Any]:
    found = cast("dict[str, dict[str, Any]]", node.get("$defs", {}))
    return {"$defs": {name: _strict(part) for name, part in found.items()}} if found else {}
