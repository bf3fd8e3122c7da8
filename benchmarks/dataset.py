"""Write a dump like that of ShareGPT, of any size, the same from the same seed.

    python -m benchmarks.dataset dump.json --size 673MB --seed 1

It is a pretty-printed JSON array with the traits of the real one: numbers and lengths of messages, chats split into
parts, repeated prompts, "continue", code, other scripts, empty messages. The texts mean nothing
(:mod:`benchmarks.support.prose`). A smaller dump of a seed is the beginning of a larger one. Memory (25 MB) does not
grow with the size; 673 MB take from 30 s to 60 s.
"""

import re
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import IO, Final, TypeAlias

import click

from benchmarks.support.prose import SHORTEST_WITH_CODE, Writer

LocatedMessage: TypeAlias = tuple[str, str]
"""A sender and a text."""

Quantiles: TypeAlias = Sequence[tuple[float, int]]
"""Shares from 0 to 1, each with the number below which it lies."""

# Measured in a sample of the dump; linear in between.
SHARES: Final = (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1)
TURNS: Final = (1, 2, 2, 2, 2, 4, 5, 6, 8, 9, 11, 15, 19, 26, 29, 38, 124)
"""Messages in a conversation."""
CHARACTERS: Final = {
    ("human", False): (1, 8, 11, 23, 37, 50, 64, 83, 109, 150, 270, 726, 1632, 3475, 5428, 8351, 15543),
    ("gpt", False): (1, 46, 125, 297, 649, 909, 1133, 1345, 1568, 1808, 2153, 2702, 3213, 3632, 3837, 4034, 5692),
    ("human", True): (1, 2, 3, 5, 15, 26, 39, 52, 67, 89, 126, 224, 450, 646, 702, 1096, 1421),
    ("gpt", True): (1, 20, 39, 57, 96, 199, 308, 399, 470, 585, 742, 959, 1152, 1423, 1920, 1984, 2295),
}
"""Characters in a message, by sender, and by whether the conversation has MANY_TURNS."""
MANY_TURNS: Final = 20

SPLIT_CHATS: Final = 0.25
FURTHER_PARTS: Final = 0.68
"""Share of the split chats with one more part; of these again, and so on: 44% of all ids are not part 0."""
OVERLAP: Final = 0.77
"""Share of the further parts that begin with the last message of the part before."""

SYSTEM_CHATS: Final = 0.005
WITHOUT_MESSAGES: Final = 0.0002
"""Share of the conversations without messages."""
SAME_ROLE: Final = 0.0003
"""Share of the messages from the same sender as the message before."""
EMPTY: Final = 0.0015
"""Share of the human messages without text."""
CONTINUE: Final = 0.024
REPEATED: Final = 0.1
"""Share of the human messages that are common prompts, drawn by Zipf's law."""
COMMON_PROMPTS: Final = 50_000
"""Number of common prompts."""
CODE: Final = {"human": 0.004, "gpt": 0.25}
MARKS: Final = 0.042
FOREIGN: Final = 0.026
"""Shares of the messages with code, with typesetting beyond ASCII, and in another language."""

CONTINUES: Final = (
    *("continue",) * 20,
    *("Continue",) * 6,
    *("keep going",) * 3,
    *("please continue", "go on", "Continue writing please") * 2,
    *("continue.", "Please continue", "continue please", "Continue generating", "continue from where you stopped"),
)
FIRST_PROMPTS: Final = ("no", "yes", "more", "next", "ok", "thanks", "a", "Yes", "b", "c", "why?", "thank you")
"""The most frequent of the common prompts; the others are made up."""

SECONDS_BETWEEN_LINES: Final = 2.0


