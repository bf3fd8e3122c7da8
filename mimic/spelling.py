"""Suggestions for misspelled words."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

MAX_CHARACTERS: Final = 100
"""Longer words are not compared: the comparison is slow, and they are not spelling mistakes."""
MAX_SHOWN: Final = 200
"""Characters of a client's text that a message repeats."""
CUTOFF: Final = 0.8


def closest(word: str, known: Iterable[str], cutoff: float = CUTOFF) -> str | None:
    """The known word that is most similar to this one; None if no word is similar enough."""
    if len(word) > MAX_CHARACTERS:
        return None
    return next(iter(get_close_matches(word, known, 1, cutoff)), None)


def shown(text: str) -> str:
    """The beginning of a client's text, short enough to repeat in a message."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
