"""The chain of engines: the first one with an answer gives it, and the last one handles misses."""

from pathlib import Path

import pytest

from mimic.corpus.corpus import Corpus
from mimic.corpus.stores import open_store
from mimic.engine.base import Answer, Answers, ChatMessage, CompletionRequest, Engine, Limits, Prompt
from mimic.engine.fallback import Chain, EchoEngine, TextEngine, chain
from mimic.engine.instruction import InstructionEngine
from mimic.engine.sampling import Sampling
from mimic.errors import NoCompletion

pytestmark = pytest.mark.anyio


class Parrot(Engine):
    """An engine that knows one word, and counts its calls."""

    def __init__(self, word: str) -> None:
        self._word = word
        self.asked = 0

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """The word again. Raises NoCompletion for any other."""
        self.asked += 1
        if prompt.messages[-1].text != self._word:
            raise NoCompletion(f": {self._word} only")
        return Answers("last", 1.0, [Answer(self._word, [1], "stop", None)])


def request(*texts: str | None, n: int = 1, limits: Limits | None = None) -> CompletionRequest:
    """A request of bare prompts."""
    prompts = [Prompt([ChatMessage("user", text)], 1) for text in texts]
    return CompletionRequest(
        model="m", version="v2", prompts=prompts, sampling=Sampling(n=n), limits=limits or Limits()
    )


async def test_the_first_engine_that_has_an_answer_gives_it() -> None:
    """Each prompt gets the first answer, and equal prompts are asked once."""
    first, second = Parrot("hi"), Parrot("ho")
    engine = Chain([first, second, TextEngine("else")])
    done = await engine.complete(request("hi", "ho", "hi", "hum", "ho"))
    assert [answer.text for answer in done.answers] == ["hi", "ho", "hi", "else", "ho"]
    assert (first.asked, second.asked) == (3, 2)
    assert [one.rung for one in done.results] == ["last", "last", "last", None, "last"]
    assert done.results[0] is done.results[2]
    assert done.usage.prompt_tokens == 5


async def test_the_first_miss_is_raised() -> None:
    """The first engine's error has most details of the search."""
    with pytest.raises(NoCompletion, match="hi only"):
        await Chain([Parrot("hi"), Parrot("ho")]).complete(request("hum"))


async def test_echo_and_text_are_cut_like_any_answer() -> None:
    """The number of answers is that of the request; an empty text is not echoed."""
    echoed = await EchoEngine().complete(request("one two three", n=2, limits=Limits((" three",), 9)))
    assert [answer.text for answer in echoed.answers] == ["one two"] * 2
    assert [answer.text for answer in (await EchoEngine().complete(request(None))).answers] == [""]
    said = await TextEngine("so it goes").complete(request("hi", limits=Limits((), 1)))
    assert [(answer.text, answer.finish_reason) for answer in said.answers] == [("so", "length")]


async def test_on_miss_chooses_the_last_engine(tmp_path: Path) -> None:
    """An error adds no engine to the chain."""
    parrot, corpus = Parrot("hi"), Corpus(open_store(f"sqlite:///{tmp_path}/corpus.db"))
    assert chain(parrot, "404", corpus) is parrot
    assert isinstance(chain(parrot, "any", corpus), InstructionEngine)
    misses = [await chain(parrot, on_miss, corpus).complete(request("ho")) for on_miss in ("echo", "?")]
    assert [one.answers[0].text for one in misses] == ["ho", "?"]
