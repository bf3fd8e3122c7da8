"""Many streams at once through a Mimic that passes them on, against the same streams without it.

    python -m benchmarks.relay [--streams 1000] [--tokens 100] [--between 50] [--record off|new]

Another Mimic stands for the real service. Each request has a text of its own, so none is answered by a recording.
"""

import asyncio
import json
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import click
import uvloop

from benchmarks.support.load import post
from benchmarks.support.servers import Server, seed, serving
from mimic.testing.processes import resident_bytes

PATH: Final = "/v1/chat/completions"
END: Final = b"data: [DONE]"


class Times(NamedTuple):
    """Seconds from the request to the first byte and to the end of one stream."""

    first: float
    last: float


@click.command()
@click.option("--streams", default=1000, show_default=True, help="Streams at the same time.")
@click.option("--tokens", default=100, show_default=True, help="Tokens of an answer.")
@click.option("--between", default=50, show_default=True, help="Milliseconds between two tokens.")
@click.option("--record", default="new", show_default=True, type=click.Choice(["off", "new"]))
def main(streams: int, tokens: int, between: int, record: str) -> None:
    """Show the times of both, the difference, and the memory of the Mimic in between."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        dump = folder / "dump.json"
        said = [{"from": "human", "value": "continue"}, {"from": "gpt", "value": "word " * tokens}]
        dump.write_text(json.dumps([{"id": "1", "conversations": said}]))
        store = f"sqlite:///{folder}/corpus.db"
        seed(dump, store, "v3", folder)
        pace = {"MIMIC_ITL_MS": str(between), "MIMIC_TTFT_MS": "200", "MIMIC_ON_MISS": "word " * tokens}
        service = stack.enter_context(serving(store, "v3", folder, 1, **pace))
        passing = {
            "MIMIC_UPSTREAM": f"{service.url}/v1",
            "MIMIC_ON_MISS": "upstream",
            "MIMIC_MATCH": "recorded",
            "MIMIC_RECORD": record,
            "MIMIC_RECORDINGS": str(folder / "kept"),
        }
        relay = stack.enter_context(serving(f"sqlite:///{folder}/none.db", "v3", folder, 1, **passing))
        before, spent = resident_bytes(relay.pid), _cpu_seconds(relay)
        for name, url in (("direct", service.url), ("through the relay", relay.url)):
            times = uvloop.run(_all_streams(urlsplit(url).port or 0, streams, name))
            first, last = ([one[index] for one in times] for index in (0, 1))
            click.echo(f"{name}: first byte {_shown(first)}, end {_shown(last)}")
        grown = resident_bytes(relay.pid) - before
        click.echo(f"memory of the relay: {before / 1e6:.0f} MB, {grown / 1e6:+.0f} MB for {streams:,} streams")
        cost = (_cpu_seconds(relay) - spent) / streams
        click.echo(f"processor time of the relay: {cost * 1000:.1f} ms a stream")


def _cpu_seconds(server: Server) -> float:
    """The processor time of a server's process so far."""
    return server.metrics()[str(server.pid)]["process_cpu_seconds_total"]


async def _all_streams(port: int, number: int, name: str) -> list[Times]:
    return list(await asyncio.gather(*(_stream(port, f"{name} {one}") for one in range(number))))


async def _stream(port: int, text: str) -> Times:
    """Read one stream to its end. Raises ValueError if it has none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(post(PATH, {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}))
    received = await reader.read(1)
    first = time.perf_counter() - began
    while END not in received[-100:]:
        piece = await reader.read(65536)
        if not piece:
            raise ValueError(f"a stream has no end: {received[-200:]!r}")
        received += piece
    writer.close()
    return Times(first, time.perf_counter() - began)


def _shown(seconds: list[float]) -> str:
    return f"p50 {median(seconds):.2f} s, p99 {quantiles(seconds, n=100)[-1]:.2f} s"


if __name__ == "__main__":
    main()
