"""Nearest messages of the corpus: its index gives candidates, and the measure of likeness chooses among their texts."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeAlias, TypeVar

from mimic.corpus.conversation import LocatedMessage, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import Version
from mimic.corpus.similar.index import SPOKEN, MatchIndex, normal_digest
from mimic.corpus.similar.measure import Measure
from mimic.corpus.similar.similarity import likeness, trigrams

P = ParamSpec("P")
T = TypeVar("T")

MOST_EQUAL: Final = 10
"""Equal messages among which the message before decides."""
MOST_SIMILAR: Final = 20
MOST_MISSPELT: Final = 20
"""Candidates that share words with a message, and that share parts of words with a short one."""
AT_A_TIME: Final = 10
"""Candidates that are read and compared at a time: their documents may have megabytes each."""
CERTAIN: Final = 0.9
"""Score of a candidate after which no further ones are read."""
DOUBTFUL: Final = 0.75
"""Score below which a spelling mistake may hide a better candidate."""
AGREEMENT: Final = 0.2
"""Least likeness of the messages before, to prefer one message to another."""

Asked: TypeAlias = Sequence[Message]
"""The last one or two messages of a chat, as the corpus has them; empty where nothing was found."""
Candidates: TypeAlias = Sequence[tuple[float, str]]
"""Scores from 0 to 1 and texts of messages, the best one first."""
_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="mimic-search")
"""Threads for searches only: scans of v1 may occupy those of asyncio for long."""

NOTHING: Final[Asked] = ()


async def find_equal(
    corpus: Corpus, index: MatchIndex, version: Version, message: Message, previous: Message | None
) -> Asked:
    """Return the message of the corpus that is equal to a message when normalized; empty where there is none.

    Among several equal messages, one that follows a message like ``previous`` is returned, together with that message.
    Otherwise the most frequent spelling among the first ones is returned, alone.
    """
    places = await _in_a_thread(index.equal, message, previous, MOST_EQUAL)
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
    """Return the message with the highest score; :func:`find_equal` chooses among equal messages.

    The result is empty if no score is ``least`` or more; then the candidates are all messages that were compared.
    """
    role = role_of(message.sender)
    if role not in SPOKEN:
        return NOTHING, ()
    measure = await _in_a_thread(Measure, message.value, partial(index.weigh, role))
    score, best = 0.0, None
    compared: list[Message] = []
    for search, most in ((index.similar, MOST_SIMILAR), (index.misspelt, MOST_MISSPELT)):
        places = await _in_a_thread(search, message, most)
        for start in range(0, len(places), AT_A_TIME):
            located = await corpus.messages_at(version, places[start : start + AT_A_TIME])
            if not located:
                continue
            compared += [one.message for one in located]
            best_score, position = await _in_a_thread(measure.best, [one.message.value for one in located])
            if best_score > score:
                score, best = best_score, located[position].message
            if score >= CERTAIN:
                break
        if score >= DOUBTFUL:
            break
    if best is None or score < least:
        return NOTHING, await _in_a_thread(_ranked, measure, compared)
    equal = await find_equal(corpus, index, version, best, previous) if previous else ()
    return equal or (best,), [(score, best.value)]


def _ranked(measure: Measure, messages: Sequence[Message]) -> Candidates:
    """The messages with their scores, best first, each text once."""
    texts = dict.fromkeys(message.value for message in messages)
    return sorted([(measure.score(text), text) for text in texts], key=lambda candidate: -candidate[0])


async def _in_a_thread(function: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)


def _agreeing(found: Sequence[LocatedMessage], previous: Message) -> LocatedMessage | None:
    """Return the first message after the most similar message of that role; None where none is similar."""
    wanted, role = trigrams(previous.value), role_of(previous.sender)

    def agreement(said: LocatedMessage) -> float:
        if said.previous is None or role_of(said.previous.sender) != role:
            return 0.0
        return likeness(wanted, trigrams(said.previous.value))

    score, best = max(((agreement(said), said) for said in found), key=lambda one: one[0])
    return best if score >= AGREEMENT else None
