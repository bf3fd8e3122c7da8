"""The end of the chain of engines: what is answered where the corpus has nothing."""

from collections.abc import Sequence
from typing import Final

from mimic.corpus.corpus import Corpus
from mimic.engine.base import Answers, CompletionRequest, Engine, Prompt
from mimic.engine.instruction import InstructionEngine
from mimic.engine.retrieval import ended
from mimic.engine.substitute import SubstituteEngine
from mimic.errors import Miss

ANY: Final = "any"
NOT_FOUND: Final = "404"
ECHO: Final = "echo"
"""Values of MIMIC_ON_MISS: an answer to another message, an error, and the last message again.

Any other value is the text to answer.
"""


class Chain(Engine):
    """Engines in order: the first one that has an answer to a prompt gives it."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises the Miss of the first engine that could answer such a request where none has an answer."""
        missed: Miss | None = None
        for engine in self._engines:
            if not engine.answers(prompt):
                continue
            try:
                return await engine.answer(prompt, request)
            except Miss as exc:
                missed = missed or exc
        raise missed or Miss("No engine is there to answer", code="completion_not_found")


class EchoEngine(Engine):
    """Answers with the last message again."""

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """The last message that has a text, or nothing."""
        said = prompt.said()
        return await _repeated(said[-1].value if said else "", request)


class TextEngine(Engine):
    """Answers with the same text always."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """The text."""
        return await _repeated(self._text, request)


def chain(first: Engine, on_miss: str, corpus: Corpus) -> Engine:
    """An engine, the text that a chat dictates, and the answer that MIMIC_ON_MISS names.

    With ``404`` every answer is one of the corpus, so that no text is dictated.
    """
    if on_miss == NOT_FOUND:
        return first
    if on_miss == ANY:
        return InstructionEngine(first, SubstituteEngine(first, corpus))
    return InstructionEngine(first, Chain([first, EchoEngine() if on_miss == ECHO else TextEngine(on_miss)]))


async def _repeated(text: str, request: CompletionRequest) -> Answers:
    n = request.sampling.n
    return Answers(None, None, await ended([text] * n, [None] * n, request.limits))
