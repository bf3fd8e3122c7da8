"""Measure of likeness: a score from 0 to 1 for two messages, about the probability that both ask for the same. Pure.

    score = 1 / (1 + exp(-(BIAS + SHARE * s + SMALL_SHARE * log(s') + ORDER * t)))

- The weight of a word is its information in nats, log((N + K) / (n + K * p)). Of the N messages of the corpus, n have
  the word. K messages with the expected share p of a word of that length are added, since in a small corpus every word
  is rare.
- Each word spreads its weight evenly over its runs of three characters, so a word with a typing error counts in part.
  In scripts without blanks a word is a pair of characters, and spreads its weight over the two. A and B are the weights
  of the two messages, and S is the weight that they have in common, run by run.
- s = S / sqrt(A * B) is the common share (Ochiai 1957). It does not depend on the length. s' is the same with 1 nat
  added to S, A and B.
- t is Dice's coefficient (1945) of the trigrams of the whole texts. They cross the boundaries of words: order counts.
- BEGINNING is added for a text that begins with the whole message.
- In a short message, a word counts as a word of the other message that has nearly the same letters, with the lower of
  the two weights. A common word with a typing error would be a rare word otherwise.

The constants are a logistic regression on real prompts, judged by sentence embeddings
(``benchmarks/answers/calibrate.py``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from math import exp, inf, log, sqrt
from typing import Final, TypeAlias

from mimic.corpus.similar.similarity import excerpt, likeness, normalized, terms, trigrams

BIAS: Final = -0.08
SHARE: Final = 2.61
SMALL_SHARE: Final = 4.22
ORDER: Final = 1.33
BEGINNING: Final = 1.5
"""Added for a message that was cut off, since its end is missing."""
LEAST_BEGINNING: Final = 12
"""Bytes of UTF-8 from which on a message may be a beginning: three words of English, or four characters of Chinese."""

PRIOR_MESSAGES: Final = 100
"""K: messages that count like those of the corpus."""
PRIOR_SHARES: Final = (0.01, 0.3, 0.25, 0.12, 0.06, 0.03)
"""p: the share of messages that have a certain word, by the word's length in characters.

