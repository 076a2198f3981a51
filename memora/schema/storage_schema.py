"""What `graph.save_interaction_with_memories` and `update_interaction_and_memories` take."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from memora.schema.models import MemoryType


class MemoryToStore(BaseModel):
    """A new memory of the interaction.

    Attributes:
        memory: The statement; `[[u:<id>]]` and `[[a:<id>]]` stand for names.
        source_msg_block_pos: Positions of the messages that it came from, from 0.
    """

    model_config = ConfigDict(extra="forbid")

    memory: str = Field(repr=False)
    source_msg_block_pos: list[StrictInt] = Field(default_factory=list[int])
    memory_type: str = MemoryType.FACT.value
    importance: float = 0.5
    tags: list[str] = Field(default_factory=list[str], repr=False)
    entities: list[str] = Field(default_factory=list[str], repr=False)
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any], repr=False)


class ContraryMemoryToStore(MemoryToStore):
    """A new memory that contradicts an existing one of the user and so becomes its successor."""

    existing_contrary_memory_id: str


class MemoriesAndInteraction(BaseModel):
    """A whole interaction with the memories that belong to it.

    Attributes:
        interaction: The messages, `[{"role": "user", "content": "hello"}, ...]`.
        interaction_date: When it took place; None: now.
    """

    model_config = ConfigDict(extra="forbid")

    interaction: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], repr=False)
    interaction_date: datetime | None = None
    memories: list[MemoryToStore] = Field(default_factory=list[MemoryToStore])
    contrary_memories: list[ContraryMemoryToStore] = Field(
        default_factory=list[ContraryMemoryToStore]
    )
