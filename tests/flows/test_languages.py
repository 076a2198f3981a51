"""Conversations in other languages recall their facts, on the default store without any setting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memora import Memora

NOW = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)

# Each fact once, among the others, and a question that uses another form of its words.
SPANISH = {
    "Trabajo en una panadería de Sevilla desde el año pasado.": "¿Dónde estoy trabajando?",
    "Mi hermana Lucía se casó en junio con un médico.": "¿Cuándo se casa Lucía?",
    "Soy alérgico a los cacahuetes y a las nueces.": "¿A qué tengo alergia, al cacahuete?",
    "El sábado corrí diez kilómetros por la playa.": "¿Cuántos kilómetros he corrido?",
    "Mi perro se llama Rufo y tiene tres años.": "¿Cómo se llaman mis perros?",
    "Estoy aprendiendo a tocar la guitarra con un profesor particular.": (
        "¿Qué instrumento aprendo, guitarras?"
    ),
    "Nos mudamos a un piso más grande en Triana el mes que viene.": "¿A qué piso me mudo?",
    "Mi película favorita es El laberinto del fauno.": "¿Cuáles son mis películas favoritas?",
}
GERMAN = {
    "Ich arbeite seit März als Krankenschwester in einem Spital in Wien.": (
        "Wo habe ich gearbeitet?"
    ),
    "Meine Tochter Johanna spielt seit zwei Jahren Geige.": "Was spielen meine Töchter?",
    "Im Sommer wandern wir immer in den Dolomiten.": "Wo geht ihr im Sommer wandern?",
    "Ich vertrage keine Milch und trinke deshalb Haferdrinks.": "Was trinkst du statt Milch?",
    "Wir haben zwei alte Häuser am See geerbt.": "Wo steht das Haus?",
    "Mein Bruder hat sich ein rotes Fahrrad gekauft.": "Welche Farbe haben die Fahrräder?",
    "Am Donnerstag habe ich einen Termin beim Zahnarzt.": "Wann sind meine Termine?",
    "Ich lese gerade einen Roman von Daniel Kehlmann.": "Welche Romane lese ich?",
}
CHINESE = {
    "我在上海的一家医院当护士。": "我在哪家医院工作?",
    "我对花生过敏,不能吃花生酱。": "我不能吃什么?对什么过敏?",
    "我妹妹小丽去年六月结婚了。": "小丽什么时候结婚的?",
    "周末我喜欢去西湖边跑步。": "我喜欢在哪里跑步?",
    "我家的猫叫雪球,今年三岁。": "我的猫叫什么名字?",
    "我正在学弹吉他,每周上一次课。": "我在学什么乐器?吉他吗?",
    "下个月我们要搬到杭州的新公寓。": "我们要搬到哪里?新公寓在哪?",
    "我最喜欢的电影是《霸王别姬》。": "我最喜欢的电影是哪部?",
}


@pytest.fixture
async def memora(tmp_path: Path) -> AsyncIterator[Memora]:
    async with Memora.embedded(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("facts", [SPANISH, GERMAN, CHINESE], ids=["spanish", "german", "chinese"])
async def test_facts_are_recalled_in_their_language(memora: Memora, facts: dict[str, str]) -> None:
    user = memora.for_user("ana")
    messages = [
        {"role": "user", "content": text, "timestamp": NOW - timedelta(days=30 - day)}
        for day, text in enumerate(facts)
    ]
    await user.save_or_update_interaction_and_memories(interaction=messages, current_datetime=NOW)
    missed: dict[str, list[str]] = {}
    for text, question in facts.items():
        found, _ids = await user.recall_memories_for_message(question, limit=2)
        if text not in [memory.memory for memory in found]:
            missed[question] = [memory.memory for memory in found]
    assert not missed


async def test_languages_live_in_one_store(memora: Memora) -> None:
    user = memora.for_user("ana")
    every = SPANISH | GERMAN | CHINESE
    await user.save_or_update_interaction_and_memories(
        interaction=[{"role": "user", "content": text} for text in every], current_datetime=NOW
    )
    first = 0
    for text, question in every.items():
        found, _ids = await user.recall_memories_for_message(question, limit=3)
        first += text in [memory.memory for memory in found]
    assert first == len(every)
