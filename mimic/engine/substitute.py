"""The engine that answers where nothing in the corpus is like the message: with a real answer to another message."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from math import log
from random import Random
from typing import Final

import msgspec

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.corpus.schemas import Version
from mimic.engine.base import Answers, ChatMessage, CompletionRequest, Engine, Prompt
from mimic.engine.matching import spoken_of
from mimic.engine.sampling import key_of
from mimic.errors import Miss, NoCompletion

DRAWN: Final = 24
"""Messages drawn from the whole corpus, of which some have the wrong role or nothing after them."""
CONSIDERED: Final = 4
"""Messages most like the request in length and script, of which the request draws one."""
READ_CHARACTERS: Final = 200
"""Characters of a text that decide its script."""
_KANA: Final = ("HIRAGANA", "KATAKANA")


class SubstituteEngine(Engine):
    """Answers with what followed another message of the corpus, of like length and in the same script.

    The candidates are the messages that came nearest to the request's, then messages drawn from the whole corpus. The
    request decides which one is taken, so the same request always gets the same answer. The score is that of the
    nearest message. A request that names a rung keeps its miss.
    """

    def __init__(self, engine: Engine, corpus: Corpus) -> None:
        self._engine = engine
        self._corpus = corpus

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises the Miss of the engine where the request names a rung, or where the corpus holds no answer at all."""
        try:
            return await self._engine.answer(prompt, request)
        except NoCompletion as exc:
            if request.policy.is_named:
                raise
            return await self._substituted(prompt, request, exc)

    async def _substituted(self, prompt: Prompt, request: CompletionRequest, miss: NoCompletion) -> Answers:
        said = prompt.corpus_messages()
        last = (spoken_of(said) or said or [Message("human", "")])[-1]
        random = Random(key_of(said, request.sampling.seed))  # noqa: S311 - to be repeated, not to be secret
        near = [text for _, text in miss.candidates]
        found = await self._answerable(request.version, last, random)
        policy = MatchPolicy("last")
        for text in _by_likeness(last.value, near, found, random):
            another = Prompt((ChatMessage("user" if role_of(last.sender) == "user" else last.sender, text),))
            try:
                answers = await self._engine.answer(another, msgspec.structs.replace(request, policy=policy))
            except Miss:  # the corpus was replaced meanwhile
                continue
            score = miss.candidates[0][0] if miss.candidates else None
            return msgspec.structs.replace(answers, rung=None, score=score)
        raise miss

    async def _answerable(self, version: Version, last: Message, random: Random) -> Sequence[str]:
        """Texts drawn from the corpus that something followed: those of the same role, or else any."""
        found = await self._corpus.drawn(version, [random.random() for _ in range(DRAWN)])
        role = role_of(last.sender)
        return [one.value for one in found if role_of(one.sender) == role]


def _by_likeness(text: str, near: Sequence[str], drawn: Sequence[str], random: Random) -> Iterator[str]:
    """The candidates in the order in which they are tried: first one drawn among those most like the text."""
    script, length = script_of(text), log(len(text) + 1)

    def difference(candidate: tuple[bool, str]) -> tuple[bool, float]:
        is_near, other = candidate
        return script_of(other) != script, abs(log(len(other) + 1) - length) - is_near

    candidates = dict.fromkeys([*((True, one) for one in near), *((False, one) for one in drawn)])
    ranked = [other for _, other in sorted(candidates, key=difference)]
    first = list(islice(ranked, CONSIDERED))
    random.shuffle(first)
    yield from first
    yield from ranked[CONSIDERED:]


def script_of(text: str) -> str:
    """The script that most letters at the start of a text are written in, by the first word of their Unicode names.

    Japanese is told from Chinese by its kana. A text without letters has none: the result is empty.
    """
    counts: dict[str, int] = {}
    for character in islice(filter(str.isalpha, text), READ_CHARACTERS):
        name = unicodedata.name(character, "").partition(" ")[0]
        if name in _KANA:
            return _KANA[0]
        counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.__getitem__, default="")
