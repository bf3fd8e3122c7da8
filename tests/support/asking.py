"""Clients that send every kind of request that needs the corpus, again and again, and their answers."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import httpx

from mimic.corpus.stores.mongodb.timings import DEFAULT_TIMINGS, Timings
from tests.support.corpora import Dump, conversation, seed

SECONDS_BETWEEN: Final = 0.2
"""Seconds between an answer and the next request of a client: other tests need some of two cores."""
CONVERSATIONS: Final[Mapping[str, int]] = {"old": 300, "new": 310}
"""The corpora by name, and their numbers of conversations: more than a batch, so that "continue" takes several."""


def corpus_of(name: str) -> Dump:
    """A corpus with its name in every answer."""
    return [
        conversation(
            f"{name}_{n}",
            ("human", f"how does the river{n} flow to the sea"),
            ("gpt", f"{name} answer {n}"),
            ("human", "continue"),
            ("gpt", f"{name} more {n}"),
        )
        for n in range(CONVERSATIONS[name])
    ]


def seed_corpus(url: str, name: str, folder: Path, timings: Timings = DEFAULT_TIMINGS) -> None:
    """Fill a store with the corpus of that name, in all versions and with the index of messages."""
    seed(url, corpus_of(name), folder, timings=timings)


class Question(NamedTuple):
    """A kind of question: the request, the texts of an answer, and those expected of the corpus with a name."""

    path: str
    body: Mapping[str, Any] | None
    texts: Callable[[httpx.Response], Sequence[str]]
    right: Callable[[str], Sequence[str]]


def _choices(response: httpx.Response) -> Sequence[str]:
    return [choice["value"] for choice in response.json()["choices"]]


def _said(response: httpx.Response) -> Sequence[str]:
    return [choice["message"]["content"] for choice in response.json()["choices"]]


def _streamed(response: httpx.Response) -> Sequence[str]:
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    return ["".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])]


def _values(field: str) -> Callable[[httpx.Response], Sequence[str]]:
    return lambda response: [one["value"] for one in response.json()[field]]


def _chat(text: str, *, stream: bool = False) -> Mapping[str, Any]:
    return {"model": "mimic-v2", "messages": [{"role": "user", "content": text}], "stream": stream}


def _completion(*texts: str) -> Mapping[str, Any]:
    return {"messages": [{"from": "human", "value": text} for text in texts]}


QUESTIONS: Final[Mapping[str, Question]] = {
    "completion": Question(
        "/conversation/completion?version=v3",
        _completion("how does the river7 flow to the sea"),
        _choices,
        lambda name: [f"{name} answer 7"],
    ),
    "long completion": Question(
        "/conversation/completion?version=v2",
        _completion("continue"),
        _choices,
        lambda name: [f"{name} more {n}" for n in range(CONVERSATIONS[name])],
    ),
    "scan": Question(
        "/conversation/completion?version=v1",
        _completion("how does the river8 flow to the sea"),
        _choices,
        lambda name: [f"{name} answer 8"],
    ),
    "chat": Question(
        "/v1/chat/completions",
        _chat("how does the river9 flow to the sea"),
        _said,
        lambda name: [f"{name} answer 9"],
    ),
    "stream": Question(
        "/v1/chat/completions",
        _chat("how does the river10 flow to the sea", stream=True),
        _streamed,
        lambda name: [f"{name} answer 10"],
    ),
    "nearest": Question(
        "/v1/chat/completions",
        _chat("how did that river11 flow to our sea"),
        _said,
        lambda name: [f"{name} answer 11"],
    ),
    "search": Question(
        "/corpus/search?q=river12&role=user&version=v2",
        None,
        _values("results"),
        lambda _: ["how does the river12 flow to the sea"],
    ),
    "conversation": Question(
        "/corpus/v2/conversations/53",
        None,
        _values("messages"),
        lambda name: ["how does the river13 flow to the sea", f"{name} answer 13", "continue", f"{name} more 13"],
    ),
    "corpus": Question(
        "/corpus",
        None,
        lambda response: [str(entry["conversations"]) for entry in response.json()["versions"].values()],
        lambda name: [str(CONVERSATIONS[name])] * 3,
    ),
    "ready": Question("/ready", None, lambda response: response.json()["versions"], lambda _: ["v1", "v2", "v3"]),
}


class Answer(NamedTuple):
    """The result of a question, with the times of question and answer by the monotonic clock.

    ``outcome`` is the name of the corpus with this right answer; of several corpora, all names. Otherwise it is the
    status, the name of an exception, or ``wrong: `` and the texts. ``is_last`` says that the server closes the
    connection.
    """

    question: str
    outcome: str
    asked: float
    answered: float
    retry_after: str | None = None
    is_last: bool = False


class Asking:
    """A context manager of clients; each asks all the questions in turn, over a connection of its own.

    Without ``kept_alive`` each request has a new connection. A client whose connection is closed stops.
    """

    def __init__(
        self, url: str, clients: int = 3, questions: Sequence[str] = tuple(QUESTIONS), *, kept_alive: bool = True
    ) -> None:
        self.answers: list[Answer] = []
        self._url = url
        self._questions = questions
        self._limits = httpx.Limits(max_keepalive_connections=None if kept_alive else 0)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop asking; return when all is answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def between(self, begin: float, end: float = inf) -> Sequence[Answer]:
        """The answers between two moments, to questions after the first moment."""
        return [answer for answer in tuple(self.answers) if begin <= answer.asked and answer.answered <= end]

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=30, limits=self._limits) as client:
            turn = number  # not all the same at the same time
            is_last = False
            while not (is_last or self._stop.is_set()):
                answer = ask(client, self._questions[turn % len(self._questions)])
                self.answers.append(answer)
                turn, is_last = turn + 1, answer.is_last
                time.sleep(SECONDS_BETWEEN)


def ask(client: httpx.Client, name: str) -> Answer:
    """Ask one of the questions, and check the answer."""
    question = QUESTIONS[name]
    asked = time.monotonic()
    try:
        response = client.request("POST" if question.body else "GET", question.path, json=question.body)
    except httpx.TransportError as exc:
        return Answer(name, type(exc).__name__, asked, time.monotonic())
    answered, is_last = time.monotonic(), response.headers.get("connection") == "close"
    if response.status_code != httpx.codes.OK:
        return Answer(name, str(response.status_code), asked, answered, response.headers.get("retry-after"), is_last)
    texts = list(question.texts(response))
    right = [name for name in CONVERSATIONS if texts == list(question.right(name))]
    return Answer(name, " ".join(right) or f"wrong: {texts}", asked, answered, None, is_last)


def ask_everything(url: str) -> list[Answer]:
    """All the questions at once."""
    with ThreadPoolExecutor(len(QUESTIONS)) as threads, httpx.Client(base_url=url, timeout=30) as client:
        return list(threads.map(lambda question: ask(client, question), QUESTIONS))


def wrong(answers: Sequence[Answer], *corpora: str) -> Sequence[Answer]:
    """The answers that are not the right answer of any of these corpora."""
    return [answer for answer in answers if not set(answer.outcome.split()) & set(corpora)]
