"""The schema in the dialect of strict structured output."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from memora.llm_backends._schema import plain_schema, schema_instruction, schema_name, strict_schema


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(default=9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = Field(default_factory=list, max_length=5)


class Owner(BaseModel):
    """Who owns the pets."""

    name: str = Field(description="Full name.", min_length=1)
    title: str | None = None
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    default: Literal["a", "b"] = "a"


def test_objects_are_closed_and_all_fields_required() -> None:
    schema = strict_schema(Owner)
    assert schema is not None
    assert schema["required"] == ["name", "title", "pets", "default"]
    assert schema["additionalProperties"] is False
    for pet in ("Cat", "Dog"):
        assert schema["$defs"][pet]["additionalProperties"] is False
        assert schema["$defs"][pet]["required"] == list(schema["$defs"][pet]["properties"])


def test_only_keywords_that_every_provider_takes_are_left() -> None:
    schema = strict_schema(Owner)
    assert schema is not None
    assert schema["description"] == "Who owns the pets."
    assert schema["properties"]["name"] == {"type": "string", "description": "Full name."}
    assert schema["properties"]["title"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert schema["properties"]["pets"]["items"] == {
        "anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    }
    assert schema["properties"]["default"] == {"type": "string", "enum": ["a", "b"]}
    assert schema["$defs"]["Cat"]["properties"]["lives"] == {"type": "integer"}


def test_a_schema_is_not_changed_by_its_strict_form() -> None:
    strict_schema(Owner)
    assert plain_schema(Owner) == Owner.model_json_schema()


class Open(BaseModel):
    counts: dict[str, int]


class Anything(BaseModel):
    value: Any


class NoFields(BaseModel):
    pass


class Pair(BaseModel):
    pair: tuple[int, str]


@pytest.mark.parametrize("model", [Open, Anything, NoFields, Pair])
def test_what_strict_mode_cannot_say_has_no_strict_form(model: type[BaseModel]) -> None:
    assert strict_schema(model) is None


class Node(BaseModel):
    label: str
    children: list[Node]


def test_recursive_model_keeps_its_reference() -> None:
    schema = strict_schema(Node)
    assert schema is not None
    assert schema["$ref"] == "#/$defs/Node"
    assert schema["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_b82_instruction_holds_the_schema_as_json() -> None:
    _, _, text = schema_instruction(Owner).partition("\n")
    assert json.loads(text) == Owner.model_json_schema()


def test_name_has_only_allowed_characters() -> None:
    class Odd(BaseModel):
        x: int

    Odd.__name__ = "Page[Käse]" + "x" * 100
    assert schema_name(Odd).startswith("Page_K_se_x")
    assert len(schema_name(Odd)) == 64