def size_in_bytes(text: str) -> int:
    """Parse a size such as 673MB, 1.5GB, 500kB or 1000."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?)B?", text)
    if not parts:
        raise click.BadParameter(f"{text!r} is no size, such as 673MB")
    return round(float(parts[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[parts[2]])


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", type=size_in_bytes, default="673MB", show_default=True, help="Size of the dump, such as 673MB.")
@click.option("--seed", default=1, show_default=True, help="Seed: another number makes another dump.")
def main(out: Path, size: int, seed: int) -> None:
    """Write a dump like that of ShareGPT to the file OUT, which appears when it is complete."""
    make_dump(out, size, seed)


def make_dump(out: Path, size: int, seed: int) -> None:
    """Write the dump to a file, which appears when it is complete."""
    unfinished = out.with_name(f"{out.name}.part")
    with unfinished.open("wb") as file:
        write_dump(file, size, seed)
    unfinished.replace(out)


def write_dump(file: IO[bytes], size: int, seed: int) -> None:
    """Write conversations up to a number of bytes, and report the progress on standard error."""
    started = shown = time.monotonic()
    written = file.write(b"[")
    for name, talk in conversations(seed):
        if written >= size:
            break
        written += file.write((f"{',' if written > 1 else ''}\n" + pretty(name, talk)).encode("ascii"))
        if (now := time.monotonic()) >= shown + SECONDS_BETWEEN_LINES:
            shown = now
            rate = written / (now - started) / 1e6
            click.echo(f"dump: {written / 1e6:,.0f} of {size / 1e6:,.0f} MB, {rate:.0f} MB/s", err=True)
    file.write(b"\n]\n")


def pretty(name: str, talk: Sequence[LocatedMessage]) -> str:
    """A conversation as JSON, indented as in the real dump, in ASCII."""
    messages = [
        f'      {{\n        "from": {quoted(sender)},\n        "value": {quoted(text)}\n      }}'
        for sender, text in talk
    ]
    listed = "[\n" + ",\n".join(messages) + "\n    ]" if messages else "[]"
    return f'  {{\n    "id": {quoted(name)},\n    "conversations": {listed}\n  }}'


def conversations(seed: int) -> Iterator[tuple[str, Sequence[LocatedMessage]]]:
    """Endless conversations: their ids and messages. The parts of a chat follow each other."""
    random = Random(seed)  # noqa: S311 - not a secret
    while True:
        name = "".join(random.choices(ascii_letters + digits, k=7))
        yield from ((f"{name}_{start}", part) for start, part in _chat(random, seed))


def _chat(random: Random, seed: int) -> Iterator[tuple[int, Sequence[LocatedMessage]]]:
    """The parts of a chat, and the index of the first message of each in the chat."""
    speaker = _Speaker(random, seed)
    start, part = 0, speaker.beginning()
    part += speaker.talk(part)
    yield start, part
    parts = random.random() < SPLIT_CHATS
    while parts and part:
        overlap = part[-1:] if random.random() < OVERLAP else []
        start += len(part) - len(overlap)
        part = overlap + speaker.talk(overlap)
        yield start, part
        parts = random.random() < FURTHER_PARTS


class _Speaker:
    """The author of all messages of one chat."""

    def __init__(self, random: Random, seed: int) -> None:
        self._random = random
        self._seed = seed
        self._writer = Writer(random)

    def beginning(self) -> list[LocatedMessage]:
        """The message before the first question: one of the system, or mostly nothing."""
        if self._random.random() < SYSTEM_CHATS:
            return [("system", self._writer.prose(self._random.randrange(40, 600)))]
        return []

    def talk(self, before: Sequence[LocatedMessage]) -> list[LocatedMessage]:
        """Questions and answers, in the number drawn including the beginning, or one more or less."""
        if not before and self._random.random() < WITHOUT_MESSAGES:
            return []
        turns = round(drawn(TURNS, self._random.random()))
        pairs = (turns - len(before) + self._random.randrange(2)) // 2
        senders = ("human", "gpt") * max(pairs, 1)
        return [self._said(sender, many=turns >= MANY_TURNS) for sender in senders]

    def _said(self, sender: str, *, many: bool) -> LocatedMessage:
        text = self._prompt() if sender == "human" else None
        if self._random.random() < SAME_ROLE:
            sender = "gpt" if sender == "human" else "human"
        return sender, self._text(sender, many=many) if text is None else text

    def _prompt(self) -> str | None:
        """A common prompt as the user's message; None for a message of its own."""
        draw = self._random.random()
        if draw < EMPTY:
            return ""
        if draw < EMPTY + CONTINUE:
            return self._random.choice(CONTINUES)
        if draw < EMPTY + CONTINUE + REPEATED:
            return common_prompt(self._seed, int(COMMON_PROMPTS ** self._random.random()) - 1)
        return None

    def _text(self, sender: str, *, many: bool) -> str:
        length = round(drawn(CHARACTERS[sender, many], self._random.random()))
        draw = self._random.random()
        if draw < MARKS:
            return self._writer.with_marks(length)
        if draw < MARKS + FOREIGN:
            return self._writer.foreign(length)
        if draw > 1 - CODE[sender] and length >= SHORTEST_WITH_CODE:
            return self._writer.with_code(length)
        return self._writer.prose(length)


@lru_cache(maxsize=COMMON_PROMPTS)
def common_prompt(seed: int, rank: int) -> str:
    """The common prompt of a rank from 0."""
    if rank < len(FIRST_PROMPTS):
        return FIRST_PROMPTS[rank]
    random = Random(f"{seed} {rank}")  # noqa: S311 - not a secret
    return Writer(random).prose(round(drawn(CHARACTERS["human", False], random.uniform(0.02, 0.85))))


def drawn(quantiles: Sequence[int], share: float) -> float:
    """The number below which a share lies."""
    at = min(bisect(SHARES, share), len(SHARES) - 1)
    low, high = SHARES[at - 1], SHARES[at]
    return quantiles[at - 1] + (quantiles[at] - quantiles[at - 1]) * (share - low) / (high - low)


if __name__ == "__main__":
    main()
