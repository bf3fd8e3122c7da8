"""The words of made-up text.

Frequent words and lines of code are those of the sample corpus, with their frequencies. Rare words are made up and
never run out. The number of different words grows with the text as in a real dump (Heaps' law).
"""

import json
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import accumulate, pairwise
from typing import Final, NamedTuple, TypeAlias

Table: TypeAlias = Sequence[str]
"""Words, each repeated by its frequency, to be drawn by a number of 16 bits."""

ENTRIES: Final = 1 << 16
RARE_ENTRIES: Final = 8200
"""Entries of the table of words that stand for a rare word: their share of the text."""

LONG: Final = 7
LONG_WEIGHT: Final = 2.2
"""Frequency of a word by its number of letters, against the sample: answers of a model have longer words."""

LANGUAGES: Final = {
    "japanese": re.compile("[\u3040-\u30ff]"),
    "chinese": re.compile("[\u4e00-\u9fff]"),
    "korean": re.compile("[\uac00-\ud7a3]"),
    "hindi": re.compile("[\u0900-\u097f]"),
    "arabic": re.compile("[\u0600-\u06ff]"),
    "russian": re.compile("[\u0400-\u04ff]"),
    "european": re.compile("[\u00c0-\u024f]"),
}
"""Languages by one of their characters; a text with several has the first of these."""
WITHOUT_BLANKS: Final = ("japanese", "chinese")

SUFFIXES: Final = ("s", "ing", "ed", "er", "ly", "ness", "able", "ation", "ment", "ful")
PREFIXES: Final = ("", "un", "re", "over", "inter", "non", "sub", "pre", "micro", "out")
SYLLABLES: Final = (
    "ka",
    "lo",
    "mi",
    "ren",
    "sa",
    "ton",
    "vi",
    "dor",
    "el",
    "an",
    "ber",
    "ri",
    "ham",
    "o",
    "ster",
    "ia",
)


class Vocabulary(NamedTuple):
    """The elements of text.

    ``words`` stand within a sentence, where an empty one is replaced by a rare one; ``beginnings`` and ``ends`` stand
    at its two ends. Rare words are built from ``stems``. ``code`` has lines. ``languages`` has words of languages other
    than English, or pairs of characters of languages without blanks.
    """

    words: Table
    beginnings: Table
    ends: Table
    stems: Sequence[str]
    code: Sequence[str]
    languages: dict[str, Sequence[str]]


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary of the sample corpus."""
    sample = json.loads((files("mimic_seed") / "sample.json").read_text(encoding="utf-8"))
    texts = [message["value"] for element in sample for message in element["conversations"]]
    words, beginnings, ends = _words(texts)
    return Vocabulary(
        words=["" for _ in range(RARE_ENTRIES)] + _table(words, ENTRIES - RARE_ENTRIES),
        beginnings=_table(beginnings, ENTRIES),
        ends=_table(ends, ENTRIES),
        stems=[word for word, _ in words.most_common() if re.fullmatch("[a-z]{5,}", word)],
        code=list(_code(texts)),
        languages={name: list(_pieces(texts, name)) for name in LANGUAGES},
    )


def _words(texts: Iterable[str]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """The frequencies of English words within, at the beginning and at the end of a sentence, line breaks included."""
    within, beginnings, ends = Counter[str](), Counter[str](), Counter[str]()
    for text in filter(str.isascii, texts):
        plain = re.sub(r"```.*?(```|$)|[*`_#|()]", "", text, flags=re.DOTALL)
        for before, word in pairwise(["\n", *re.findall(r"\S+\n*", plain)]):
            counts = ends if _ends(word) else beginnings if _ends(before) else within
            counts[word] += 1
    return within, beginnings, ends


def _ends(word: str) -> bool:
    return word.endswith("\n") or word.rstrip("\"'").endswith((".", "!", "?", ":"))


def _table(counts: Counter[str], entries: int) -> list[str]:
    """Words repeated by their counts, long ones more often."""
    words = list(counts)
    upto = list(accumulate(counts[word] * (LONG_WEIGHT if len(word) >= LONG else 1) for word in words))
    return [words[bisect(upto, (entry + 0.5) / entries * upto[-1])] for entry in range(entries)]


def _code(texts: Iterable[str]) -> Iterator[str]:
    """Lines of the blocks of code in the texts."""
    for text in texts:
        for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
            yield from (line for line in block.splitlines() if line.strip() and line.isascii())


def _pieces(texts: Iterable[str], language: str) -> Iterator[str]:
    """Words of the texts in a language, or pairs of characters if it has no blanks between words."""
    piece = r".{1,2}" if language in WITHOUT_BLANKS else r"\S+\n*"
    for text in texts:
        if language == next((name for name, pattern in LANGUAGES.items() if pattern.search(text)), None):
            yield from re.findall(piece, text)


def rare_word(rank: int) -> str:
    """The rare word of a rank from 0: a number, a name, an identifier, a derived word or a compound."""
    kind, number = ("number", "name", "camel case", "snake case", *("derived",) * 4)[rank % 8], rank // 8
    if kind == "number":
        return str(number)
    if kind == "name":
        return _of_parts(number, SYLLABLES, least=2).capitalize()
    stems = vocabulary().stems
    number, stem = divmod(number, len(stems))
    if kind == "camel case":
        return stems[stem] + _of_parts(number, stems, least=1).capitalize()
    if kind == "snake case":
        return f"{stems[stem]}_{_of_parts(number, stems, least=1)}"
    number, suffix = divmod(number, len(SUFFIXES))
    number, prefix = divmod(number, len(PREFIXES))
    return _of_parts(number, stems) + PREFIXES[prefix] + stems[stem] + SUFFIXES[(suffix + rank) % len(SUFFIXES)]


def _of_parts(number: int, parts: Sequence[str], least: int = 0) -> str:
    """A number written with parts as its digits, the last one first."""
    text = ""
    while number or least > 0:
        number, part = divmod(number, len(parts))
        text += parts[part]
        least -= 1
    return text
