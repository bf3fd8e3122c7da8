"""Ask a dump's human messages as they are and altered, through OpenAI's own client; show the rungs that answer.

    mimic seed dump.json && mimic serve &
    python -m benchmarks.answers.alike dump.json [--url http://127.0.0.1:8000/v1] [--sample 500] [--with-chat]

An answer comes from its own place if the message before it is the original of the altered message. Texts repeat, so an
answer after another message with the same normalized text is right as well. Requests run one at a time over one
connection, each for one token. Needs the dependency group ``dev``. Exit code 1 if an answer differs from the dump at
its source; for every 50th message the whole answer is compared.
"""

import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote

import click
from openai import NotFoundError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from mimic.corpus.conversation import role_of
from mimic.corpus.ladder import RUNGS
from mimic.corpus.similar.similarity import normalized

LocatedMessage: TypeAlias = tuple[str, str]
Talks: TypeAlias = Mapping[str, Sequence[Sequence[LocatedMessage]]]
"""Conversations by their ids as headers show them; several may share an id."""

NONE: Final = "none"
LONGEST_NAME: Final = 100
"""Characters of an id that a header shows."""
CHARACTERS_PER_ERROR: Final = 15
WHOLE_EVERY: Final = 50


class Question(NamedTuple):
    """A message of the dump with a message after it: its conversation, and its position there."""

    name: str
    talk: Sequence[LocatedMessage]
    position: int

    @property
    def text(self) -> str:
        """The message as it is."""
        return self.talk[self.position][1]


class Given(NamedTuple):
    """An answer: rung, source, text, and milliseconds."""

    rung: str
    source: str
    text: str
    milliseconds: float


@dataclass
class Tally:
    """The results of an alteration: milliseconds by rung, and the numbers of right and impossible answers."""

    milliseconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    own_place: int = 0
    same_text: int = 0
    impossible: int = 0


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--url", default="http://127.0.0.1:8000/v1", show_default=True)
@click.option("--sample", type=int, help="Number of messages to ask, drawn with a fixed seed.")
@click.option("--with-chat", is_flag=True, help="Ask each message with the conversation before it, not alone.")
def main(dump: Path, url: str, sample: int | None, with_chat: bool) -> None:
    """Ask, and compare with a plain reading of the file."""
    talks = read_talks(dump)
    questions = list(questions_of(talks))
    if sample:
        questions = random.Random(1).sample(questions, min(sample, len(questions)))  # noqa: S311 - not a secret
    client = OpenAI(base_url=url, api_key="mimic", max_retries=0, _strict_response_validation=True)
    tallies = {name: check(client, talks, questions, name, with_chat=with_chat) for name in ALTERATIONS}
    click.echo(table(["", "asked", *RUNGS, NONE, "own place", "same text", "impossible"], counts_of(tallies)))
    click.echo("\nMilliseconds, median / 95th percentile:\n")
    click.echo(table(["", *RUNGS, NONE], latencies_of(tallies)))
    sys.exit(1 if any(tally.impossible for tally in tallies.values()) else 0)


def read_talks(dump: Path) -> Talks:
    """The conversations of a dump."""
    talks: defaultdict[str, list[list[LocatedMessage]]] = defaultdict(list)
    for element in json.loads(dump.read_bytes()):
        identity = element.get("id")
        name = "" if identity is None else quote(str(identity)[:LONGEST_NAME], safe="")
        talks[name].append([(role_of(m["from"]), m["value"]) for m in element["conversations"]])
    return talks


def questions_of(talks: Talks) -> Iterator[Question]:
    """Each of the user's messages that has a message after it."""
    for name, namesakes in talks.items():
        for talk in namesakes:
            yield from (
                Question(name, talk, position) for position, (role, _) in enumerate(talk[:-1]) if role == "user"
            )


def as_it_is(text: str, _: random.Random) -> str:
    """The text."""
    return text


def lower_case(text: str, _: random.Random) -> str:
    """The text in lower case, with a question mark added."""
    return text.lower() + "?"


def typing_errors(text: str, draw: random.Random) -> str:
    """The text with typing errors: in every 15 characters one is dropped, doubled, or swapped with the next."""
    characters = list(text)
    for start in range(0, len(text), CHARACTERS_PER_ERROR):
        at = draw.randrange(start, min(start + CHARACTERS_PER_ERROR, len(text)))
        error = draw.choice(("drop", "double", "swap"))
        if error == "swap" and at + 1 < len(text):
            characters[at], characters[at + 1] = characters[at + 1], characters[at]
        else:
            characters[at] = "" if error == "drop" else characters[at] * 2
    return "".join(characters)


