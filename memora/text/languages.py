"""The language of a text in Latin script, told by its function words.

A text of a few words has little else to go by, and these words are what its language leaves out
when it is searched. Languages with a script of their own need no telling, see `stemming`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Articles, pronouns, prepositions, conjunctions, auxiliaries and question words by ISO 639-1 code.
_LISTS = {
    "da": """
        af alle andre at blev bliver da de dem den denne der deres det dette dig din dit du efter
        eller en er et for fordi fra få får gik ham han hans har havde have hendes her hos hun hvad
        hvem hvilken hvis hvor hvordan hvorfor hvornår i ikke ind jeg jer kan kun kunne man med
        meget men mig min mit mod må nogen noget nogle nu når og også om op os over på sig sin skal
        skulle som sådan til ud under var ved vi vil ville være været
    """,
    "de": """
        aber alle als also am an auch auf aus bei beim bin bis bist da damit dann das dass dein
        deine dem den denn der des dich die dies diese diesem diesen dieser dieses dir doch dort du
        durch ein eine einem einen einer eines er es euch euer für gegen habe haben hast hat hatte
        hatten ich ihm ihn ihnen ihr ihre im in ins ist ja jede jeden jeder jetzt kann kein keine
        können man mein meine meinem meinen meiner mich mir mit nach nicht noch nun nur ob oder
        ohne schon sehr sein seine seinen seit sich sie sind so sondern um und uns unser unsere
        unter vom von vor wann war waren warum was weil welche welchem welchen welcher wem wen wenn
        wer werde werden wie wieder wir wird wo wurde zu zum zur über
    """,
    "es": """
        a al algo alguna algunas algunos ante antes aunque como con cual cuando cuál cuándo cuánto
        cuántos cómo de del desde donde dos durante dónde e el ella ellas ellos en entre era es esa
        ese eso esta estaba estado están estar este esto estos estoy está fue ha había han has hasta
        hay he la las le les lo los me mi mis mucho muy más mí ni no nos nosotros nuestra nuestro o
        os otra otro para pero por porque que quien quién qué se sea ser si sido sin sobre son soy
        su sus sí también tan te tengo ti tiene tienen todo todos tu tus tú un una uno unos y ya yo
        él
    """,
    "fr": """
        ai aller alors après as au aussi autre aux avaient avait avec avoir avons avez c'est car ce
        ces cet cette chez comme comment d'un d'une dans de depuis des deux donc dont du elle elles
        en encore est et eu eux fait il ils j'ai je l'on la le les leur leurs lui là ma mais me
        mes moi mon même ne nos notre nous n'est on ont ou où par pas pendant peu peut plus pour
        pourquoi qu'est qu'il que quel quelle quels quand qui quoi s'est sa sans se sera ses si son
        sont suis sur t'es ta te tes toi ton tous tout toute toutes tu très un une vers vos votre
        vous y à été être
    """,
    "it": """
        a ad ai al alla alle allo anche ancora avere aveva c'è che chi ci come con cosa così cui da
        dai dal dalla dalle dei del della delle dello di dopo dove due e ed era erano essere fa fra
        gli ha hai hanno ho i il in io l'ho la le lei li lo loro lui ma me mi mia mie miei mio molto
        ne nei nel nella nelle noi non nostra nostro o ogni per perché però più prima quale quali
        quando quanto quella quello questa queste questi questo qui se sei sempre si sia sono sta
        stata stato su sua sue sugli sul sulla suo suoi tra tu tua tue tuo tutti tutto un un'altra
        una uno vi voi è
    """,
    "nl": """
        aan al alle als altijd andere bij daar dan dat de deze die dit doch doen door dus een eens
        en er ge geen gehad geweest had hadden heb hebben heeft hem het hier hij hoe hun ik in is ja
        je jij jouw jullie kan kon kunnen maar me meer men met mij mijn moet moeten na naar niet
        nog nu of om omdat ons onze ook op over te tegen toch toen tot u uit uw van veel voor waar
        waarom wanneer want waren was wat welke werd wezen wie wij wil worden wordt ze zelf zich zij
        zijn zo zonder zou
    """,
    "pt": """
        a ao aos aquela aquele aqui as até com como da das de dela dele deles depois do dos e ela
        elas ele eles em entre era essa esse esta estar estava este estou está estão eu foi foram
        há isso isto já lhe mais mas me mesmo meu meus minha minhas muito na nas nem no nos nossa
        nosso num numa não nós o onde os ou para pela pelas pelo pelos por porque pra qual quando
        quanto quantos que quem quê se sem ser seu seus sido sou sua suas são só também te tem
        tenho tinha tu tudo têm um uma umas uns você vocês vou à às é
    """,
    "sv": """
        alla andra att av bara blev blir bli då de dem den denna deras dess det detta dig din ditt
        du där efter eller en er ett för från få får ha hade han hans har hennes hon honom hos hur
        här i in inte ja jag kan kommer kunde man med mellan men mig min mina mitt mot mycket måste
        ni nu när någon något några och om oss på samma sedan sig sin sina sitt ska skulle som så
        till under upp ut utan vad var varför varit vem vi vid vilken vill vår våra än är även åt
        över
    """,
}
_FUNCTION_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {code: frozenset(text.split()) for code, text in _LISTS.items()}
)
_ANY = frozenset[str]().union(*_FUNCTION_WORDS.values())
# More languages than this with the same words tell nothing.
_MOST = 3


@dataclass(frozen=True, slots=True)
class Guess:
    """What the function words of a text say.

    Attributes:
        languages: ISO 639-1 codes; several where related languages tie, none where nothing tells.
        count: How many function words of these languages the text has.
    """

    languages: tuple[str, ...] = ()
    count: int = 0

    def is_function_word(self, word: str) -> bool:
        """Whether nothing can be found with a word in any of the languages.

        Never after a single one: "war" alone does not make a German text.
        """
        return self.count > 1 and all(word in _FUNCTION_WORDS[code] for code in self.languages)


def guess(words: Iterable[str], expected: frozenset[str]) -> Guess:
    """Return the languages that most function words of a text belong to.

    None when as many are function words of the language that is expected anyway, or when too many
    languages tie.

    Args:
        words: Words of the text as `tokens.words` gives them.
        expected: Function words of the language that texts are expected in.
    """
    different = set(words)
    if (different - expected).isdisjoint(_ANY):
        return _NOTHING
    counts = {code: len(different & listed) for code, listed in _FUNCTION_WORDS.items()}
    best = max(counts.values())
    if best <= len(different & expected):
        return _NOTHING
    found = tuple(code for code, count in counts.items() if count == best)
    return Guess(found, best) if len(found) <= _MOST else _NOTHING


def function_words(language: str) -> frozenset[str]:
    """Return the words of a language with which nothing can be found; empty: it has no list."""
    return _FUNCTION_WORDS.get(language, frozenset())


_NOTHING = Guess()
