"""Texts normalized, and taken apart into terms and runs of characters, in any language. Pure."""

import re
from collections.abc import Sequence
from operator import add
from typing import Final
from unicodedata import category, combining, normalize

HEAD: Final = 700
TAIL: Final = 300
"""Characters of the beginning and of the end of a text that are compared."""
LONGEST_NORMALIZED: Final = 20_000
"""Characters of the longest text that is normalized: a longer one would delay other requests."""
MOST_MARKS: Final = 30
"""The most combining characters in a row that Unicode expects (UAX #15, section 13). To sort n takes n * n steps."""
SHORT: Final = HEAD + TAIL + 1
"""Characters, those of an excerpt, up to which combining characters are not counted: sorting takes a millisecond."""

MOST_KNOWN: Final = 20_000
"""Characters whose decomposition is remembered, more than any language has. All of Unicode would take 100 MB."""

_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD: Final = re.compile(rf"[^\W_{_CJK}]+")
_WITHOUT_BLANKS: Final = re.compile(rf"([{_CJK}]+)")

# Most texts are ASCII: to lower case, with a blank for all but letters and digits.
_ASCII_WORDS: Final = bytes(code if chr(code).isalnum() else ord(" ") for code in bytes(range(256)).lower())

# The characters that keep most texts from being NFKC. To replace them first avoids the slow path.
_OFTEN: Final = "\uff0c\uff1f\uff01\uff1a\uff1b\uff08\uff09\uff5e\u2026\u00a0\u3000"
_COMPATIBLE: Final = {character: normalize("NFKC", character) for character in _OFTEN}


class _Marks(dict[str, bool]):
    """For each character, true if its decomposition begins with a combining character; looked up once."""

    def __init__(self, most_known: int = MOST_KNOWN) -> None:
        super().__init__()
        self._most_known = most_known

    def __missing__(self, character: str) -> bool:
        is_mark = bool(combining(normalize("NFKD", character)[0]))
        if len(self) < self._most_known:
            self[character] = is_mark
        return is_mark


_MARKS: Final = _Marks()
_TOO_MANY: Final = b"\1" * (MOST_MARKS + 1)


def normalized(text: str) -> str | None:
    """Return a text without differences of spelling; None where that takes too long.

    Unicode NFKC with case folded (The Unicode Standard, section 3.13), white space collapsed, and outer punctuation
    (general category P) dropped. A text of punctuation only keeps it.
    """
    if len(text) > LONGEST_NORMALIZED:
        return None
    if text.isascii():
        folded = text.casefold()
    elif len(text) > SHORT and _TOO_MANY in bytes(map(_MARKS.__getitem__, text)):
        return None
    else:
        folded = _folded(text)
    collapsed = " ".join(folded.split())
    return _without_outer_punctuation(collapsed) or collapsed


def excerpt(text: str, share: float = 1.0) -> str:
    """Return a text, or the beginning and the end of a long one, whose lengths are multiplied by ``share``."""
    head, tail = int(HEAD * share), int(TAIL * share)
    return text if len(text) <= head + tail else f"{text[:head]} {text[-tail:]}"


def terms(text: str, share: float = 1.0) -> list[str]:
    """Return the words of a text's excerpt in lower case, and pairs of characters in scripts without blanks.

    Repeated terms are kept. The order is arbitrary.
    """
    chosen = excerpt(text, share)
    if chosen.isascii():
        return chosen.encode().translate(_ASCII_WORDS).decode().split()
    between = _WITHOUT_BLANKS.split(chosen.casefold())
    found = _WORD.findall(" ".join(between[::2]))
    for run in between[1::2]:
        found += map(add, run, run[1:]) if len(run) > 1 else [run]
    return found


def parts(found: Sequence[str]) -> list[str]:
    """Return the runs of three characters in some terms, each once: they find terms with spelling mistakes.

    They begin with an underscore, unlike any term.
    """
    padded = [f"_{term}_" for term in found]
    return list({f"_{term[start : start + 3]}": None for term in padded for start in range(len(term) - 2)})


def trigrams(text: str) -> frozenset[str]:
    """Return the runs of three characters in a text's normalized excerpt, with a blank on either side."""
    padded = f" {normalized(excerpt(text))} "
    return frozenset(map(add, map(add, padded, padded[1:]), padded[2:]))


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Return Dice's coefficient of the trigrams of two texts, from 0 to 1 (Dice 1945, Ecology 26(3))."""
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


def _folded(text: str) -> str:
    for character, plain in _COMPATIBLE.items():
        if character in text:
            text = text.replace(character, plain)
    once = normalize("NFKC", text)
    folded = once.casefold()
    return once if folded == once else normalize("NFKC", folded)


def _without_outer_punctuation(text: str) -> str:
    start, end = 0, len(text)
    while start < end and _is_outer(text[start]):
        start += 1
    while end > start and _is_outer(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_outer(character: str) -> bool:
    return character == " " or category(character).startswith("P")
