"""Questions of benchmarks and their expected answers, drawn from a dump by a plain reading of it.

    python -m benchmarks.questions dump.json questions.json

Answers are kept as fingerprints, so that thousands of them fit into a load generator.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from http import HTTPStatus
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Final, Literal, TypeAlias

import click
import ijson
import msgspec

from mimic.corpus.conversation import Message, role_of

Kind: TypeAlias = Literal["hit", "continue", "miss"]
Key: TypeAlias = tuple[str, ...]

MIXTURE: Final = {"hit": 0.88, "continue": 0.02, "miss": 0.10}
"""Shares of the questions: user messages of the dump, each once; "continue" and the like; messages not in the dump."""
MOST: Final = 20_000
"""The most questions."""
CONTINUE_LIMIT: Final = 10
"""Choices asked for with "continue": all answers to it would grow with the dump, to megabytes."""

CONTINUE: Final = re.compile(r"(please )?(continue|go on|keep going)\b.{0,30}", re.IGNORECASE)
DONE: Final = "[DONE]"
DATA: Final = "data: "


class Question(msgspec.Struct, frozen=True):
    """The last message and the one before, and the fingerprints of the expected answers.

    ``after_last`` are those of the choices of v1 and v2, ``after_both`` of v3, in order. ``texts`` are those of the
    texts, sorted; a chat is answered with one of them. Without any, the answer is a 404.
    """

    kind: Kind
    previous: Message | None
    last: Message
    after_last: Sequence[str] = ()
    after_both: Sequence[str] = ()
    texts: Sequence[str] = ()

    @property
    def both(self) -> Sequence[Message]:
        """The messages that v3 looks at."""
        return [self.previous, self.last] if self.previous else [self.last]

    @property
    def limit(self) -> int | None:
        """The number of choices to ask for; None for all."""
        return CONTINUE_LIMIT if self.kind == "continue" else None


class Completion(msgspec.Struct):
    """The body of a completion."""

    choices: list[Message]


class LocatedMessage(msgspec.Struct):
    """The message of a chat completion, or what a chunk of a stream adds to it."""

    content: str | None = None


class ChatChoice(msgspec.Struct):
    """The first choice of a chat completion, as far as it is checked."""

    message: LocatedMessage = msgspec.field(default_factory=LocatedMessage)
    delta: LocatedMessage = msgspec.field(default_factory=LocatedMessage)


class ChatCompletion(msgspec.Struct):
    """The body of a chat completion, or a chunk of its stream."""

    choices: list[ChatChoice]


def fingerprint(*parts: str) -> str:
    """A digest of 64 bits."""
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def draw(dump: Path, most: int = MOST) -> list[Question]:
    """Questions in random order, fewer if the dump is small; the same from the same dump."""
    random = Random(1)  # noqa: S311 - not a secret
    found = _sample(dump, most, random)
    total = min(most, int(len(found["hit"]) / MIXTURE["hit"]))
    asked = [
        Question(kind, *pair)
        for kind, pairs in found.items()
        for pair in islice(cycle(pairs), round(total * MIXTURE[kind]))
    ]
    random.shuffle(asked)
    return _answered(dump, asked)


def _talks(dump: Path) -> Iterator[list[Message]]:
    with dump.open("rb") as file:
        for element in ijson.items(file, "item"):
            yield [Message(message["from"], message["value"]) for message in element["conversations"]]


def _sample(dump: Path, most: int, random: Random) -> Mapping[Kind, Sequence[tuple[Message | None, Message]]]:
    """Messages of users with those before them, each text once, up to the most questions of a kind."""
    kept: dict[Kind, list[tuple[Message | None, Message]]] = {"hit": [], "continue": []}
    seen = dict.fromkeys(kept, 0)
    for talk in _talks(dump):
        for previous, last in zip([None, *talk], talk[:-1], strict=False):
            kind: Kind = "continue" if CONTINUE.fullmatch(last.value) else "hit"
            if (
                not last.value
                or role_of(last.sender) != "user"
                or (previous and role_of(previous.sender) != "assistant")
            ):
                continue
            if kind == "continue" and not previous:
                continue
            seen[kind] += 1
            place = len(kept[kind]) if len(kept[kind]) < most else random.randrange(seen[kind])  # Vitter's algorithm R
            if place < most:
                kept[kind][place : place + 1] = [(previous, last)]
    hits = list({last.value: (previous, last) for previous, last in kept["hit"]}.values())
    misses = [
        (previous, Message(last.sender, f"{last.value} ({number})")) for number, (previous, last) in enumerate(hits)
    ]
    return {"hit": hits, "continue": kept["continue"], "miss": misses}


def _answered(dump: Path, asked: Sequence[Question]) -> list[Question]:
    """The questions with the next messages of the dump: a second pass, since the questions are not known before."""
    exact: dict[Key, list[str]] = {_exact(messages): [] for one in asked for messages in ([one.last], one.both)}
    by_role: dict[Key, set[str]] = {_by_role(messages): set() for one in asked for messages in ([one.last], one.both)}
    texts = {one.last.value for one in asked}
    for talk in _talks(dump):
        for position, following in enumerate(talk[1:]):
            if talk[position].value not in texts:
                continue
            for messages in [talk[position : position + 1], talk[position - 1 : position + 1]]:
                if messages and (answers := exact.get(_exact(messages))) is not None:
                    answers.append(fingerprint(following.sender, following.value))
                if messages and (said := by_role.get(_by_role(messages))) is not None:
                    said.add(fingerprint(following.value))
    return [
        msgspec.structs.replace(
            one,
            after_last=exact[_exact([one.last])][: one.limit],
            after_both=exact[_exact(one.both)][: one.limit],
            texts=sorted(by_role[_by_role(one.both)] or by_role[_by_role([one.last])]),
        )
        for one in asked
    ]


def _exact(messages: Sequence[Message]) -> Key:
    return tuple(part for message in messages for part in (message.sender, message.value))


def _by_role(messages: Sequence[Message]) -> Key:
    return tuple(part for message in messages for part in (role_of(message.sender), message.value))


def problem_with_choices(expected: Sequence[str], status: int, body: bytes) -> str | None:
    """The error in an answer of ``/conversation/completion``; None if it is right."""
    return _problem(bool(expected), status, lambda: _choices(body) == list(expected))


def problem_with_chat(expected: Sequence[str], status: int, body: bytes) -> str | None:
    """The error in a chat completion; None if it is right."""
    return _problem(bool(expected), status, lambda: fingerprint(_content(body)) in expected)


def problem_with_stream(expected: Sequence[str], status: int, body: bytes) -> str | None:
    """The error in a complete stream of a chat completion; None if it is right."""
    return _problem(bool(expected), status, lambda: fingerprint(_streamed(body)) in expected)


def _problem(known: bool, status: int, is_right: Callable[[], bool]) -> str | None:
    wanted = HTTPStatus.OK if known else HTTPStatus.NOT_FOUND
    if status != wanted:
        return f"the status is {status} instead of {wanted.value}"
    try:
        return None if not known or is_right() else "another answer than the dump has"
    except (msgspec.MsgspecError, ValueError, LookupError) as exc:
        return f"no answer at all: {exc}"


def _choices(body: bytes) -> list[str]:
    return [fingerprint(choice.sender, choice.value) for choice in _COMPLETION.decode(body).choices]


def _content(body: bytes) -> str:
    return _CHAT.decode(body).choices[0].message.content or ""


def _streamed(body: bytes) -> str:
    *chunks, last, end = [event.removeprefix(DATA) for event in body.decode().split("\n\n")]
    if last != DONE or end:
        raise ValueError("the stream broke off")
    return "".join(choice.delta.content or "" for chunk in chunks for choice in _CHAT.decode(chunk).choices)


_COMPLETION: Final = msgspec.json.Decoder(Completion)
_CHAT: Final = msgspec.json.Decoder(ChatCompletion)


def read(file: Path) -> list[Question]:
    """Questions as :func:`write` has written them."""
    return msgspec.json.decode(file.read_bytes(), type=list[Question])


def write(questions: Sequence[Question], file: Path) -> None:
    """Write questions to a file."""
    file.write_bytes(msgspec.json.encode(questions))


@click.command()
@click.argument("dump", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(dump: Path, out: Path) -> None:
    """Draw questions from DUMP, and write them with the expected answers to OUT."""
    write(draw(dump), out)


if __name__ == "__main__":
    main()
