"""Messages of the corpus that are like one which nobody said: chosen among what its index gives, by comparing texts."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeAlias

from mimic.corpus.conversation import Coordinates, LocatedMessage, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.index import MatchIndex, normal_digest
from mimic.corpus.schemas import Version
from mimic.corpus.similarity import likeness, trigrams

P = ParamSpec("P")

MOST_CANDIDATES: Final = 10
"""Messages that the index gives and that are then compared."""
DOUBTFUL: Final = 0.6
"""A score below which a spelling mistake may be why there is no better one."""
AGREEMENT: Final = 0.2
"""How alike the messages before must at least be to prefer one message to another."""

Asked: TypeAlias = Sequence[Message]
"""The last one or two messages of a chat, as the corpus has them; none where nothing was found."""
Candidates: TypeAlias = Sequence[tuple[float, str]]
"""Scores from 0 to 1 and texts of messages, the best one first."""
_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="mimic-search")
"""Threads of their own: those of asyncio's may be busy for long, with scans of v1."""

NOTHING: Final[Asked] = ()


async def find_equal(
    corpus: Corpus, index: MatchIndex, version: Version, message: Message, previous: Message | None
) -> Asked:
    """What is equal to a message but for how it is written; empty where nothing is.

    Of several the one before which something like ``previous`` was said, together with that; otherwise the one that is
    most frequent among the first ones, alone.
    """
    places = await _in_a_thread(index.equal, message, previous, MOST_CANDIDATES)
    said = await corpus.messages_at(version, places)
    key = normal_digest(message) if said else None
    found = [one for one in said if normal_digest(one.message) == key]
    if not found:
        return NOTHING
    agreeing = _agreeing(found, previous) if previous else None
    if agreeing and agreeing.previous:
        return agreeing.previous, agreeing.message
    [(text, _)] = Counter(one.message for one in found).most_common(1)
    return (text,)


async def find_nearest(
    corpus: Corpus, index: MatchIndex, version: Version, message: Message, previous: Message | None, least: float
) -> tuple[Asked, Candidates]:
    """The message that is most like another one; of several equal ones that of :func:`find_equal`. And all candidates.

    Empty where none scores ``least`` or more.
    """
    wanted = trigrams(message.value)
    found: list[tuple[float, Message]] = []
    for search in (index.similar, index.misspelt):
        places = await _in_a_thread(search, message, MOST_CANDIDATES)
        located = await corpus.messages_at(version, places)
        found += [(likeness(wanted, trigrams(said.message.value)), said.message) for said in located]
        found.sort(key=lambda one: -one[0])
        if found and found[0][0] >= DOUBTFUL:
            break
    candidates = [(score, one.value) for score, one in found if score]
    if not candidates or candidates[0][0] < least:
        return NOTHING, candidates
    best = found[0][1]
    return (await find_equal(corpus, index, version, best, previous) if previous else ()) or (best,), candidates


async def _in_a_thread(search: Callable[P, list[Coordinates]], *arguments: P.args, **_: P.kwargs) -> list[Coordinates]:
    return await asyncio.get_running_loop().run_in_executor(_threads, search, *arguments)


def _agreeing(found: Sequence[LocatedMessage], previous: Message) -> LocatedMessage | None:
    """The first of those before which the most similar message of that role was said, if it is similar at all."""
    wanted, role = trigrams(previous.value), role_of(previous.sender)

    def agreement(said: LocatedMessage) -> float:
        if said.previous is None or role_of(said.previous.sender) != role:
            return 0.0
        return likeness(wanted, trigrams(said.previous.value))

    score, best = max(((agreement(said), said) for said in found), key=lambda one: one[0])
    return best if score >= AGREEMENT else None
