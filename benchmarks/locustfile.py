"""Users that ask Mimic and check every answer: an answer that differs from the dump is a failure.

    python -m benchmarks.questions dump.json questions.json
    locust -f benchmarks/locustfile.py --questions questions.json --host http://127.0.0.1:8000 CompletionV3

Without the name of a class, users of all classes come. :data:`benchmarks.questions.MIXTURE` describes their questions.
Seed the server with that dump and with ``--match last``; a lower rung would find messages similar to those that the
dump has not.
"""

import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from typing import Any, ClassVar, Final

import click
import msgspec
from locust import FastHttpUser, events, task
from locust.env import Environment

from benchmarks.questions import Question, problem_with_chat, problem_with_choices, problem_with_stream, read
from benchmarks.support.outcomes import Outcome
from mimic.corpus.conversation import Message, role_of

JSON: Final = {"content-type": "application/json"}
SECONDS_BETWEEN_LINES: Final = 2
PROBLEMS_SHOWN: Final = 3
WARM_UP: Final = 0.1
"""Share of the time in which answers are checked but not counted."""


class Run:
    """The questions, asked in turn by all users, and the results."""

    def __init__(self) -> None:
        self.questions: Iterator[Question] = iter(())
        self.latencies: list[float] = []
        self.answers = 0
        self.wrong = 0
        self.began = self.ended = 0.0

    def begin(self, questions: Sequence[Question], seconds: float) -> None:
        """Start the clock of a run with the given seconds."""
        self.questions = cycle(questions)
        self.latencies, self.answers, self.wrong = [], 0, 0
        self.began = self.ended = time.perf_counter() + WARM_UP * seconds

    def count(self, latency: float, problem: object) -> None:
        """Add an answer, whose latency is in milliseconds."""
        self.answers += 1
        if problem:
            self.wrong += 1
            if self.wrong <= PROBLEMS_SHOWN:
                click.echo(f"  wrong: {problem}", err=True)
        if (now := time.perf_counter()) >= self.began:
            self.ended = now
            self.latencies.append(latency)

    def outcome(self) -> Outcome:
        """The figures so far."""
        percentiles = quantiles(self.latencies, n=100, method="inclusive") if len(self.latencies) > 1 else [0.0] * 99
        seconds = self.ended - self.began
        rate = len(self.latencies) / seconds if seconds else 0.0
        return Outcome(self.answers, self.wrong, rate, percentiles[49], percentiles[94], percentiles[98])


RUN: Final = Run()


def _add_options(parser: ArgumentParser, **_others: Any) -> None:
    parser.add_argument("--questions", required=True, help="File of benchmarks.questions.")
    parser.add_argument("--outcome", default="", help="File for the figures, as JSON.")


def _begin(environment: Environment, **_others: Any) -> None:
    options = environment.parsed_options
    assert options
    RUN.begin(read(Path(options.questions)), options.run_time or 0)
    threading.Thread(target=_tell, daemon=True).start()  # a greenlet, since locust has put one in its place


def _count(response_time: float, exception: object, **_others: Any) -> None:
    RUN.count(response_time, exception)


def _end(environment: Environment, **_others: Any) -> None:
    if environment.parsed_options and environment.parsed_options.outcome:
        Path(environment.parsed_options.outcome).write_bytes(msgspec.json.encode(RUN.outcome()))


def _tell() -> None:
    """Log the progress from time to time."""
    while True:
        time.sleep(SECONDS_BETWEEN_LINES)
        now = RUN.outcome()
        click.echo(f"  {now.rate:,.0f} requests/s, p50 {now.p50_ms:,.1f} ms, {now.wrong:,} wrong", err=True)


for hook, listener in (
    (events.init_command_line_parser, _add_options),
    (events.test_start, _begin),
    (events.request, _count),
    (events.quitting, _end),
):
    hook.add_listener(listener)  # type: ignore[no-untyped-call] # locust's


class Asking(FastHttpUser):
    """Asks one question after another, without a pause."""

    abstract = True

    @task
    def ask(self) -> None:
        """Ask, and check the answer."""
        question = next(RUN.questions)
        data, name = self.body(question), type(self).__name__
        with self.client.post(self.path(question), data=data, headers=JSON, name=name, catch_response=True) as response:
            problem = self.problem(question, response.status_code, response.content or b"")
            if problem:
                response.failure(f"{problem} ({question.kind})")
            else:
                response.success()

    def path(self, question: Question) -> str:
        """The path of the request."""
        raise NotImplementedError

    def body(self, question: Question) -> str:
        """The body of the request."""
        raise NotImplementedError

    def problem(self, question: Question, status: int, body: bytes) -> str | None:
        """The error in an answer; None if it is right."""
        raise NotImplementedError


class CompletionV1(Asking):
    """Asks ``/conversation/completion`` with the last message."""

    version: ClassVar[str] = "v1"

    def path(self, question: Question) -> str:
        limit = f"&limit={question.limit}" if question.limit else ""
        return f"/conversation/completion?version={self.version}{limit}"

    def body(self, question: Question) -> str:
        return msgspec.json.encode({"messages": self.asked(question)}).decode()

    def problem(self, question: Question, status: int, body: bytes) -> str | None:
        return problem_with_choices(self.expected(question), status, body)

    def asked(self, question: Question) -> Sequence[Message]:
        """The messages that the version looks at."""
        return [question.last]

    def expected(self, question: Question) -> Sequence[str]:
        """The answer that the version must give."""
        return question.after_last


class CompletionV2(CompletionV1):
    """Asks ``/conversation/completion`` with the last message, by index."""

    version: ClassVar[str] = "v2"


class CompletionV3(CompletionV1):
    """Asks ``/conversation/completion`` with the last two messages."""

    version: ClassVar[str] = "v3"

    def asked(self, question: Question) -> Sequence[Message]:
        return question.both

    def expected(self, question: Question) -> Sequence[str]:
        return question.after_both


class Chat(Asking):
    """Asks ``/v1/chat/completions``."""

    stream: ClassVar[bool] = False

    def path(self, question: Question) -> str:
        return "/v1/chat/completions"

    def body(self, question: Question) -> str:
        messages = [{"role": role_of(message.sender), "content": message.value} for message in question.both]
        return msgspec.json.encode({"model": "mimic-v3", "messages": messages, "stream": self.stream}).decode()

    def problem(self, question: Question, status: int, body: bytes) -> str | None:
        return problem_with_chat(question.texts, status, body)


class StreamedChat(Chat):
    """Asks ``/v1/chat/completions`` for a stream, and reads it to its end."""

    stream: ClassVar[bool] = True

    def problem(self, question: Question, status: int, body: bytes) -> str | None:
        return problem_with_stream(question.texts, status, body)
