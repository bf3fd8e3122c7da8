"""Fallback engines, for messages that the corpus has no answer to."""

from collections.abc import Sequence
from typing import Final

from mimic.corpus.corpus import Corpus
from mimic.engine.base import Answers, CompletionRequest, Engine, Prompt
from mimic.engine.instruction import InstructionEngine
from mimic.engine.retrieval import cut_answers
from mimic.engine.substitute import SubstituteEngine
from mimic.errors import Miss, NoCompletion

ANY: Final = "any"
NOT_FOUND: Final = "404"
ECHO: Final = "echo"
"""Values of MIMIC_ON_MISS: an answer to another message, an error, or the last message again.

Any other value is the text of the answer.
"""


class Chain(Engine):
    """Engines in order: the first engine that has an answer gives it."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer with the first engine that can. If none can, raises the first engine's Miss."""
        missed: Miss | None = None
        for engine in self._engines:
            if not engine.answers(prompt):
                continue
            try:
                return await engine.answer(prompt, request)
            except Miss as exc:
                missed = missed or exc
        raise missed or Miss("No engine answers this request", code="completion_not_found")


class EchoEngine(Engine):
    """Answers with the last message again."""

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer with the last message that has a text, or with an empty text."""
        messages = prompt.corpus_messages()
        return await _answers(messages[-1].value if messages else "", request)


class TextEngine(Engine):
    """Always answers with the same text."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer with the text."""
        return await _answers(self._text, request)


class NoEngine(Engine):
    """Has no answer to anything, in the place of a corpus that was asked already."""

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises NoCompletion."""
        raise NoCompletion


class PlainEngine(Engine):
    """Passes plain chats on. Tools and JSON by a schema are a miss: what Mimic makes of them is no model's answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer a plain chat. Raises Miss, and the errors of the engine."""
        if request.tools or request.answer_format.kind != "text" or any(one.is_result for one in prompt.messages):
            raise Miss("The request has tools, or wants JSON", code="completion_not_found")
        return await self._engine.answer(prompt, request)


def chain(first: Engine, on_miss: str, corpus: Corpus) -> Engine:
    """An engine, the text that a chat dictates, and the fallback that MIMIC_ON_MISS sets.

    With ``404`` every answer is one of the corpus, so no text is dictated.
    """
    if on_miss == NOT_FOUND:
        return first
    if on_miss == ANY:
        return InstructionEngine(SubstituteEngine(first, corpus))
    return InstructionEngine(Chain([first, EchoEngine() if on_miss == ECHO else TextEngine(on_miss)]))


async def _answers(text: str, request: CompletionRequest) -> Answers:
    n = request.sampling.n
    return Answers(None, None, await cut_answers([text] * n, [None] * n, request.limits))
