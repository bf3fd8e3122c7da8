"""Answers token by token, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from mimic.answering import Answer
from mimic.tokens import decode

FRAMES_BYTES: Final = 16 * 1024
"""Frames of a stream that nobody has to wait for are sent together, up to so many bytes."""
DONE: Final = b"data: [DONE]\n\n"
"""What ends OpenAI's streams."""

_LINE_BREAKS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
"""Characters at which some clients, wrongly, end a line of a stream, and how JSON may write them instead."""


class Script(msgspec.Struct, frozen=True):
    """What is streamed: what comes with the first token, the chunks of each step, and what comes with the last.

    The ``end`` is what comes behind all of that.
    """

    opening: Sequence[msgspec.Struct]
    steps: Iterator[Sequence[msgspec.Struct]]
    ending: Sequence[msgspec.Struct] = ()
    end: bytes = DONE


def frames(events: Iterable[msgspec.Struct]) -> bytes:
    """Server-sent events."""
    events_sent = []
    for event in events:
        data = msgspec.json.encode(event)
        for character, escape in _LINE_BREAKS:
            data = data.replace(character, escape)
        events_sent.append(b"data: " + data + b"\n\n")
    return b"".join(events_sent)


async def paced(script: Script, due: Iterator[float] | None) -> AsyncIterator[bytes]:
    """Each step when it is due. What nobody has to wait for goes out together, up to so many bytes."""
    clock = asyncio.get_running_loop().time
    waiting = frames(script.opening)
    for step in script.steps:
        seconds = next(due) - clock() if due else 0.0
        if seconds > 0 or len(waiting) >= FRAMES_BYTES:
            if waiting:
                yield waiting
                waiting = b""
            await asyncio.sleep(max(seconds, 0))  # also 0: others are served, however fast this client reads
        waiting += frames(step)
    yield waiting + frames(script.ending) + script.end


def in_turn(answers: Sequence[Answer]) -> Iterator[list[tuple[int, str | None]]]:
    """Step by step, the indexes of the answers that go on and what their next token adds; None where one ends."""
    going = {index: (decode(answer.tokens), len(answer.tokens)) for index, answer in enumerate(answers)}
    number = 0
    while going:
        step: list[tuple[int, str | None]] = []
        number += 1
        for index, (parts, length) in list(going.items()):
            if length:
                step.append((index, next(parts)))
            if number >= length:
                step.append((index, None))
                del going[index]
        yield step
