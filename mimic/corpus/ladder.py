"""The ladder on which an answer to a chat is looked for. From the top down, the first rung with an answer wins."""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

Rung: TypeAlias = Literal["previous", "last", "normalized", "nearest"]
"""What is looked for: ``previous``, the last two messages, byte for byte (v3 only); ``last``, the last one, likewise;
``normalized``, one that is equal but for how it is written; ``nearest``, the most similar one."""

RUNGS: Final[tuple[Rung, ...]] = get_args(Rung)
INDEXED: Final[tuple[Rung, ...]] = ("normalized", "nearest")
"""The rungs that need an index of their own."""

MIN_SCORE: Final = 0.45


def reaches(depth: Rung, rung: Rung) -> bool:
    """Whether one who goes down as far as ``depth`` comes to a rung."""
    return RUNGS.index(depth) >= RUNGS.index(rung)


class MatchPolicy(msgspec.Struct, frozen=True):
    """How far down to go, and how alike the most similar message must at least be, from 0 to 1.

    Without a ``depth`` as far as the corpus was seeded for; with one, it is an error where that is not as far.
    """

    depth: Rung | None = None
    min_score: float = MIN_SCORE

    def reaches(self, rung: Rung) -> bool:
        """Whether one who goes so far down comes to a rung."""
        return self.depth is None or reaches(self.depth, rung)
