"""What taking an import back does, decided over values."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from memora.core import undoing
from memora.core.undoing import Change, CutMessage, CutSource, Found, Settlement, Verdict
from memora.schema.models import Interaction, MessageBlock
from memora.schema.sources import SourceMessage, StoredVersion

START = datetime(2024, 5, 1, tzinfo=UTC)


def interaction(revision: int = 1, **fields: object) -> Interaction:
    known = {
        "org_id": "o",
        "user_id": "u",
        "interaction_id": "i",
        "created_at": START,
        "updated_at": START + timedelta(minutes=revision),
        "last_activity_at": START,
        "revision": revision,
    }
    return Interaction.model_validate({**known, **fields})


def cut(*positions: int) -> tuple[CutMessage, ...]:
    return tuple(
        CutMessage(
            MessageBlock(
                role="user",
                content=f"text {position}\u2028",
                msg_position=position,
                timestamp=START,
                data={"x": [1, None]},
            ),
            f"hash-{position}",
            "older" if position % 2 else None,
            (CutSource("m1", None), CutSource("m2", START)),
        )
        for position in positions
    )


def test_what_was_found_is_stored_and_read_as_it_is() -> None:
    given = undoing.found(
        interaction(title="Old", metadata={"k": [1]}, participants=["a"]),
        interaction(2, title="New"),
        1,
        cut(1, 2),
    )
    for found in (given, None):
        assert Found.from_json(Change("import", "i", 1, found).to_json()) == found
    assert Change("import", "i", 1, None).to_json() is None
    # Before it was noted when a message said it.
    older = json.loads(Change("import", "i", 1, given).to_json() or "")
    for each in older["cut"]:
        del each["said_at"]
    read = Found.from_json(json.dumps(older))
    assert read is not None
    assert read.cut[0].sources == (CutSource("m1", None), CutSource("m2", None))


def test_a_note_of_an_earlier_build_is_read() -> None:
    """It told of versions that begin earlier, also where the import created the conversation."""
    told = [{"memory_id": "m1", "source_role": "user", "at": START.isoformat()}]
    assert Found.from_json(json.dumps({"told": told})) is None
    found = Found({"title": None}, {"title": "t"}, 1)
    assert Found.from_json(json.dumps({**found.to_fields(), "told": told})) == found


def test_of_two_writes_what_was_there_before_both_is_kept() -> None:
    first = undoing.found(interaction(1), interaction(2), 3, cut(3, 4))
    second = undoing.found(interaction(2), interaction(3), 1, cut(1, 2, 3, 4, 5))
    both = undoing.merged(first, second)
    assert both is not None
    assert (both.before["revision"], both.after["revision"], both.keep) == (1, 3, 1)
    assert [each.message.msg_position for each in both.cut] == [1, 2, 3, 4]
    assert both.cut[2:] == first.cut
    assert undoing.merged(None, second) is None
    later = undoing.merged(first, replace(second, keep=9, cut=()))
    assert later is not None
    assert (later.keep, later.cut) == (3, first.cut)


FOUND = undoing.found(interaction(1), interaction(2), 1)
REMOVE, RESTORE = Settlement(Verdict.REMOVE), Settlement(Verdict.RESTORE)
HAND_OVER = Settlement(Verdict.HAND_OVER)


@pytest.mark.parametrize(
    ("found", "revision", "writers", "expected"),
    [
        (None, 2, ["import"], REMOVE),
        (None, 7, ["import"], REMOVE),
        (None, 2, ["import", None], HAND_OVER),
        (None, 2, ["import", "unknown"], HAND_OVER),
        (FOUND, 2, ["import"], RESTORE),
        (FOUND, 2, [], RESTORE),
        (FOUND, 3, ["import"], HAND_OVER),
        (FOUND, 2, [None], HAND_OVER),
    ],
)
def test_a_conversation_goes_comes_back_or_is_somebody_elses(
    found: Found | None, revision: int, writers: list[str | None], expected: Settlement
) -> None:
    own = Change("import", "i", 2, found)
    assert undoing.settle(own, [], interaction(revision), writers) == expected


def test_the_next_import_inherits_what_both_found() -> None:
    own = Change("import", "i", 2, FOUND)
    second = undoing.found(interaction(2), interaction(3), 2)
    next_one, last = Change("next", "i", 3, second), Change("last", "i", 4, second)
    earlier = Change("earlier", "i", 1, None)
    settled = undoing.settle(own, [last, next_one, earlier], interaction(4), ["import", "next"])
    assert settled.heir == replace(next_one, found=undoing.merged(FOUND, second))
    assert undoing.settle(own, [next_one], interaction(3), ["import", None]) == HAND_OVER


def test_only_what_nobody_changed_since_comes_back() -> None:
    before = interaction(1, title="Old", metadata={"k": 1}, participants=["a"])
    after = interaction(2, title="New", metadata={"k": 2}, participants=["a", "b"])
    given = undoing.found(before, after, 0)
    fields = undoing.restored(after, given)
    assert Interaction.model_validate(after.model_dump() | fields) == before
    touched = after.model_copy(update={"title": "Live", "updated_at": START + timedelta(days=1)})
    kept = Interaction.model_validate(touched.model_dump() | undoing.restored(touched, given))
    assert (kept.title, kept.updated_at) == ("Live", touched.updated_at)
    assert (kept.metadata, kept.participants, kept.revision) == ({"k": 1}, ["a"], 1)


def version(number: int, *sources: SourceMessage, **fields: object) -> StoredVersion:
    known: dict[str, object] = {
        "memory_id": f"m{number}",
        "chain_id": "m1",
        "obtained_at": START + timedelta(days=number),
        "recorded_at": START,
        "superseded_at": None,
        "successor_id": None,
        "source_role": "user",
        "content_hash": "h",
    }
    return StoredVersion(**{**known, **fields}, sources=sources)  # pyright: ignore[reportArgumentType]


MINE = SourceMessage("mine", 0, "user", "h", agent_id="agent", process_id="live")
IMPORTED = SourceMessage("new", 0, "assistant", "h", import_id="import")


def test_d8_only_the_imports_own_versions_go() -> None:
    of_import = {"import_id": "import", "interaction_id": "new"}
    chain = [
        version(
            1,
            IMPORTED,
            content_hash="other",
            superseded_at=START + timedelta(days=2),
            successor_id="m2",
        ),
        version(
            2, IMPORTED, **of_import, superseded_at=START + timedelta(days=3), successor_id="m3"
        ),
        version(3, IMPORTED, MINE, **of_import, source_role="assistant"),
    ]
    done = undoing.decide(chain, "import")
    assert done.removed == ("m2",)
    assert [(each.memory_id, each.source_role, each.origin) for each in done.unlinked] == [
        ("m1", "user", None),
        ("m3", "user", MINE),
    ]
    [first] = done.changed
    assert (first.successor_id, first.superseded_at) == ("m3", START + timedelta(days=3))
    by_hand = version(4, import_id="import", author="me")
    assert undoing.decide([by_hand], "import").removed == ()


def test_a_chain_is_counted_with_one_conversation_only() -> None:
    chain = [version(1, IMPORTED), version(2, import_id="import", interaction_id="another")]
    counted = [undoing.counts_in(chain, "import", [place]) for place in ("another", "new")]
    assert counted == [True, False]


@pytest.mark.parametrize(
    ("sizes", "picked"), [([], 0), ([50], 1), ([5, 5, 1], 2), ([50, 1], 1), ([0, 0, 10, 1], 3)]
)
def test_a_transaction_holds_few_messages_but_a_whole_conversation(
    sizes: list[int], picked: int
) -> None:
    conversations = [(str(number), size) for number, size in enumerate(sizes)]
    assert undoing.bounded(conversations, 10) == [str(number) for number in range(picked)]
