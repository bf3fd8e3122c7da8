"""The engine for misses: it gives a real answer to another message of the corpus."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import log
from random import Random
from typing import Final

import msgspec

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.engine.base import Answers, ChatMessage, CompletionRequest, Engine, Prompt
from mimic.engine.languages import language_of, script_of
from mimic.engine.matching.rungs import spoken_of
from mimic.engine.sampling import key_of
from mimic.errors import Miss, NoCompletion

DRAWN: Final = (24, 100, 400)
"""Numbers of messages drawn from the whole corpus, one after the other until one has the language of the request.

Some of them have another role, or no answer."""
CONSIDERED: Final = 4
"""Number of messages closest to the request in language and length. The request draws one of them."""


class SubstituteEngine(Engine):
    """Answers a miss of another engine with the answer to another message, of similar length and in the same language.

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
        drawn = await self._draw(request, last, random)
        score = miss.candidates[0][0] if miss.candidates else None
        exact = msgspec.structs.replace(request, policy=MatchPolicy("last"))
        for message in _ranked(last, near, drawn, random):
            other = Prompt((ChatMessage(role_of(message.sender), message.value),))
            with suppress(Miss):  # a miss: the corpus was replaced meanwhile
                found = await self._engine.answer(other, exact)
                return msgspec.structs.replace(found, rung=None, score=score)
        raise miss

    async def _draw(self, request: CompletionRequest, last: Message, random: Random) -> Sequence[Message]:
        """Messages of the corpus, of which one has the role and the language of the last message, if it is common."""
        role, language = role_of(last.sender), language_of(last.value)
        drawn: list[Message] = []
        for number in DRAWN:
            new = await self._corpus.drawn(request.version, [random.random() for _ in range(number)])
            drawn += new
            if not language or any(role_of(one.sender) == role and language_of(one.value) == language for one in new):
                break
        return drawn


def _ranked(last: Message, near: Sequence[Message], drawn: Sequence[Message], random: Random) -> Iterator[Message]:
    """The candidates in the order to try: first, in random order, the candidates that are closest to a message."""
    role, length = role_of(last.sender), log(len(last.value) + 1)
    script, language = script_of(last.value), language_of(last.value)

    def class_of(message: Message) -> tuple[bool, bool, bool]:
        is_foreign = bool(language) and language_of(message.value) != language
        return role_of(message.sender) != role, script_of(message.value) != script, is_foreign

    def difference(candidate: tuple[bool, Message]) -> tuple[tuple[bool, bool, bool], float]:
        is_near, message = candidate
        return classes[message], abs(log(len(message.value) + 1) - length) - is_near

    candidates = dict.fromkeys([*((True, one) for one in near), *((False, one) for one in drawn)])
    classes = {message: class_of(message) for _, message in candidates}
    ranked = [message for _, message in sorted(candidates, key=difference)]
    first = [message for message in ranked[:CONSIDERED] if classes[message] == classes[ranked[0]]]
    rest = ranked[len(first) :]
    random.shuffle(first)
    yield from (*first, *rest)
