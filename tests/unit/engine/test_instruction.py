"""Messages that dictate their answer: which texts they give, and which messages dictate none."""

import msgspec
import pytest

from mimic.corpus.ladder import MatchPolicy, Rung
from mimic.engine.base import TEXT, AnswerFormat, Answers, ChatMessage, CompletionRequest, Engine, Limits, Prompt
from mimic.engine.fallback import TextEngine
from mimic.engine.instruction import InstructionEngine, dictated, dictated_in
from mimic.engine.sampling import Sampling
from mimic.errors import NoCompletion


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("reply exactly PONG", "PONG"),
        ("Reply with exactly: PONG", "PONG"),
        ("Reply with exactly: PONG.", "PONG."),
        ("Reply with exactly PONG and nothing else.", "PONG"),
        ('Say exactly "Hello, world!"', "Hello, world!"),
        ('Please say "Hello, world!" and nothing else.', "Hello, world!"),
        ("Say exactly 'it works'. Do not add anything.", "it works"),
        ("respond with only the word OK", "OK"),
        ("Respond only with the single word: ready", "ready"),
        ("Reply with the word PONG and nothing else", "PONG"),
        ("Reply with the single word PONG.", "PONG"),
        ("Answer with exactly 42", "42"),
        ("Answer with exactly 3.14.", "3.14"),
        ("This is a health check. Reply with exactly hello world", "hello world"),
        ("Repeat after me: to be or not to be", "to be or not to be"),
        ("Repeat the following sentence: It rains, it pours.", "It rains, it pours."),
        ("Respond with exactly the following text:\n\nfirst line\nsecond line\n\nThanks", "first line\nsecond line"),
        ('Return only the following text:\n```json\n{"a": 1}\n```', '{"a": 1}'),
        ("Return exactly `x = 1`", "x = 1"),
        ("Respond with only “да”", "да"),
        ("İstanbul? reply exactly PONG", "PONG"),
        ("Hello!\nJust say PONG and nothing else", None),
        ("You are a probe.\nJust say 'PONG'", "PONG"),
    ],
)
def test_dictated_texts(message: str, text: str | None) -> None:
    """A word that makes it exact, and quotation marks, a colon or few words."""
    assert dictated(message) == text


@pytest.mark.parametrize(
    "message",
    [
        "",
        "hi",
        'Say "hi"',
        "Say something funny",
        "Respond only in French",
        "Answer with only yes or no",
        "Respond with only: yes or no",
        "Return only the code",
        "Return only valid JSON",
        "Return only: a JSON object",
        "Respond with exactly three sentences",
        "Respond with exactly one word",
        "Write exactly 1,000 words about cats",
        "Repeat exactly what I say",
        "Write the word 'hello' in French",
        "Return only the words that begin with a vowel",
        "Return the string reversed",
        "Answer the following: what is 2 + 2?",
        "Answer the following question: what is 2 + 2?",
        "Write the following sentence in the passive voice: The cat ate the mouse.",
        "If you do not know, say exactly: I do not know",
        "What does it mean to reply exactly?",
        "Why did he say exactly that?",
        "Say exactly " + "word " * 20,
        "Reply with exactly: ",
        "The answer exactly",
        "Essay only: one two",
    ],
)
def test_messages_that_dictate_nothing(message: str) -> None:
    """Descriptions of an answer, conditions, and texts that nothing sets apart."""
    assert dictated(message) is None


def test_the_message_that_dictates() -> None:
    """The user's last one, then the system's last one; a long message is not searched."""
    system, user = ChatMessage("system", "Reply with exactly: A"), ChatMessage("user", "Reply with exactly: B")
    said, answered = ChatMessage("user", "hi"), ChatMessage("assistant", "Reply with exactly: C")
    assert dictated_in(Prompt([system, user])) == "B"
    assert dictated_in(Prompt([system, user, answered, said])) == "A"
    assert dictated_in(Prompt([user, answered, said])) is None
    assert dictated_in(Prompt([ChatMessage("user", "Reply with exactly: B" + "\n" * 2_000)])) is None
    assert dictated_in(Prompt([ChatMessage("user", None)])) is None


class Found(Engine):
    """An engine with an answer on a rung; without a rung, a miss."""

    def __init__(self, rung: Rung | None) -> None:
        self._rung = rung

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises NoCompletion without a rung."""
        if self._rung is None:
            raise NoCompletion
        return msgspec.structs.replace(await TextEngine("found").answer(prompt, request), rung=self._rung)


def request(policy: MatchPolicy, answer_format: AnswerFormat = TEXT) -> CompletionRequest:
    """A request for two answers."""
    prompt = Prompt([ChatMessage("user", "Reply with exactly: one two three")])
    return CompletionRequest(
        model="m",
        version="v3",
        prompts=[prompt],
        sampling=Sampling(n=2),
        limits=Limits((" three",)),
        policy=policy,
        answer_format=answer_format,
    )


@pytest.mark.anyio
async def test_an_exact_match_comes_first() -> None:
    """A match that is only similar, and a miss, give the dictated text, which is cut like any answer."""
    asked = request(MatchPolicy())
    for rung, text in (("last", "found"), ("normalized", "found"), ("nearest", "one two"), (None, "one two")):
        answers = (await InstructionEngine(Found(rung)).answer(asked.prompts[0], asked)).answers  # type: ignore[arg-type]
        assert [answer.text for answer in answers] == [text] * 2


@pytest.mark.anyio
async def test_other_requests_dictate_nothing() -> None:
    """A request that names a rung, and a request for JSON, get the answer of the other engine."""
    for asked in (request(MatchPolicy("last", is_named=True)), request(MatchPolicy(), AnswerFormat("json_object"))):
        assert (await InstructionEngine(Found("nearest")).answer(asked.prompts[0], asked)).answers[0].text == "found"
        with pytest.raises(NoCompletion):
            await InstructionEngine(Found(None)).answer(asked.prompts[0], asked)
