"""Open many slow streams at once; compare the pace delivered with the pace asked for, and show the server's memory.

    mimic seed --sample && mimic serve &
    python -m benchmarks.pace [--url http://127.0.0.1:8000] [--streams 10000] [--ttft 2000/500] [--itl 1000/300]

Streams begin one after the other over ``--ramp`` seconds. Linux only; the limit of open files must be high enough.
"""

import asyncio
import json
import time
from itertools import pairwise
from statistics import fmean, stdev
from urllib.parse import urlsplit

import click
import uvloop

from mimic.gateway.pacing import Delay, parse_delay
from mimic.testing.processes import resident_bytes

TOKEN = b'"delta":{"content":'


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True)
@click.option("--streams", default=10_000, show_default=True)
@click.option("--ttft", default="2000/500", show_default=True)
@click.option("--itl", default="1000/300", show_default=True)
@click.option("--ramp", default=20.0, show_default=True)
@click.option("--message", default="Why is the sky blue?", show_default=True)
@click.option("--tokens", default=20, show_default=True)
@click.option("--pid", type=int, help="Process of the server, to show its memory.")
def main(url: str, streams: int, ttft: str, itl: str, ramp: float, message: str, tokens: int, pid: int | None) -> None:
    """Open the streams and compare."""
    body = {"model": "mimic-v3", "messages": [{"role": "user", "content": message}], "stream": True}
    request = _request(urlsplit(url).netloc, json.dumps({**body, "max_tokens": tokens}), ttft, itl)
    before = resident_bytes(pid) if pid else 0
    arrivals, most = uvloop.run(
        _run(urlsplit(url).hostname or "", urlsplit(url).port or 80, request, streams, ramp, pid)
    )
    first = [moments[1] - moments[0] for moments in arrivals]
    between = [later - earlier for moments in arrivals for earlier, later in pairwise(moments[1:])]
    _show("to the first token", first, parse_delay(ttft))
    _show("between tokens", between, parse_delay(itl))
    click.echo(f"{len(arrivals):,} streams, {sum(map(len, arrivals)) - len(arrivals):,} tokens")
    if pid:
        click.echo(f"memory of the server: {before / 1e6:.0f} MB before, {most / 1e6:.0f} MB at most")


async def _run(
    host: str, port: int, request: bytes, streams: int, ramp: float, pid: int | None
) -> tuple[list[list[float]], int]:
    async def later(number: int) -> list[float]:
        await asyncio.sleep(ramp * number / streams)
        return await _stream(host, port, request)

    tasks = [asyncio.create_task(later(number)) for number in range(streams)]
    most = 0
    while not all(task.done() for task in tasks):
        most = max(most, resident_bytes(pid) if pid else 0)
        await asyncio.sleep(1)
    return [await task for task in tasks], most


async def _stream(host: str, port: int, request: bytes) -> list[float]:
    """The times of the request and of each token."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    moments = [time.perf_counter()]
    while b"[DONE]" not in (data := await reader.read(65536)):
        if not data:
            raise ConnectionError("a stream ended before its end")
        moments += [time.perf_counter()] * data.count(TOKEN)
    moments += [time.perf_counter()] * data.count(TOKEN)
    writer.close()
    return moments


def _request(host: str, body: str, ttft: str, itl: str) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    pace = f"x-mimic-ttft-ms: {ttft}\r\nx-mimic-itl-ms: {itl}\r\n"
    return f"{head}{pace}content-length: {len(body)}\r\n\r\n{body}".encode()


def _show(what: str, seconds: list[float], asked: Delay) -> None:
    mean, spread = fmean(seconds) * 1000, stdev(seconds) * 1000
    error = (mean / asked.mean - 1) * 100
    click.echo(
        f"{what}: {mean:.1f} ms, spread {spread:.1f}; asked {asked.mean:g}/{asked.spread:g}; error {error:+.1f}%"
    )


if __name__ == "__main__":
    main()
