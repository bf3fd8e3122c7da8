"""The pace of a model: the time to the first token and the time between tokens. Pure: nothing sleeps here."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from random import Random
from typing import Final

import msgspec

from mimic.engine.overrides import BETWEEN_HEADER, FIRST_HEADER, PACE_HEADER, Overrides, invalid_header
from mimic.errors import RequestError

MOST_MILLISECONDS: Final = 600_000


class Delay(msgspec.Struct, frozen=True):
    """A random delay: its mean and its standard deviation, in milliseconds."""

    mean: float = 0.0
    spread: float = 0.0

    def draw(self, random: Random) -> float:
        """Draw a delay in seconds from a gamma distribution: never negative, rarely far above the mean."""
        if not self.mean or not self.spread:
            return self.mean / 1000
        shape = (self.mean / self.spread) ** 2
        return random.gammavariate(shape, self.mean / shape) / 1000


class Pace(msgspec.Struct, frozen=True):
    """The time to the first token, and the time between two tokens."""

    first: Delay = Delay()
    between: Delay = Delay()

    def moments(self, random: Random, stretch: float = 1.0) -> Iterator[float]:
        """Yield the time of each token without end, in seconds from the start, multiplied by ``stretch``."""
        moment = stretch * self.first.draw(random)
        while True:
            yield moment
            moment += stretch * self.between.draw(random)


class Timing(msgspec.Struct, frozen=True):
    """The times of the tokens of one answer. The same timing gives the same times again, in any process.

    ``delay`` is in seconds, before everything else.
    """

    pace: Pace
    seed: int
    stretch: float = 1.0
    delay: float = 0.0

    def moments(self) -> Iterator[float]:
        """Yield the time of each token without end, in seconds from the start of the request."""
        random = Random(self.seed)  # noqa: S311 - to be repeated, not to be secret
        return (self.delay + moment for moment in self.pace.moments(random, self.stretch))

    def moment(self, token: int) -> float:
        """The time of a token, counted from 0."""
        return next(islice(self.moments(), token, None))


INSTANT: Final = Pace()
RECORDED: Final = "recorded"
"""The pace that recorded answers came at. All other answers are instant with it."""
PACES: Final[Mapping[str, Pace]] = {
    "instant": INSTANT,
    "fast": Pace(Delay(250, 60), Delay(6, 2)),
    "typical": Pace(Delay(600, 200), Delay(15, 5)),
    "slow-reasoning": Pace(Delay(8000, 3000), Delay(25, 8)),
    RECORDED: INSTANT,
}
"""Named paces: none, a small model, a large model, a model with long reasoning, and that of recordings. Round numbers
for tests, not measurements of any model."""


def parse_delay(text: str) -> Delay:
    """Parse a delay of a setting or a header, in milliseconds: ``300``, or with a spread ``300/100``.

    Raises ValueError.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(?:/(\d{1,6}(?:\.\d{1,3})?))?", text, re.ASCII)
    delay = Delay(float(match[1]), float(match[2] or 0)) if match else None
    if delay is None or max(delay.mean, delay.spread) > MOST_MILLISECONDS:
        raise ValueError(f"expected milliseconds up to {MOST_MILLISECONDS}, as 300 or 300/100, not {text!r}")
    return delay


class PaceOptions(msgspec.Struct, frozen=True):
    """The default pace: a named pace, and optional replacements for its two delays.

    Each other request in flight slows a request down by ``load_factor``.
    """

    pace: str = "instant"
    first: Delay | None = None
    between: Delay | None = None
    load_factor: float = 0.0

    @property
    def default(self) -> Pace:
        """The pace of requests without overrides."""
        pace = PACES[self.pace]
        return _canonical(Pace(self.first or pace.first, self.between or pace.between))

    def choose(self, overrides: Overrides) -> tuple[Pace, Overrides]:
        """Return the pace of a request, and its overrides, with the ``problem`` set for an invalid header."""
        try:
            return self._of(overrides), overrides
        except RequestError as exc:
            return INSTANT, msgspec.structs.replace(overrides, problem=exc)

    def _of(self, overrides: Overrides) -> Pace:
        if overrides.pace is None:
            pace = self.default
        elif overrides.pace in PACES:
            pace = PACES[overrides.pace]
        else:
            raise invalid_header(PACE_HEADER, f"expected one of {', '.join(PACES)}, not {overrides.pace!r}")
        if overrides.ttft is None and overrides.itl is None:
            return pace
        first, between = _parse_header(overrides.ttft, FIRST_HEADER), _parse_header(overrides.itl, BETWEEN_HEADER)
        return _canonical(Pace(first or pace.first, between or pace.between))

    def stretch(self, in_flight: int) -> float:
        """Return the factor for all delays with this number of requests in flight."""
        return 1 + self.load_factor * (in_flight - 1)


def _canonical(pace: Pace) -> Pace:
    """Return a pace, or the object INSTANT if it has no delays."""
    return INSTANT if pace == INSTANT else pace


def _parse_header(text: str | None, header: str) -> Delay | None:
    try:
        return None if text is None else parse_delay(text.strip())
    except ValueError as exc:
        raise invalid_header(header, str(exc)) from None