def other_order(text: str, draw: random.Random) -> str:
    """The words shuffled; without blanks, the parts between punctuation; a single part has its halves swapped."""
    words = text.split()
    if len(words) > 1:
        draw.shuffle(words)
        return " ".join(words)
    clauses = re.findall(r"\W*\w+\W*", text)
    if len(clauses) > 1:
        draw.shuffle(clauses)
        return "".join(clauses)
    return text[len(text) // 2 :] + text[: len(text) // 2]


def cut_in_half(text: str, _: random.Random) -> str:
    """The first half of the text."""
    return text[: (len(text) + 1) // 2]


ALTERATIONS: Final[Mapping[str, Callable[[str, random.Random], str]]] = {
    "as it is": as_it_is,
    "lower case, question mark": lower_case,
    "typing errors": typing_errors,
    "other order": other_order,
    "cut in half": cut_in_half,
}


def check(client: OpenAI, talks: Talks, questions: Sequence[Question], alteration: str, *, with_chat: bool) -> Tally:
    """Ask every question, altered in one way."""
    tally, draw = Tally(), random.Random(1)  # noqa: S311 - not a secret
    for number, question in enumerate(questions):
        altered = ALTERATIONS[alteration](question.text, draw)
        chat = [*(question.talk[: question.position] if with_chat else ()), ("user", altered)]
        given = ask(client, chat, most_tokens=1)
        tally.milliseconds[given.rung].append(given.milliseconds)
        if given.rung == NONE:
            continue
        tally.own_place += given.source == f"{question.name}#{question.position + 1}"
        tally.same_text += any(same(before, question.text) for before, _ in said_at(talks, given.source))
        possible = any(said.startswith(given.text) for _, said in said_at(talks, given.source))
        if possible and number % WHOLE_EVERY == 0:
            whole = ask(client, chat)
            possible = any(said == whole.text for _, said in said_at(talks, whole.source))
        tally.impossible += not possible
    return tally


def ask(client: OpenAI, chat: Sequence[LocatedMessage], most_tokens: int | None = None) -> Given:
    """The most frequent answer to a chat, or its beginning."""
    messages: list[ChatCompletionMessageParam] = [{"role": role, "content": text} for role, text in chat]  # type: ignore[misc]
    started = time.perf_counter()
    try:
        response = client.chat.completions.with_raw_response.create(
            model="mimic-v3", messages=messages, temperature=0, max_tokens=most_tokens
        )
    except NotFoundError as exc:
        if exc.code != "completion_not_found":
            raise
        return Given(NONE, "", "", (time.perf_counter() - started) * 1000)
    milliseconds = (time.perf_counter() - started) * 1000
    text = text_of(response.parse())
    return Given(response.headers["x-mimic-match"], response.headers["x-mimic-source"], text, milliseconds)


def text_of(completion: ChatCompletion) -> str:
    """The text of the only answer."""
    [choice] = completion.choices
    if choice.message.content is None:
        raise ValueError("an answer without text")
    return choice.message.content


def said_at(talks: Talks, source: str) -> Iterator[tuple[str, str]]:
    """The message of the dump at a source, and the message before it; nothing without a message at the source."""
    name, _, position = source.rpartition("#")
    for talk in talks.get(name, ()):
        if 0 < int(position) < len(talk):
            yield talk[int(position) - 1][1], talk[int(position)][1]


def same(one: str, other: str) -> bool:
    """Return True if two texts are equal, or become equal when normalized."""
    return one == other or (normalized(one) or one) == (normalized(other) or other)


def counts_of(tallies: Mapping[str, Tally]) -> list[list[str]]:
    """Rows of a table: the numbers of questions asked, answered by each rung, right, and impossible."""
    rows = []
    for name, tally in tallies.items():
        by_rung = [len(tally.milliseconds[rung]) for rung in (*RUNGS, NONE)]
        numbers = [sum(by_rung), *by_rung, tally.own_place, tally.same_text, tally.impossible]
        rows.append([name, *(f"{number:,}" for number in numbers)])
    return rows


def latencies_of(tallies: Mapping[str, Tally]) -> list[list[str]]:
    """Rows of a table: the time of an answer on each rung."""
    return [[name, *(spread(tally.milliseconds[rung]) for rung in (*RUNGS, NONE))] for name, tally in tallies.items()]


def spread(milliseconds: Sequence[float]) -> str:
    """The median and the 95th percentile, if there are any."""
    if not milliseconds:
        return ""
    return f"{median(milliseconds):.1f} / {sorted(milliseconds)[int(len(milliseconds) * 0.95)]:.1f}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, with numbers aligned to the right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for first, *others in (headings, rule, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
