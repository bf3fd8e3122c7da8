"""Meaningless text by the megabyte, with the statistics of real text.

These are the frequencies and the number of different words, the lengths of sentences, the share of code, and the
characters in a token.
"""

import re
from array import array
from collections.abc import Sequence
from random import Random
from typing import Final

from benchmarks.support.vocabulary import WITHOUT_BLANKS, rare_word, vocabulary

RARE_FROM: Final = 3000.0
RARE_EXPONENT: Final = 0.75
"""The rank of a rare word exceeds r with the probability (1 + r / RARE_FROM) ** -RARE_EXPONENT (Zipf-Mandelbrot)."""

TOPIC_WORDS: Final = 12
"""Rare words of a topic, which repeat within it."""
ON_TOPIC: Final = 0.5
"""Share of the rare words that are of the topic."""

SHORTEST_SENTENCE: Final = 5
LONGEST_SENTENCE: Final = 21

FENCE: Final = "```"
SHORTEST_WITH_CODE: Final = 60
"""Characters of the shortest text with code."""
KNOWN_LINES: Final = 0.7
"""Share of the lines of code that are of the vocabulary; others have names of their own."""
LINES: Final = ("{} = {}", "    {}({})", "    return {}.{}", "def {}({}):", "if {} == {}:")

MARKS: Final = tuple("\u2019\u201c\u201d\u2013\u2022\u2026\u00b0\u20ac\u00e9\u2192")


class Writer:
    """Writes texts of a given length, in characters; the same from the same random numbers."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._vocabulary = vocabulary()
        self._topic = [self._rare_word() for _ in range(TOPIC_WORDS)]

    def prose(self, length: int) -> str:
        """Sentences, with some line breaks; up to four characters more or fewer."""
        number = length // 5 + LONGEST_SENTENCE
        drawn = array("H", self._random.randbytes(2 * number))
        known = self._vocabulary.words
        words = [known[draw] or self._rare() for draw in drawn]
        at = 0
        while at < number:
            words[at - 1] = self._vocabulary.ends[drawn[at - 1]]  # at first the very last
            words[at] = self._vocabulary.beginnings[drawn[at]]
            at += SHORTEST_SENTENCE + drawn[at] % (LONGEST_SENTENCE - SHORTEST_SENTENCE + 1)
        return _cut(" ".join(words).replace("\n ", "\n"), length)

    def with_code(self, length: int) -> str:
        """Prose around a block of code, which takes about half of it."""
        lines, left = [], length // 2
        while left > 0:
            lines.append(self._line())
            left -= len(lines[-1]) + 1
        language = self._random.choice(("python", "javascript", "bash", ""))
        block = "\n".join((FENCE + language, *lines, FENCE))
        rest = max(0, length - len(block) - 2)
        return f"{self.prose(rest // 2)}\n{block}\n{self.prose(rest - rest // 2)}".strip()

    def with_marks(self, length: int) -> str:
        """Prose with a few characters beyond ASCII, as in typesetting."""
        words = self.prose(length).split(" ")
        for _ in range(self._random.randrange(1, 8)):
            words[self._random.randrange(len(words))] += self._random.choice(MARKS)
        return " ".join(words)

    def foreign(self, length: int) -> str:
        """Text in another language than English."""
        language = self._random.choice(tuple(self._vocabulary.languages))
        pieces = self._random.choices(self._vocabulary.languages[language], k=length // 2 + 1)
        separator = "" if language in WITHOUT_BLANKS else " "
        return separator.join(pieces).replace("\n ", "\n")[:length].strip()

    def _line(self) -> str:
        if self._random.random() < KNOWN_LINES:
            return self._random.choice(self._vocabulary.code)
        names: Sequence[str] = [re.sub(r"\W", "_", self._rare()) for _ in range(2)]
        return self._random.choice(LINES).format(*names)

    def _rare(self) -> str:
        if self._random.random() < ON_TOPIC:
            return self._topic[int(self._random.random() * TOPIC_WORDS)]
        return self._rare_word()

    def _rare_word(self) -> str:
        # 1 - random() is never 0.
        return rare_word(int(RARE_FROM * ((1 - self._random.random()) ** (-1 / RARE_EXPONENT) - 1)))


def _cut(text: str, length: int) -> str:
    """The beginning of a text, up to the end of the word nearest to the length."""
    end = text.find(" ", max(0, length - 3))
    return text[: end if 0 <= end < length + 4 else length].strip()
