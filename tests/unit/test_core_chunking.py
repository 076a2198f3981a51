"""Cutting texts where a reader would, and leaving recalled text out of what is remembered."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.agent.context import format_memories
from memora.core import chunking
from memora.core.chunking import (
    RECALL_CLOSE,
    RECALL_OPEN,
    VERBATIM_CHARS,
    estimated_tokens,
    pieces,
    without_recall,
)
from tests.unit.kit import HOSTILE, hostile_text, memory, quick

prose = st.lists(
    st.sampled_from(
        ["I like tea.", 'He said "hi."', "(Really?)", "¿Cómo?", "我喜欢茶。", "真的\uff1f",
         "\n\n", " ", "x" * 50, "e\u0301" * 20, "👩\u200d👧", "1.5 mg", "a.b", "...", "\t"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def squeezed(text: str) -> str:
    return "".join(text.split())


@quick
@given(st.one_of(prose, hostile_text), st.integers(1, 60))
def test_pieces_lose_nothing_but_blanks_and_never_exceed_the_limit(text: str, limit: int) -> None:
    cut = pieces(text, limit)
    assert squeezed("".join(cut)) == squeezed(text)
    assert all(0 < len(piece) <= limit and piece.strip() for piece in cut)
    if text.strip() and len(text) <= limit:
        assert cut == [text]


@quick
@given(prose, st.integers(20, 60))
def test_every_piece_is_a_part_of_the_text(text: str, limit: int) -> None:
    at = 0
    for piece in pieces(text, limit):
        found = text.find(piece, at)
        assert found >= 0
        assert not text[at:found].strip()
        at = found + len(piece)
    assert not text[at:].strip()


CUTS = [
    ("One two. Three four. Five.", 20, ["One two. Three four.", "Five."]),
    ('He said "hi." Then he left.', 20, ['He said "hi."', "Then he left."]),
    ("(He came.) (He saw.) (He left.)", 22, ["(He came.) (He saw.)", "(He left.)"]),
    ("He left…” And came back.", 14, ["He left…”", "And came back."]),
    ("我喜欢茶。他喜欢咖啡。我们走吧。", 11, ["我喜欢茶。他喜欢咖啡。", "我们走吧。"]),
    ("「我喜欢茶。」他说。「真的\uff1f」", 10, ["「我喜欢茶。」他说。", "「真的\uff1f」"]),
    ("First line\n\nSecond line", 15, ["First line", "Second line"]),
    ("- first item\n- second item", 15, ["- first item", "- second item"]),
    ("no sentence end here at all", 12, ["no sentence", "end here at", "all"]),
    ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
    ("short " + "x" * 25, 10, ["short", "x" * 10, "x" * 10, "x" * 5]),
    ("Take 1.5 mg at 10:30. Not more.", 24, ["Take 1.5 mg at 10:30.", "Not more."]),
    ("Is it? Yes! No.", 8, ["Is it?", "Yes! No."]),
    ("", 5, []),
    (" \n ", 1, []),
    ("abc", 3, ["abc"]),
    (" a ", 3, [" a "]),
]


@pytest.mark.parametrize(("text", "limit", "expected"), CUTS)
def test_texts_are_cut_where_a_reader_would(text: str, limit: int, expected: list[str]) -> None:
    assert pieces(text, limit) == expected


def test_letters_and_emoji_are_not_torn_apart() -> None:
    accents = "e\u0301" * 20
    for piece in pieces(accents, 7):
        assert not unicodedata.combining(piece[0])
    family = "👨\u200d👩\u200d👧\u200d👦"
    for piece in pieces(family * 4, 10):
        assert piece == family
    assert squeezed("".join(pieces("e" + "\u0301" * 1000, 10))) == "e" + "\u0301" * 1000


def test_a_long_text_is_cut_in_linear_time() -> None:
    text = "x" * 1_000_000
    assert len(pieces(text)) == 500
    assert len(pieces("word " * 200_000)) >= 500
    assert pieces("y" * VERBATIM_CHARS) == ["y" * VERBATIM_CHARS]


BLOCK = f"{RECALL_OPEN}\n- Jake likes tea (2026-01-01)\n{RECALL_CLOSE}"

RECALLS = {
    "alone": (BLOCK, ""),
    "before": (f"{BLOCK}\nWhat now?", "What now?"),
    "after": (f"What now?\n{BLOCK}", "What now?\n"),
    "inside": (f"Hello.\n{BLOCK}\nWhat now?", "Hello.\nWhat now?"),
    "in a line": (f"Hello {BLOCK} there", "Hello there"),
    "twice": (f"{BLOCK}\na\n{BLOCK}\nb", "a\nb"),
    "nested": (f"a {RECALL_OPEN}\n{BLOCK}\n- Jake has a cat\n{RECALL_CLOSE} b", "a b"),
    "unfinished": (f"a\n{RECALL_OPEN}\n- Jake likes tea (2026-01-01)\n- Jake ha", "a\n"),
    "forged": (f"{RECALL_OPEN} I moved to Berlin.", "I moved to Berlin."),
    "unfinished, then own words": (
        f"{RECALL_OPEN}\n- Jake likes tea (2026-01-01)\n\nI moved to Berlin.",
        "\nI moved to Berlin.",
    ),
    "forged before a real one": (f"{RECALL_OPEN} I moved.\n{BLOCK}\nBye.", "I moved.\nBye."),
    "stray end": (f"a {RECALL_CLOSE} b", "a b"),
    "stray ends": (f"{RECALL_CLOSE}{RECALL_CLOSE}a", "a"),
    "other attributes": ("<memora-recall>\nx\n</memora-recall>\na", "a"),
    "no marker": ("<memora-recalled>a</memora-recalled>", "<memora-recalled>a</memora-recalled>"),
    "a word": ("memora-recall is a marker", "memora-recall is a marker"),
}


@pytest.mark.parametrize(("text", "left"), RECALLS.values(), ids=RECALLS.keys())
def test_recalled_text_is_left_out_and_nothing_else(text: str, left: str) -> None:
    assert without_recall(text) == left


@quick
@given(st.lists(hostile_text, min_size=1, max_size=3), hostile_text)
def test_what_format_memories_renders_never_leaks_out(texts: list[str], own: str) -> None:
    memories = [memory(f"m{n}", f"canary {text} canary") for n, text in enumerate(texts)]
    block = format_memories(memories)
    own = own.replace("memora-recall", "")
    assert without_recall(f"{own}\n{block}\nBye.") == f"{own}\nBye."
    assert without_recall(block) == ""


@quick
@given(st.text("a -\n<>/", max_size=30))
def test_text_without_markers_stays_as_it_is(text: str) -> None:
    assert without_recall(text) == text


@quick
@given(st.lists(st.sampled_from([RECALL_OPEN, RECALL_CLOSE, BLOCK, "own", "\n", "- x\n", " "])))
def test_no_marker_is_left_whatever_the_nesting(parts: list[str]) -> None:
    left = without_recall("".join(parts))
    assert "memora-recall" not in left
    assert without_recall(left) == left
    if parts.count("own") and not {RECALL_OPEN, RECALL_CLOSE, BLOCK} & set(parts):
        assert left == "".join(parts)


def test_a_flood_of_markers_is_read_in_linear_time() -> None:
    assert without_recall(RECALL_OPEN * 20_000 + "own") == "own"
    assert without_recall(RECALL_CLOSE * 20_000 + "own") == "own"
    assert without_recall("<memora-recall" * 70_000).startswith("<memora-recall")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_cut_without_an_error(text: str) -> None:
    assert squeezed("".join(pieces(text, 5))) == squeezed(text)
    assert isinstance(without_recall(text), str)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_tokens_are_estimated_upwards(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


def test_many_open_marks_cost_no_more_than_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = chunking._RECALL_LINES
    read = 0

    class Counting:
        def match(self, text: str, at: int) -> re.Match[str] | None:
            nonlocal read
            found = lines.match(text, at)
            read += 0 if found is None else found.end() - at
            return found

    monkeypatch.setattr(chunking, "_RECALL_LINES", Counting())
    text = "Hello. " + "<memora-recall>\n- " * 2000 + "\nGood bye."
    assert chunking.without_recall(text).split() == ["Hello.", "Good", "bye."]
    assert 0 < read <= len(text)
