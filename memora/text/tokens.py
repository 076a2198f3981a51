"""Words of a text, in any script, for the lexical index."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from memora.text.languages import function_words

_STRAIGHT_APOSTROPHE = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\uff07", "'"))
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")

# Scripts written without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han, Hangul.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)

# Function words of English with their contractions, those without the apostrophe included.
# "won", "may", "us" and the like stay searchable: they carry meaning too often.
_ENGLISH_PRONOUNS = """
    i me my mine myself we our ours ourselves you your yours yourself yourselves he him his himself
    she her hers herself it its itself they them their theirs themselves what which who whom whose
    this that these those
"""
_ENGLISH_VERBS = """
    am is are was were be been being have has had having do does did doing done will would shall
    should can could might must ought cannot don don't isn aren wasn weren hasn haven hadn doesn
    didn won't couldn shouldn wouldn mightn mustn needn shan ain im ive dont didnt doesnt cant wont
    isnt wasnt youre thats
"""
_ENGLISH_PARTICLES = """
    a an the and but if or nor because as until while of at by for with about against between into
    through during before after above below to from up down in out on off over under again further
    then once here there when where why how all any both each few more most other some such no not
    only own same so than too very just now also s t d m o y ll re ve ma
"""
_ENGLISH_STOP_WORDS = frozenset(
    (_ENGLISH_PRONOUNS + _ENGLISH_VERBS + _ENGLISH_PARTICLES + "let").split()
)
_ENGLISH_CLITICS = frozenset(("s", "t", "d", "m", "ll", "re", "ve"))


def normalized(text: str) -> str:
    """The form in which words are compared: composed (NFC), case-folded, plain apostrophes."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFC", text).casefold().translate(_STRAIGHT_APOSTROPHE)
    return unicodedata.normalize("NFC", folded)


def words(text: str) -> list[str]:
    """Words in reading order; a run of an unspaced script is one word, see `bigrams`.

    An apostrophe inside a word belongs to it, and numbers are words.
    """
    text = normalized(text)
    pattern = _ASCII_WORD if text.isascii() else _unicode_word()
    return pattern.findall(text)


def is_unspaced(word: str) -> bool:
    """Whether a word from `words` is a run of a script without spaces."""
    return not word.isascii() and _unspaced_run().match(word) is not None


def bigrams(run: str) -> list[str]:
    """Neighbouring pairs of characters, or the run itself if it is a single one."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def stop_words(language: str) -> frozenset[str]:
    """Words too common in a language to find anything with; empty where none are known."""
    return _ENGLISH_STOP_WORDS if language == "en" else function_words(language)


def is_stop_word(word: str, language: str) -> bool:
    """Whether a word is too common in its language to find anything with; see `stop_words`."""
    if language != "en":
        return word in function_words(language)
    head, apostrophe, tail = word.partition("'")
    return word in _ENGLISH_STOP_WORDS or (
        bool(apostrophe) and head in _ENGLISH_STOP_WORDS and tail in _ENGLISH_CLITICS
    )


@cache
def _unspaced_run() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


@cache
def _unicode_word() -> re.Pattern[str]:
    # Python's \w leaves out combining marks, which would cut Hindi or Arabic words into pieces.
    marks = "".join(
        chr(code)
        for code in range(0x300, 0x1C00)
        if unicodedata.category(chr(code)) in {"Mn", "Mc"}
    )
    letter = rf"(?:[^\W_{_UNSPACED}]|(?![{_UNSPACED}])[{marks}])"
    run = rf"(?:[{_UNSPACED}]+)"
    return re.compile(rf"{run}|{letter}+(?:'{letter}+)*")
