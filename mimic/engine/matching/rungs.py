"""Matching of a chat with the corpus: down a ladder; the first rung with an answer wins."""

from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from mimic.corpus.conversation import CALL, RESULT, ROLES, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import Depth, MatchPolicy, Rung
from mimic.corpus.schemas import SCHEMAS, Version
from mimic.corpus.similar.index import MatchIndex
from mimic.engine.matching.meaning import find_by_meaning
from mimic.engine.matching.nearest import CERTAIN, NOTHING, Asked, Candidates, find_equal, find_nearest
from mimic.engine.matching.parts import parts_of
from mimic.errors import NoCompletion, RungNotSeeded

SHOWN_CHARACTERS: Final = 60
SHOWN_CANDIDATES: Final = 3
WAYS_OUT: Final = "MIMIC_ON_MISS=any answers it all the same; GET /corpus/search?q=TEXT shows what the corpus has."

T = TypeVar("T")

COMPARED: Final[tuple[Depth, ...]] = ("normalized", "nearest")
"""The rungs below exact matches, in their order. The rung ``meaning`` competes with ``nearest``."""

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
    chat: Sequence[Message] | None = messages
    tried: list[Sequence[Message]] = []
    left_out = NOT_SPOKEN - {CALL, RESULT} if policy.keeps_tools else NOT_SPOKEN
    while chat:
        spoken = messages_without(left_out, chat)
        for rung, asked in attempts(chat, spoken, version):
            if asked in tried or not policy.reaches(rung):
                continue
            tried.append(asked)
            try:
                return Match(rung, 1.0, asked, await look_up(asked))
            except NoCompletion:
                continue
        messages, chat = chat, _before_answer(chat, spoken)
    spoken = spoken or messages
    while True:
        similar = await _find_similar(corpus, spoken, version, policy)
        with suppress(NoCompletion):  # the index holds answered messages only; the corpus was replaced: try again
            return Match(similar.rung, similar.score, similar.asked, await look_up(similar.asked))


def attempts(
    messages: Sequence[Message], spoken: Sequence[Message], version: Version
) -> list[tuple[Depth, Sequence[Message]]]:
    """The messages to look for exactly, with their rungs: the last two messages (v3 only), and the last one alone.

    Each rung is tried with all messages first, then with ``spoken``, without those that only applications send.
    """
    ways = [messages] if len(spoken) in (0, len(messages)) else [messages, spoken]
    found: list[tuple[Depth, Sequence[Message]]] = []
    if version == "v3":
        found += [("previous", way[-2:]) for way in ways if len(way) > 1]
    return found + [("last", way[-1:]) for way in ways]


def spoken_of(messages: Sequence[Message]) -> Sequence[Message]:
    """A chat without messages that only applications send, and without empty ones."""
    return messages_without(NOT_SPOKEN, messages)


def messages_without(roles: Container[str], messages: Sequence[Message]) -> Sequence[Message]:
    """A chat without messages of some roles, and without empty ones."""
    return [message for message in messages if ROLES.get(message.sender, message.sender) not in roles and message.value]


def _before_answer(messages: Sequence[Message], spoken: Sequence[Message]) -> Sequence[Message] | None:
    """A chat up to the user's last message, if ``spoken`` ends with an assistant's message; else None."""
    if not spoken or role_of(spoken[-1].sender) != "assistant":
        return None
    ends = [end for end, one in enumerate(messages, 1) if one.value and role_of(one.sender) == "user"]
    return messages[: ends[-1]] if ends else None


class _Similar(msgspec.Struct, frozen=True):
    """The result of a search in the index. ``asked`` is empty if no candidate has the least score."""

    rung: Rung
    score: float
    asked: Asked
    candidates: Candidates = ()


async def _find_similar(corpus: Corpus, spoken: Sequence[Message], version: Version, policy: MatchPolicy) -> _Similar:
    """Search the rungs below exact matches for the last message of a chat. Raises NoCompletion."""
    *_, previous, last = None, *spoken
    before = previous if version == "v3" else None
    for rung in COMPARED:
        if not policy.reaches(rung):
            raise _nothing_follows(last, f"Texts were compared down to the rung {policy.depth!r}.")
        try:
            index = await corpus.index(version, rung)
        except RungNotSeeded as exc:
            if policy.depth:
                raise
            raise _nothing_follows(last, f"The search ended here, since {exc}.") from exc
        if rung == "normalized":
            found = _Similar(rung, 1.0, await find_equal(corpus, index, version, last, before))
        else:
            found = await _find_nearest(corpus, index, version, (last, before), policy)
            if found.score < CERTAIN and policy.reaches("meaning"):
                found = await _or_by_meaning(corpus, version, (last, before), policy, found)
        if found.asked:
            return found
    raise _nothing_follows(last, _not_enough(found.candidates, policy.min_score), found.candidates)


async def _find_nearest(
    corpus: Corpus, index: MatchIndex, version: Version, wanted: tuple[Message, Message | None], policy: MatchPolicy
) -> _Similar:
    """An equal match of a part of the last message; else the best of the nearest matches of the message and its parts.

    ``wanted`` is the last message, and the message before it.
    """
    last, before = wanted
    parts = parts_of(last, policy.templates)
    for part in parts:
        if asked := await find_equal(corpus, index, version, part.message, before):
            return _Similar("part", 1.0, await _exactly(corpus, version, part.message, before) or asked)
    found = []
    for message, least in [(last, policy.min_score), *((part.message, part.least(policy.min_score)) for part in parts)]:
        if least < 1:
            asked, candidates = await find_nearest(corpus, index, version, message, before, least)
            score = candidates[0][0] if candidates else 0.0
            found.append(_Similar("nearest" if message is last else "part", score, asked, candidates))
    best = max(found, key=lambda one: (bool(one.asked), one.score))
    return replace(best, candidates=found[0].candidates)


async def _or_by_meaning(
    corpus: Corpus, version: Version, wanted: tuple[Message, Message | None], policy: MatchPolicy, found: _Similar
) -> _Similar:
    """The match by meaning if its score is higher, else the match that was found by words.

    If a template of the settings fits, the text in its hole has the meaning.
    """
    last, before = wanted
    holes = [part.message for part in parts_of(last, policy.templates) if not part.strictness]
    asked, candidates = await find_by_meaning(
        corpus,
        version,
        holes[0] if holes else last,
        before,
        policy.min_score,
        is_required=policy.depth == "meaning",
    )
    score = candidates[0][0] if candidates else 0.0
    best = max(found, _Similar("meaning", score, asked), key=lambda one: (bool(one.asked), one.score))
    return replace(best, candidates=sorted([*found.candidates, *candidates], reverse=True))


async def _exactly(corpus: Corpus, version: Version, part: Message, before: Message | None) -> Asked:
    """The part as messages of the corpus, if they have a part that is byte for byte equal; else empty."""
    if not SCHEMAS[version].indexes:  # a full scan
        return NOTHING
    for asked in ([before, part], [part]) if before else ([part],):
        with suppress(NoCompletion):
            await (await corpus.complete(asked, version, 1, by_role=True)).aclose()
            return asked
    return NOTHING


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
