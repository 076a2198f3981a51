"""Records as callers see them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from memora.schema.direct import DeleteReceipt
from memora.schema.models import Memory, MemoryType, MessageBlock, Organization, SourceRole
from tests.unit.kit import DAY, T0, memory


def test_records_answer_like_mappings() -> None:
    org = Organization(org_id="acme", org_name="Acme", created_at=T0)
    assert org["org_id"] == org.org_id
    for missing in ("nope", "model_fields", "__class__", "model_dump"):
        with pytest.raises(KeyError):
            org[missing]
    assert DeleteReceipt(status="deleted", deleted=True)["status"] == "deleted"


def test_b89_records_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError):
        Organization.model_validate({"org_id": "a", "org_name": "A", "created_at": T0, "extra": 1})


def test_a_memory_shows_its_statement_and_time_only() -> None:
    found = memory("secret-id", "Jake likes tea", metadata={"k": "canary"})
    assert (
        repr(found)
        == str(found)
        == ("Memory(memory='Jake likes tea', obtained_at='2026-01-01 12:00:00+00:00')")
    )
    assert found.memory_and_timestamp_dict() == {
        "memory": "Jake likes tea",
        "obtained_at": "2026-01-01 12:00:00+00:00",
    }
    assert found.id_memory_and_timestamp_dict() == {
        "memory_id": "secret-id",
        **found.memory_and_timestamp_dict(),
    }


def test_scores_are_not_dumped() -> None:
    found = memory(score=0.5, score_parts={"dense": 0.5})
    assert (found.score, found.score_parts) == (0.5, {"dense": 0.5})
    assert not {"score", "score_parts"} & found.model_dump().keys()
    assert "score" not in found.model_dump_json()


def test_a_version_is_current_until_something_ends_it() -> None:
    assert memory().is_current
    assert not memory(superseded_at=T0 + DAY).is_current


def test_s01_defaults_are_not_shared() -> None:
    one, other = memory("a"), memory("b")
    one.tags.append("x")
    one.metadata["k"] = 1
    one.message_sources.append(MessageBlock(role="user", msg_position=0))
    assert (other.tags, other.metadata, other.message_sources) == ([], {}, [])


def test_kinds_and_roles_are_texts() -> None:
    fields = Memory.model_fields
    assert fields["memory_type"].default == MemoryType.FACT == "fact"
    assert fields["source_role"].default == SourceRole.USER == "user"


def test_a_message_is_given_back_in_the_shape_of_a_save() -> None:
    parts = [{"type": "text", "text": "a"}]
    block = MessageBlock(
        role="user", content="a", msg_position=3, name="Ann", timestamp=T0, data={"content": parts}
    )
    assert block.as_message() == {
        "role": "user",
        "content": parts,
        "name": "Ann",
        "timestamp": T0,
    }
    assert MessageBlock(role="user", content="a", msg_position=0).as_message() == {
        "role": "user",
        "content": "a",
    }
