"""Benchmark sets and the metrics of retrieval, without any language model.

A conversation has turns, a question names the turns that hold its answer. Rankings are lists of
turn ids, best first; nothing that a ranker sees tells the answer.
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SETS = ("locomo", "longmemeval", "beam")
KS = (5, 10, 20, 50)
_LOCOMO = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
_FORMATS = ("%I:%M %p on %d %B, %Y", "%Y/%m/%d (%a) %H:%M", "%B-%d-%Y", "%Y-%m-%d")
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Turn:
    """One message; `name` is who spoke where the set says so."""

    turn_id: str
    session: str
    role: str
    name: str | None
    text: str


@dataclass(frozen=True)
class Question:
    """One question with its labels; only text and date may reach a ranker."""

    question_id: str
    text: str
    category: str
    date: datetime | None
    answer: str
    evidence: tuple[str, ...]
    sessions: tuple[str, ...]


@dataclass(frozen=True)
class Conversation:
    """A haystack: sessions in the order of time, and questions on them."""

    name: str
    turns: tuple[Turn, ...]
    dates: Mapping[str, datetime]
    questions: tuple[Question, ...]

    def sessions(self) -> Iterator[tuple[str, list[Turn]]]:
        """Yield sessions, oldest first."""
        by_session: dict[str, list[Turn]] = defaultdict(list)
        for turn in self.turns:
            by_session[turn.session].append(turn)
        yield from sorted(by_session.items(), key=lambda item: self.dates[item[0]])


def load(name: str, path: Path) -> list[Conversation]:
    """Read a set.

    Args:
        name: One of `SETS`.
        path: A JSON file, also gzipped; for BEAM the folder of one size, such as `100K`.
    """
    readers = {"locomo": _locomo, "longmemeval": _longmemeval, "beam": _beam}
    return list(readers[name](path))


def _json(path: Path) -> Any:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    return json.loads(path.read_text("utf-8"))


def _time(text: str, otherwise: datetime | None = None) -> datetime:
    for format_ in _FORMATS:
        try:
            return datetime.strptime(text.strip(), format_).replace(tzinfo=UTC)
        except ValueError:
            continue
    if otherwise is None:
        raise ValueError(f"not a date of these sets: {text!r}")
    return otherwise


def _locomo(path: Path) -> Iterator[Conversation]:
    for number, sample in enumerate(_json(path)):
        talk = sample["conversation"]
        turns: list[Turn] = []
        dates: dict[str, datetime] = {}
        for session in sorted(int(key[8:]) for key in talk if re.fullmatch(r"session_\d+", key)):
            dates[f"D{session}"] = _time(talk[f"session_{session}_date_time"])
            for said in talk[f"session_{session}"]:
                caption = said.get("blip_caption", "")
                text = said["text"] + (f" [shared a photo: {caption}]" if caption else "")
                role = "user" if said["speaker"] == talk["speaker_a"] else "assistant"
                turns.append(Turn(said["dia_id"], f"D{session}", role, said["speaker"], text))
        known = {turn.turn_id for turn in turns}
        questions = [
            _locomo_question(f"locomo_{number}_qa{place}", asked, known)
            for place, asked in enumerate(sample["qa"])
        ]
        yield Conversation(sample["sample_id"], tuple(turns), dates, tuple(questions))


def _locomo_question(question_id: str, asked: Mapping[str, Any], known: set[str]) -> Question:
    # Evidence is written in several ways, and sometimes names turns that are not there.
    named = re.findall(r"D:?(\d+):(\d+)", " ".join(asked.get("evidence", [])))
    turns = (f"D{int(session)}:{int(turn)}" for session, turn in named)
    evidence = tuple(dict.fromkeys(turn for turn in turns if turn in known))
    sessions = tuple(dict.fromkeys(turn.split(":")[0] for turn in evidence))
    answer = str(asked.get("answer", asked.get("adversarial_answer", "")))
    category = _LOCOMO[asked["category"]]
    return Question(question_id, asked["question"], category, None, answer, evidence, sessions)


def _longmemeval(path: Path) -> Iterator[Conversation]:
    for item in _json(path):
        turns: list[Turn] = []
        evidence: list[str] = []
        dates: dict[str, datetime] = {}
        sessions = zip(
            item["haystack_session_ids"],
            item["haystack_dates"],
            item["haystack_sessions"],
            strict=True,
        )
        # The ids of sessions mark the evidence: numbers stand for them.
        numbers = {session: f"s{i}" for i, session in enumerate(item["haystack_session_ids"])}
        for session, date, said in sessions:
            name = numbers[session]
            dates[name] = _time(date)
            for place, turn in enumerate(said):
                turn_id = f"{name}#{place}"
                turns.append(Turn(turn_id, name, turn["role"], None, turn["content"]))
                if turn.get("has_answer"):
                    evidence.append(turn_id)
        answerable = not item["question_id"].endswith("_abs")
        question = Question(
            item["question_id"],
            item["question"],
            item["question_type"] if answerable else "abstention",
            _time(item["question_date"]),
            str(item["answer"]),
            tuple(evidence) if answerable else (),
            tuple(sorted({numbers[each] for each in item["answer_session_ids"]}))
            if answerable
            else (),
        )
        yield Conversation(item["question_id"], tuple(turns), dates, (question,))


def _beam(path: Path) -> Iterator[Conversation]:
    for folder in sorted(path.iterdir(), key=lambda each: (len(each.name), each.name)):
        if not (folder / "chat.json").is_file():
            continue
        turns: list[Turn] = []
        dates: dict[str, datetime] = {}
        for batch in _json(folder / "chat.json"):
            name = f"b{batch['batch_number']}"
            for message in (message for group in batch["turns"] for message in group):
                anchor = message.get("time_anchor")
                before = _EPOCH + timedelta(days=len(dates))
                dates.setdefault(name, _time(anchor, before) if anchor else before)
                text = re.sub(r"\s*->->.*$", "", message["content"])
                turns.append(Turn(str(message["id"]), name, message["role"], None, text))
        where = {turn.turn_id: turn.session for turn in turns}
        asked = _json(folder / "probing_questions" / "probing_questions.json")
        questions = [
            _beam_question(f"{folder.name}/{category}/{i}", category, each, where)
            for category, every in asked.items()
            for i, each in enumerate(every)
        ]
        yield Conversation(f"beam-{folder.name}", tuple(turns), dates, tuple(questions))


def _beam_question(
    question_id: str, category: str, asked: Mapping[str, Any], where: Mapping[str, str]
) -> Question:
    ids = dict.fromkeys(map(str, _numbers(asked.get("source_chat_ids", []))))
    evidence = tuple(each for each in ids if each in where)
    sessions = tuple(dict.fromkeys(where[each] for each in evidence))
    answer = str(asked.get("answer") or asked.get("ideal_response") or "")
    return Question(question_id, asked["question"], category, None, answer, evidence, sessions)


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield value
    elif isinstance(value, str):
        try:
            yield from _numbers(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            yield from map(int, re.findall(r"\d+", value))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _numbers(each)


@dataclass
class Scores:
    """The metrics of one question, by name; 0 to 1."""

    conversation: str
    category: str
    metrics: dict[str, float] = field(default_factory=dict)


def score(conversation: Conversation, question: Question, ranking: Sequence[str]) -> Scores:
    """Measure a ranking of turn ids: over turns, and over the sessions that they are of."""
    session = {turn.turn_id: turn.session for turn in conversation.turns}
    ranked = [turn for turn in dict.fromkeys(ranking) if turn in session]
    found = Scores(conversation.name, question.category)
    if question.evidence:
        found.metrics |= _measured(ranked, set(question.evidence), "")
    if question.sessions:
        sessions = list(dict.fromkeys(session[turn] for turn in ranked))
        found.metrics |= _measured(sessions, set(question.sessions), "s_")
    return found


def _measured(ranked: Sequence[str], gold: set[str], prefix: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for k in KS:
        hits = len(gold.intersection(ranked[:k]))
        found[f"{prefix}recall@{k}"] = hits / len(gold)
        found[f"{prefix}all@{k}"] = float(hits == len(gold))
        found[f"{prefix}any@{k}"] = float(hits > 0)
    gains = sum(1 / math.log2(i + 2) for i, each in enumerate(ranked[:10]) if each in gold)
    ideal = sum(1 / math.log2(i + 2) for i in range(min(10, len(gold))))
    found[f"{prefix}ndcg@10"] = gains / ideal
    return found


def mean(scores: Iterable[Scores], metric: str) -> float:
    """Return the mean over the questions that have the metric, in percent."""
    values = [each.metrics[metric] for each in scores if metric in each.metrics]
    return 100 * sum(values) / len(values) if values else math.nan


def interval(scores: Iterable[Scores], metric: str, draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of the mean, in percent, by drawing questions again (bootstrap)."""
    values = [each.metrics[metric] for each in scores if metric in each.metrics]
    if not values:
        return math.nan, math.nan
    random_ = random.Random(7)
    means = sorted(sum(random_.choices(values, k=len(values))) for _ in range(draws))
    low, high = means[int(0.025 * draws)], means[int(0.975 * draws) - 1]
    return 100 * low / len(values), 100 * high / len(values)
