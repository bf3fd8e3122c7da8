"""Misspelt words: the known word that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

MAX_CHARACTERS: Final = 100
"""Longer words are not compared: that takes time, and they are no spelling mistake."""
MAX_SHOWN: Final = 200
"""Characters of somebody's text that a message repeats."""
CUTOFF: Final = 0.8


def closest(word: str, known: Iterable[str], cutoff: float = CUTOFF) -> str | None:
    """The known word that is most like this one; None where none is like it."""
    if len(word) > MAX_CHARACTERS:
        return None
    return next(iter(get_close_matches(word, known, 1, cutoff)), None)


def shown(text: str) -> str:
    """The beginning of a text that somebody sent, as a message may repeat it."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
