"""The ladder: the steps (rungs) of the search for an answer. From the top down, the first rung with an answer wins."""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

Depth: TypeAlias = Literal["previous", "last", "normalized", "nearest", "meaning"]
"""The lowest rung of a search, or of an index. The depth ``nearest`` includes the rung ``part``."""

Rung: TypeAlias = Literal["previous", "last", "normalized", "nearest", "meaning", "part"]
"""``previous`` finds the last two messages, byte for byte (v3 only). ``last`` finds the last message, byte for byte.
``normalized`` ignores case, white space, surrounding punctuation and the Unicode form. ``nearest`` finds the most
similar message. ``meaning`` finds the message of a user whose vector is nearest (see
:mod:`mimic.corpus.similar.embedding_model`). ``part`` finds a message by a part of the user's text, on any of these
rungs."""

DEPTHS: Final[tuple[Depth, ...]] = get_args(Depth)
RUNGS: Final[tuple[Rung, ...]] = get_args(Rung)
EXACT: Final[frozenset[Rung]] = frozenset(("previous", "last", "normalized"))
"""The rungs that match the message itself: its answer has the requested shape."""
INDEXED: Final[tuple[Depth, ...]] = ("normalized", "nearest", "meaning")
"""The rungs that need an index. Only ``meaning`` needs its vectors."""

MIN_SCORE: Final = 0.45


def reaches(depth: Depth, rung: Depth) -> bool:
    """True if a search down to ``depth`` includes a rung."""
    return DEPTHS.index(depth) >= DEPTHS.index(rung)


class MatchPolicy(msgspec.Struct, frozen=True):
    """The lowest rung to search, and the least similarity score of a nearest message, from 0 to 1.

    Without a ``depth``, the search goes as far as the corpus was seeded for. A ``depth`` that the corpus was not seeded
    for is an error. ``is_named`` is set if the request itself names the depth. With ``keeps_tools`` a chat is
    compared with its tool calls and results, without a second attempt that ignores them. ``templates`` are the prompts
    that applications wrap around the user's text (see :mod:`mimic.engine.matching.parts`).
    """

    depth: Depth | None = None
    min_score: float = MIN_SCORE
    is_named: bool = False
    keeps_tools: bool = False
    templates: tuple[str, ...] = ()

    def reaches(self, rung: Depth) -> bool:
        """True if a search under this policy includes a rung."""
        return self.depth is None or reaches(self.depth, rung)
