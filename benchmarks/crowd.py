"""Ask for 10,000 answers, 64 times at once, and show the effect on the server's memory and on other requests.

    python -m benchmarks.crowd [--store sqlite|mongodb|mongodb://host/empty-database]

The corpus is made for the purpose: 10,000 times "continue", each with an answer of 1,300 characters, and other
messages.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self
from urllib.parse import urlsplit

import click
import uvloop

from benchmarks.support.load import Outcome, post, press
from benchmarks.support.servers import mongodb, seed, serving
from mimic.testing.processes import resident_bytes

PATH: Final = "/conversation/completion?version=v2"
ANSWERS: Final = 10_000
OTHERS: Final = 2_000
CHARACTERS: Final = 1_300
CONNECTIONS: Final = 8
"""Connections of the other requests."""


@click.command()
@click.option("--store", default="sqlite", show_default=True)
@click.option("--crowd", default=64, show_default=True, help="Concurrent requests for all the answers.")
@click.option("--rate", default=100.0, show_default=True, help="Other requests per second.")
@click.option("--seconds", default=10.0, show_default=True)
def main(store: str, crowd: int, rate: float, seconds: float) -> None:
    """Show memory and latencies without the crowd and with it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if store == "sqlite":
            store = f"sqlite:///{folder}/corpus.db"
        elif store == "mongodb":
            store = f"{stack.enter_context(mongodb(folder))}/crowd"
        (folder / "dump.json").write_text(json.dumps(list(_conversations())))
        seed(folder / "dump.json", store, "v2", folder)
        server = stack.enter_context(serving(store, "v2", folder))
        port = urlsplit(server.url).port or 0
        others = cycle([post(PATH, _asked(f"ask {number}")) for number in range(OTHERS)])
        alone = press(port, others, CONNECTIONS, seconds, rate)
        with ProcessPoolExecutor(1) as executor, _Memory(server.pid) as memory:
            gathered = executor.submit(_crowd, port, crowd, seconds)
            meanwhile = press(port, others, CONNECTIONS, seconds, rate)
            answered = gathered.result()
    click.echo(f"{answered} answers of {ANSWERS:,} choices, {crowd} at a time")
    click.echo(f"memory of the server: {memory.before / 1e6:.0f} MB before, {memory.most / 1e6:.0f} MB at most")
    click.echo(f"other requests, alone:     {_latencies(alone)}")
    click.echo(f"other requests, meanwhile: {_latencies(meanwhile)}")


def _conversations() -> Iterator[dict[str, object]]:
    for number in range(ANSWERS):
        yield _conversation(number, "continue", f"part {number} ".ljust(CHARACTERS, "x"))
    for number in range(OTHERS):
        yield _conversation(ANSWERS + number, f"ask {number}", f"answer {number}")


def _conversation(number: int, asked: str, answer: str) -> dict[str, object]:
    messages = [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    return {"id": str(number), "conversations": messages}


def _asked(text: str) -> dict[str, object]:
    return {"messages": [{"from": "human", "value": text}]}


def _crowd(port: int, size: int, seconds: float) -> int:
    """Ask again and again from many clients; return the number of answers. Raises ValueError if one lacks a choice."""
    return uvloop.run(_ask_together(port, size, time.monotonic() + seconds))


async def _ask_together(port: int, size: int, until: float) -> int:
    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = 0
        while time.monotonic() < until:
            writer.write(post(PATH, _asked("continue")))
            received = sum([len(chunk) async for chunk in _chunks(reader)])
            if received < ANSWERS * CHARACTERS:
                raise ValueError(f"an answer has only {received} bytes")
            answers += 1
        writer.close()
        return answers

    return sum(await asyncio.gather(*(ask() for _ in range(size))))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The body of an answer that comes in chunks (RFC 9112, 7.1)."""
    while await reader.readline() != b"\r\n":
        pass
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


class _Memory:
    """The memory of a process, sampled again and again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self.most = resident_bytes(pid)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, resident_bytes(self._pid))


def _latencies(outcome: Outcome) -> str:
    p50, p99, most = (outcome.percentile(percent) * 1000 for percent in (50, 99, 100))
    return (
        f"{len(outcome.latencies):,}, of them {outcome.wrong} not 200; p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f} ms"
    )


if __name__ == "__main__":
    main()
