"""The engine for misses: it gives a real answer to another message of the corpus."""

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from math import log
from random import Random
from typing import Final

import msgspec

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.engine.base import Answers, ChatMessage, CompletionRequest, Engine, Prompt
from mimic.engine.matching.rungs import spoken_of
from mimic.engine.sampling import key_of
from mimic.errors import Miss, NoCompletion

DRAWN: Final = 24
"""Number of messages drawn from the whole corpus. Some of them have another role, or no answer."""
CONSIDERED: Final = 4
"""Number of messages closest to the request in script and length. The request draws one of them."""
READ_CHARACTERS: Final = 200
"""Number of letters at the start of a text that decide its script."""
_KANA: Final = ("HIRAGANA", "KATAKANA")


class SubstituteEngine(Engine):
    """Answers a miss of another engine with the answer to another message, of similar length and in the same script.

    The candidates are the messages nearest to the request's, and messages drawn from the whole corpus. The request
    decides the draw: the same request always gets the same answer. The score is the score of the nearest message.
    """

    def __init__(self, engine: Engine, corpus: Corpus) -> None:
        self._engine = engine
        self._corpus = corpus

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises Miss if the request itself names a rung, or if the corpus has no answer at all."""
        try:
            return await self._engine.answer(prompt, request)
        except NoCompletion as exc:
            if request.policy.is_named:
                raise
            return await self._substitute(prompt, request, exc)

    async def _substitute(self, prompt: Prompt, request: CompletionRequest, miss: NoCompletion) -> Answers:
        messages = prompt.corpus_messages()
        last = (spoken_of(messages) or messages or [Message("human", "")])[-1]
        random = Random(key_of(messages, request.sampling.seed))  # noqa: S311 - the draw is repeatable, not secret
        near = [Message(last.sender, text) for _, text in miss.candidates]
        drawn = await self._corpus.drawn(request.version, [random.random() for _ in range(DRAWN)])
        score = miss.candidates[0][0] if miss.candidates else None
        exact = msgspec.structs.replace(request, policy=MatchPolicy("last"))
        for message in _ranked(last, near, drawn, random):
            other = Prompt((ChatMessage(role_of(message.sender), message.value),))
            with suppress(Miss):  # a miss: the corpus was replaced meanwhile
                found = await self._engine.answer(other, exact)
                return msgspec.structs.replace(found, rung=None, score=score)
        raise miss


def _ranked(last: Message, near: Sequence[Message], drawn: Sequence[Message], random: Random) -> Iterator[Message]:
    """The candidates in the order to try: first, in random order, the candidates that are closest to a message."""
    role, script, length = role_of(last.sender), script_of(last.value), log(len(last.value) + 1)

    def difference(candidate: tuple[bool, Message]) -> tuple[bool, bool, float]:
        is_near, message = candidate
        distance = abs(log(len(message.value) + 1) - length)
        return role_of(message.sender) != role, script_of(message.value) != script, distance - is_near

    candidates = dict.fromkeys([*((True, one) for one in near), *((False, one) for one in drawn)])
    ranked = [message for _, message in sorted(candidates, key=difference)]
    first = ranked[:CONSIDERED]
    random.shuffle(first)
    yield from first
    yield from ranked[CONSIDERED:]


def script_of(text: str) -> str:
    """The script of most letters at the start of a text: the first word of their Unicode names.

    Kana mark Japanese, which shares other characters with Chinese. A text without letters gives an empty name.
    """
    counts: dict[str, int] = {}
    for character in islice(filter(str.isalpha, text), READ_CHARACTERS):
        name = unicodedata.name(character, "").partition(" ")[0]
        if name in _KANA:
            return _KANA[0]
        counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.__getitem__, default="")
