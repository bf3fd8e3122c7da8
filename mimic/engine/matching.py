"""Matching of a chat with the corpus: down a ladder; the first rung with an answer wins."""

from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec

from mimic.corpus.conversation import CALL, RESULT, ROLES, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import INDEXED, MatchPolicy, Rung
from mimic.corpus.schemas import Version
from mimic.engine.nearest import Asked, Candidates, find_equal, find_nearest
from mimic.errors import NoCompletion, RungNotSeeded

SHOWN_CHARACTERS: Final = 60
SHOWN_CANDIDATES: Final = 3
WAYS_OUT: Final = "MIMIC_ON_MISS=any answers it all the same; GET /corpus/search?q=TEXT shows what the corpus has."

T = TypeVar("T")

NOT_SPOKEN: Final = frozenset({"system", CALL, RESULT})
"""Roles that applications add to a chat, and that a corpus rarely has in the same place."""


class Match(msgspec.Struct, Generic[T], frozen=True):
    """A match: its rung, its score (1: equal), the messages of the corpus that match, and the result for them."""

    rung: Rung
    score: float
    asked: Sequence[Message]
    found: T


async def find_match(
    corpus: Corpus,
    messages: Sequence[Message],
    version: Version,
    policy: MatchPolicy,
    look_up: Callable[[Sequence[Message]], Awaitable[T]],
) -> Match[T]:
    """Find the first rung that has an answer. ``found`` is the result of ``look_up`` for its messages.

    ``look_up`` raises NoCompletion if nothing follows. Raises NoCompletion if no rung has an answer, and NotSeeded if
    the corpus lacks the version. Raises RungNotSeeded if the corpus lacks a rung that ``policy`` requires.
    """
    if not messages:
        raise NoCompletion(": there is no text in the chat")
    tried: list[Sequence[Message]] = []
    spoken = messages_without(NOT_SPOKEN - {CALL, RESULT} if policy.keeps_tools else NOT_SPOKEN, messages)
    for rung, asked in attempts(messages, spoken, version):
        if asked in tried or not policy.reaches(rung):
            continue
        tried.append(asked)
        try:
            return Match(rung, 1.0, asked, await look_up(asked))
        except NoCompletion:
            continue
    *_, previous, last = None, *(spoken or messages)
    while True:
        rung, score, asked = await _find_similar(corpus, last, previous if version == "v3" else None, version, policy)
        with suppress(NoCompletion):  # the index holds answered messages only; the corpus was replaced: try again
            return Match(rung, score, asked, await look_up(asked))


def attempts(
    messages: Sequence[Message], spoken: Sequence[Message], version: Version
) -> list[tuple[Rung, Sequence[Message]]]:
    """The messages to look for exactly, with their rungs: the last two messages (v3 only), and the last one alone.

    Each rung is tried with all messages first, then with ``spoken``, without those that only applications send.
    """
    ways = [messages] if len(spoken) in (0, len(messages)) else [messages, spoken]
    found: list[tuple[Rung, Sequence[Message]]] = []
    if version == "v3":
        found += [("previous", way[-2:]) for way in ways if len(way) > 1]
    return found + [("last", way[-1:]) for way in ways]


def spoken_of(messages: Sequence[Message]) -> Sequence[Message]:
    """A chat without messages that only applications send, and without empty ones."""
    return messages_without(NOT_SPOKEN, messages)


def messages_without(roles: Container[str], messages: Sequence[Message]) -> Sequence[Message]:
    """A chat without messages of some roles, and without empty ones."""
    return [message for message in messages if ROLES.get(message.sender, message.sender) not in roles and message.value]


async def _find_similar(
    corpus: Corpus, last: Message, previous: Message | None, version: Version, policy: MatchPolicy
) -> tuple[Rung, float, Asked]:
    """Search the rungs below exact matches. Return the rung, the score and the messages of the corpus."""
    candidates: Candidates = ()
    for rung in INDEXED:
        if not policy.reaches(rung):
            raise _nothing_follows(last, f"Texts were compared down to the rung {policy.depth!r}.")
        try:
            index = await corpus.index(version, rung)
        except RungNotSeeded as exc:
            if policy.depth:
                raise
            raise _nothing_follows(last, f"The search ended here, since {exc}.") from exc
        if rung == "normalized":
            score, asked = 1.0, await find_equal(corpus, index, version, last, previous)
        else:
            asked, candidates = await find_nearest(corpus, index, version, last, previous, policy.min_score)
            score = candidates[0][0] if candidates else 0.0
        if asked:
            return rung, score, asked
    raise _nothing_follows(last, _not_enough(candidates, policy.min_score), candidates)


def _not_enough(candidates: Candidates, least: float) -> str:
    """The best candidates and their scores, all below the least score, and what the user can do."""
    if not candidates:
        return f"No message is similar. {WAYS_OUT}"
    best = ", ".join(
        f"{shorten(text)} ({score:.3f})" for score, text in list(dict.fromkeys(candidates))[:SHOWN_CANDIDATES]
    )
    return f"The most similar messages score less than MIMIC_LEAST_SCORE, {least:g}: {best}. {WAYS_OUT}"


def _nothing_follows(last: Message, remark: str, candidates: Candidates = ()) -> NoCompletion:
    return NoCompletion(
        f": in the corpus nothing follows {shorten(last.value)} of the role {role_of(last.sender)!r}. {remark}",
        candidates,
    )


def shorten(text: str) -> str:
    """The beginning of a text, quoted, for a message to the user."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")
