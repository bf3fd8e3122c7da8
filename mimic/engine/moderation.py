"""Moderation that stands in for a model's: a list of words decides, and the same text always has the same scores."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import ClassVar, Final

import msgspec

CATEGORIES: Final = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)
WORDS: Final[Mapping[str, Sequence[str]]] = {
    "harassment": ("idiot", "moron"),
    "hate": ("subhuman", "vermin"),
    "illicit": ("shoplift", "launder money"),
    "self-harm": ("suicide", "hurt myself"),
    "sexual": ("porn", "erotic"),
    "violence": ("kill", "murder"),
    "violence/graphic": ("dismember", "gore"),
}
"""The words by category, if there is no other list."""
LARGEST_UNFLAGGED: Final = 0.001
"""The largest score of a category without a word of its list."""
MISSED_BY_A_WORD: Final = 0.25
"""The distance from 1 of the score of a category with one of its words; each further word multiplies it."""


class ModerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to check some texts. An input of images alone has an empty text."""

    usage: ClassVar[None] = None

    model: str
    texts: Sequence[str]


class Verdict(msgspec.Struct, frozen=True):
    """The scores of a text by category, from 0 to 1, and the categories with a word of their list."""

    scores: Mapping[str, float]
    flagged: frozenset[str]


class Verdicts(msgspec.Struct, frozen=True):
    """A verdict for each text."""

    usage: ClassVar[None] = None
    is_large: ClassVar[bool] = False

    verdicts: Sequence[Verdict]


class Moderator:
    """Checks texts for the words of each category: whole words, in upper or lower case."""

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self._patterns = {category: _pattern(listed) for category, listed in words.items() if listed}

    async def moderate(self, request: ModerationRequest) -> Verdicts:
        """Check all texts of a request."""
        return Verdicts([self._check(text) for text in request.texts])

    def _check(self, text: str) -> Verdict:
        found = {category: len(pattern.findall(text)) for category, pattern in self._patterns.items()}
        scores = {
            category: 1 - MISSED_BY_A_WORD ** found[category] if found.get(category) else _low_score(category, text)
            for category in CATEGORIES
        }
        return Verdict(scores, frozenset(category for category, number in found.items() if number))


def parse_words(text: str) -> Mapping[str, Sequence[str]]:
    """Read a list: categories with their words, as ``violence: kill, murder; hate: vermin``, or one category a line.

    Raises ValueError, which names the problem.
    """
    words: dict[str, Sequence[str]] = {}
    for entry in filter(str.strip, re.split(r"[;\n]", text)):
        category, colon, listed = entry.partition(":")
        category = category.strip()
        if not colon or category not in CATEGORIES:
            raise ValueError(f"expected entries like 'violence: kill, murder', not {entry.strip()!r}; {_known()}")
        words[category] = [*words.get(category, ()), *(word.strip() for word in listed.split(",") if word.strip())]
    return words


def _known() -> str:
    return f"the categories are {', '.join(CATEGORIES)}"


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)


def _low_score(category: str, text: str) -> float:
    digest = blake2b(f"{category}\n{text}".encode(errors="surrogatepass"), digest_size=4).digest()
    return round(LARGEST_UNFLAGGED * int.from_bytes(digest) / 2**32, 10)
