"""Works a plan's transcript edit out: its guards, and the interaction as it will be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from memora.core.messages import EMPTY_HASH, changes
from memora.errors import ConflictError
from memora.graph_db.neo4j.records import Row, as_json, micros, moment, optional_micros
from memora.schema.write_plan import InteractionWrite, NewMessage, WritePlan, WriteReceipt


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is written of a plan's interaction.

    Attributes:
        cut_from: Position from which stored messages go; None: none go.
        properties: What the interaction's node gets.
        messages: Nodes to append.
    """

    interaction_id: str
    is_new: bool
    cut_from: int | None
    properties: dict[str, Any]
    messages: list[dict[str, Any]]

    @property
    def receipt(self) -> WriteReceipt:
        """What the caller learns of it."""
        return WriteReceipt(
            revision=self.properties["revision"],
            created_at=moment(self.properties["created_at"]),
            updated_at=moment(self.properties["updated_at"]),
            message_count=self.properties["message_count"],
        )


def decide(
    plan: WritePlan, write: InteractionWrite, stored: Row | None, external_ids: Collection[str]
) -> Transcript:
    """Check an interaction's write against what is stored, and work it out.

    Args:
        plan: The plan.
        write: Its interaction.
        stored: The interaction as it is; None: there is none of this id.
        external_ids: Interactions that have the write's external id.

    Raises:
        ConflictError: The revision is another, the id is taken, or the external id is.
    """
    revision = None if stored is None else stored["revision"]
    if revision != write.expected_revision:
        raise ConflictError(
            "interaction",
            write.interaction_id,
            expected=write.expected_revision,
            actual=revision,
        )
    count = 0 if stored is None else stored["message_count"]
    if write.edit.keep > count:
        raise ConflictError(
            "interaction", write.interaction_id, expected=write.edit.keep, actual=count
        )
    if write.external_id is not None and set(external_ids) - {write.interaction_id}:
        raise ConflictError("external_id", write.external_id, actual="another interaction's")
    edit = write.edit
    return Transcript(
        interaction_id=write.interaction_id,
        is_new=stored is None,
        cut_from=edit.keep if edit.keep < count else None,
        properties=_created(plan, write) if stored is None else _changed(plan, write, stored),
        messages=[
            _message(plan, write, position, message)
            for position, message in enumerate(edit.append, edit.keep)
        ],
    )


def _created(plan: WritePlan, write: InteractionWrite) -> dict[str, Any]:
    appended = write.edit.append
    return {
        "org_id": plan.scope.org_id,
        "user_id": plan.scope.user_id,
        "interaction_id": write.interaction_id,
        "agent_id": write.agent_id,
        "external_id": write.external_id,
        "title": write.title,
        "metadata": as_json(write.metadata or {}),
        "active": True,
        "participants": [] if write.agent_id is None else [write.agent_id],
        "created_at": micros(write.at),
        "updated_at": micros(plan.now),
        "last_activity_at": micros(write.at),
        "revision": 1 if appended else 0,
        "message_count": len(appended),
        "content_hash": appended[-1].prefix_hash if appended else EMPTY_HASH,
        "import_id": write.import_id,
        "process_id": write.process_id,
    }


def _changed(plan: WritePlan, write: InteractionWrite, stored: Row) -> dict[str, Any]:
    edit, participants = write.edit, list(stored["participants"])
    if write.agent_id is not None and write.agent_id not in participants:
        participants.append(write.agent_id)
    new: dict[str, Any] = {"participants": participants}
    if write.external_id is not None:
        new["external_id"] = write.external_id
    if write.title is not None:
        new["title"] = write.title
    if write.metadata is not None:
        new["metadata"] = as_json(write.metadata)
    if changes(edit, stored["message_count"]):
        new["revision"] = stored["revision"] + 1
        new["message_count"] = edit.keep + len(edit.append)
        new["last_activity_at"] = max(micros(write.at), stored["last_activity_at"])
    if edit.append:
        # The hash of a transcript that was only cut is the cut's to write.
        new["content_hash"] = edit.append[-1].prefix_hash
    if any(stored.get(name) != value for name, value in new.items()):
        # B65: never back, whatever the clocks of two writers say.
        new["updated_at"] = max(micros(plan.now), stored["updated_at"] + 1)
    kept = ("revision", "created_at", "updated_at", "message_count")
    return {name: stored[name] for name in kept} | new


def _message(
    plan: WritePlan, write: InteractionWrite, position: int, message: NewMessage
) -> dict[str, Any]:
    return {
        "org_id": plan.scope.org_id,
        "user_id": plan.scope.user_id,
        "interaction_id": write.interaction_id,
        "position": position,
        "role": message.role,
        "content": message.content,
        "prefix_hash": message.prefix_hash,
        "name": message.name,
        "timestamp": optional_micros(message.timestamp),
        "data": None if message.data is None else as_json(message.data),
        "import_id": write.import_id,
    }
