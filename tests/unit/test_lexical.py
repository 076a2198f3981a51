"""BM25 as sparse vectors."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.embeddings import lexical
from memora.embeddings.base import SparseVector
from memora.embeddings.lexical import LexicalEncoder
from memora.errors import InvalidInputError

encoder = LexicalEncoder()


def score(document: str, query: str, encoder: LexicalEncoder = encoder) -> float:
    """The product of the two vectors, as an engine computes it with every IDF at 1."""
    (stored,) = encoder.encode_documents([document])
    (asked,) = encoder.encode_queries([query])
    weights = dict(zip(stored.indices, stored.values, strict=True))
    return sum(
        weights.get(index, 0.0) * value
        for index, value in zip(asked.indices, asked.values, strict=True)
    )


def test_document_weights_are_bm25_with_a_fixed_average_length() -> None:
    (vector,) = encoder.encode_documents(["Dogs chase the dog and a cat"])
    # Four terms: dog twice, chase, cat. k1 1.2, b 0.75, average length 40.
    norm = 1.2 * (0.25 + 0.75 * 4 / 40)
    expected = {2 * 2.2 / (2 + norm): 1, 1 * 2.2 / (1 + norm): 2}
    assert len(vector.values) == 3
    for value, times in expected.items():
        assert sum(math.isclose(value, found) for found in vector.values) == times


def test_query_weights_are_one_for_every_different_term() -> None:
    (vector,) = encoder.encode_queries(["Where do dogs, dogs and cats sleep?"])
    assert vector.values == (1.0, 1.0, 1.0)


def test_a_vector_does_not_depend_on_the_other_texts() -> None:
    texts = ["the grey dog", "a much longer text about taxes in April", ""]
    together = encoder.encode_documents(texts)
    assert together == [encoder.encode_documents([text])[0] for text in texts]
    assert together[2] == SparseVector((), ())


def test_indices_are_the_same_in_every_process_and_version() -> None:
    (vector,) = encoder.encode_queries(["dog biscuit 2023 绿茶"])
    assert vector.indices == (1136799432, 2691776247, 3048666995, 3195281400)
    assert encoder.recipe == "bm25-v2-snowball-en"


def test_terms_are_stems_in_reading_order() -> None:
    assert encoder.terms("Caroline's dogs, barking at the dog in 2023!") == [
        "carolin", "dog", "bark", "dog", "2023",
    ]  # fmt: skip


def test_every_word_of_a_query_can_be_checked_with_terms() -> None:
    stored = set(encoder.terms("她喜欢喝绿茶 with Caroline's dogs"))
    for query in ("Caroline dog", "茶", "喜欢", "绿茶 dogs"):
        assert set(encoder.terms(query)) <= stored
    assert not set(encoder.terms("咖啡")) <= stored


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("We hiked near the waterfall", "hiking waterfalls"),
        ("Caroline\u2019s CAFE\u0301", "caroline café"),
        ("她喜欢喝绿茶", "绿茶"),
        ("她喜欢喝绿茶", "茶"),
        ("彼女は緑茶が好きです", "緑茶"),
        ("나는 녹차를 좋아해요", "녹차"),
        ("ฉันชอบดื่มชาเขียว", "ชาเขียว"),
        ("Она купила новые книги", "книга"),
        ("मुझे हरी चाय पसंद है", "चाय"),
        ("version 3.5 on port 8080", "8080"),
        ("To be, or not to be", "to be or not"),
        ("Who am I?", "who am I"),
    ],
)
def test_texts_are_found_in_many_languages(document: str, query: str) -> None:
    assert score(document, query) > 0


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("the dog and the cat", "where is the tax report?"),
        ("the dog", "to be or not"),
        ("我喜欢绿茶", "她不在家"),
        ("我喜欢绿茶", "欢喜"),
    ],
)
def test_stop_words_and_single_characters_connect_nothing(document: str, query: str) -> None:
    assert score(document, query) == 0


def test_the_language_decides_the_stems_and_is_stamped() -> None:
    german = LexicalEncoder("de")
    assert german.recipe == "bm25-v2-snowball-de"
    assert score("alte Häuser", "Haus", german) > 0
    assert score("alte Häuser", "Haus") == 0
    with pytest.raises(InvalidInputError, match="language"):
        LexicalEncoder("klingon")


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("Die Häuser am See", "Wo ist das Haus?"),
        ("Trabajo en una panadería de Sevilla", "¿Dónde está trabajando él?"),
        ("Hier j'ai mangé des croissants avec ma sœur", "Qui a mangé le croissant ?"),
        ("Eu moro em Lisboa com os meus gatos", "Onde está o gato?"),
        ("Ho comprato due biciclette per i bambini", "Dove è la bicicletta?"),
    ],
)
def test_a_language_is_stemmed_as_its_function_words_tell(document: str, query: str) -> None:
    assert score(document, query) > 0


def test_function_words_of_another_language_connect_nothing() -> None:
    assert score("Ich bin in der Stadt und er ist mit mir", "Wo ist sie mit der Katze?") == 0


@pytest.mark.parametrize("text", ["Bob at war", "war stories", "Son of a gun", "die hard"])
def test_single_words_of_another_language_stay_searchable(text: str) -> None:
    assert len(encoder.terms(text)) >= 2


def test_a_name_alone_finds_what_was_said_in_another_language() -> None:
    assert score("Ich arbeite seit März bei Siemens in München.", "Siemens München") > 0


def test_terms_that_share_an_index_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "_index", lambda term: 7)
    (document,) = encoder.encode_documents(["dog cat"])
    (twice,) = encoder.encode_documents(["dog dog"])
    assert document == twice
    assert document.indices == (7,)
    assert encoder.encode_queries(["dog cat"]) == [SparseVector((7,), (1.0,))]


def test_threads_share_an_encoder() -> None:
    texts = [f"organizations hopping relational number {i} and nationality {i}" for i in range(40)]
    shared = LexicalEncoder()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shared.encode_documents(texts), range(16)))
    assert all(answer == encoder.encode_documents(texts) for answer in answers)


@given(st.text())
def test_vectors_are_well_formed_and_a_text_is_found_by_itself(text: str) -> None:
    (document,) = encoder.encode_documents([text])
    (query,) = encoder.encode_queries([text])
    for vector in (document, query):
        assert list(vector.indices) == sorted(set(vector.indices))
        assert all(0 <= index < 2**32 for index in vector.indices)
        assert len(vector.indices) == len(vector.values)
        assert all(0 < value < 2.2 for value in vector.values)
    assert set(query.indices) <= set(document.indices)
    assert bool(query.indices) == bool(encoder.terms(text))