The first one is for longer words."""
PRIOR_SHARE_OF_PAIRS: Final = 0.02
"""p for a pair of characters in a script without blanks."""
_FIRST_WITHOUT_BLANKS: Final = "\u2e80"

SHORT: Final = 8
"""Different words up to which a message is short, so that one typing error matters."""
LEAST_LETTERS: Final = 3
SAME_LETTERS: Final = 0.85
"""Letters of a word that may have a typing error, and the share of its letters that two spellings have in common."""
MOST_KNOWN: Final = 20_000
LONGEST_KNOWN: Final = 30
"""Words whose parts are remembered, and characters of a word up to which it is remembered."""

Weigh: TypeAlias = Callable[[Iterable[str]], Mapping[str, float]]
"""Returns the weight of each of some words."""


def weight(word: str, having: int, messages: int) -> float:
    """Information of a word in nats, at least 0, of which ``having`` of the ``messages`` in the corpus have it."""
    length = len(word) if len(word) < len(PRIOR_SHARES) else 0
    share = PRIOR_SHARES[length] if word < _FIRST_WITHOUT_BLANKS else PRIOR_SHARE_OF_PAIRS
    return max(0.0, log((messages + PRIOR_MESSAGES) / (having + PRIOR_MESSAGES * share)))


class Measure:
    """Compares texts with one text. A long text is compared by its beginning and its end, as in the index."""

    def __init__(self, text: str, weigh: Weigh) -> None:
        self._weigh = weigh
        self._normal = normalized(excerpt(text))
        self._beginning = self._normal if self._normal and len(self._normal.encode()) >= LEAST_BEGINNING else None
        self._trigrams = trigrams(text)
        self._weights = weigh(dict.fromkeys(terms(text)))
        self._runs = _spread(self._weights)
        self._total = sum(self._weights.values())
        self._is_short = len(self._weights) <= SHORT

    def score(self, text: str) -> float:
        """Score of another text: 1 if it is equal when normalized, less if not."""
        return self._score(text, self._logit(text))

    def best(self, texts: Sequence[str]) -> tuple[float, int]:
        """Return the highest score, and the position of the first text that has it. At least one text is needed."""
        logits = [self._logit(text) for text in texts]
        score, best, highest = -1.0, 0, -inf
        for position in sorted(range(len(texts)), key=lambda position: -logits[position]):
            if logits[position] + ORDER + BEGINNING < highest:
                break  # order cannot make up for it, and takes time
            if (other := self._score(texts[position], logits[position])) > score:
                score, best, highest = other, position, log(other / (1 - other)) if other < 1 else inf
        return score, best

    def features(self, text: str) -> tuple[float, float, float]:
        """Return s, log(s') and t for another text. A calibration fits the constants to them."""
        return *self._shares(text), likeness(self._trigrams, trigrams(text))

    def _logit(self, text: str) -> float:
        """Sum of all terms but that of the order."""
        share, small_share = self._shares(text)
        return BIAS + SHARE * share + SMALL_SHARE * small_share

    def _shares(self, text: str) -> tuple[float, float]:
        common, mine, other = self._common(text)
        share = common / sqrt(mine * other) if common else 0.0
        return share, log((1 + common) / sqrt((1 + mine) * (1 + other)))

    def _score(self, text: str, logit: float) -> float:
        normal = normalized(excerpt(text))
        if normal is not None and normal == self._normal:
            return 1.0
        logit += ORDER * likeness(self._trigrams, trigrams(text))
        if normal and self._beginning and normal.startswith(self._beginning):
            logit += BEGINNING
        return 1 / (1 + exp(-logit))

    def _common(self, text: str) -> tuple[float, float, float]:
        """The weights that the two texts have in common, of this text, and of the other one."""
        other = self._weigh(dict.fromkeys(terms(text)))
        runs, total = self._runs, self._total
        if self._is_short and len(other) <= 2 * SHORT and (pairs := _spelt_alike(self._weights, other)):
            mine, other = {**self._weights}, {**other}
            for word, its in pairs.items():
                mine[word] = other[word] = min(mine[word], other.pop(its))
            runs, total = _spread(mine), sum(mine.values())
        spread = _spread(other, runs.keys())
        return sum([min(value, runs[run]) for run, value in spread.items()]), total, sum(other.values())


def _spelt_alike(mine: Mapping[str, float], other: Mapping[str, float]) -> dict[str, str]:
    """Words of this text alone, each with a word of the other text alone that has nearly the same letters."""
    pairs: dict[str, str] = {}
    missing = {word: _letters(word) for word in other if word not in mine and _may_be_misspelt(word)}
    for word in mine if missing else ():
        if word in other or not _may_be_misspelt(word):
            continue
        letters = _letters(word)
        for its, its_letters in missing.items():
            if 2 * len(letters & its_letters) >= SAME_LETTERS * (len(word) + len(its)):
                pairs[word] = its
                del missing[its]
                break
    return pairs


def _may_be_misspelt(word: str) -> bool:
    return LEAST_LETTERS <= len(word) <= LONGEST_KNOWN and word.isalpha()


@lru_cache(maxsize=MOST_KNOWN)
def _letters(word: str) -> frozenset[str]:
    """The letters of a word, each with how often it came before."""
    return frozenset([f"{letter}{word[:position].count(letter)}" for position, letter in enumerate(word)])


def _spread(weights: Mapping[str, float], among: AbstractSet[str] | None = None) -> dict[str, float]:
    """The weight of each run in some words, or of the runs that are among others."""
    spread: dict[str, float] = {}
    for word, value in weights.items():
        runs = _runs(word)
        if among is not None and among.isdisjoint(runs):
            continue
        each = value / len(runs)
        for run in runs:
            if among is None or run in among:
                spread[run] = spread.get(run, 0.0) + each
    return spread


def _runs(word: str) -> tuple[str, ...]:
    """Runs of three characters of a word with a mark at either end, or the characters of a script without blanks."""
    return _known_runs(word) if len(word) <= LONGEST_KNOWN else _all_runs(word)


def _all_runs(word: str) -> tuple[str, ...]:
    if word >= _FIRST_WITHOUT_BLANKS:
        return tuple(word)
    padded = f"_{word}_"
    return tuple([padded[start : start + 3] for start in range(len(word))])


_known_runs: Final = lru_cache(maxsize=MOST_KNOWN)(_all_runs)
