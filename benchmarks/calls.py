"""The cost of a request inside the server: calls of Python functions, which are exact, and processor time.

    mimic seed dump.json --store sqlite:///mimic.db
    python -m benchmarks.calls dump.json --store sqlite:///mimic.db

The application is called in this process, without a network: one request after another, after a first round that does
not count. Uvicorn and the parsing of HTTP are left out. Processor time is the least of the rounds. On a busy machine
calls are more reliable than times; measure two versions in turn.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from benchmarks.hot import bodies, drawn
from benchmarks.support.load import HEAD_END
from mimic.app import from_environment

OK: Final = 200
Request = tuple[dict[str, Any], bytes]
"""The scope of a request, and its body."""


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--store", required=True, help="A store that holds the dump.")
@click.option("--versions", default="v2,v3", show_default=True)
@click.option("--routes", default="completion,chat,stream", show_default=True)
@click.option("--prompts", default=2_000, show_default=True)
@click.option("--rounds", default=9, show_default=True)
def main(dump: Path, store: str, versions: str, routes: str, prompts: int, rounds: int) -> None:
    """Show the calls and the microseconds of a request to each route."""
    os.environ["MIMIC_STORE"] = store
    pairs = asyncio.run(drawn(dump, prompts))
    asked = {
        f"{route} {version}": bodies(route, version, pairs)
        for route in routes.split(",")
        for version in versions.split(",")
    }
    click.echo("| request | calls | µs |\n|---|---|---|")
    asyncio.run(_measure(asked, rounds))


async def _measure(asked: Mapping[str, Sequence[bytes]], rounds: int) -> None:
    app = from_environment()
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan"}, events.get, told.put))  # type: ignore[arg-type] # all that is looked at
    await _step(events, told, "startup")
    for name, requests in asked.items():
        await _ask(app, requests)
        calls = await _count(app, list(islice(cycle(requests), 200)))
        seconds = min([await _ask(app, requests) for _ in range(rounds)])
        click.echo(f"| {name} | {calls / 200:.1f} | {seconds / len(requests) * 1e6:.1f} |")
    await _step(events, told, "shutdown")
    await lifespan


async def _step(events: "asyncio.Queue[dict[str, Any]]", told: "asyncio.Queue[dict[str, Any]]", name: str) -> None:
    await events.put({"type": f"lifespan.{name}"})
    event = await told.get()
    if event["type"] != f"lifespan.{name}.complete":
        raise click.ClickException(str(event))


async def _ask(app: Any, requests: Sequence[bytes]) -> float:
    """Send all requests; return the processor time in seconds."""
    parsed = list(map(_parsed, requests))
    began = time.process_time()
    for scope, body in parsed:
        await _call(app, scope, body)
    return time.process_time() - began


async def _count(app: Any, requests: Sequence[bytes]) -> int:
    """The number of calls of Python functions for all requests, without those of this module."""
    parsed, calls = list(map(_parsed, requests)), 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename != __file__

    sys.setprofile(count)
    try:
        for scope, body in parsed:
            await _call(app, scope, body)
    finally:
        sys.setprofile(None)
    return calls


async def _call(app: Any, scope: dict[str, Any], body: bytes) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        if event.get("status", OK) != OK:
            raise click.ClickException(f"an answer was {event['status']}")

    await app(scope, receive, send)


def _parsed(request: bytes) -> Request:
    """A request in the form that a server hands to an application."""
    head, _, body = request.partition(HEAD_END)
    line, *lines = head.split(b"\r\n")
    path, _, query = line.split()[1].partition(b"?")
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    about = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "root_path": "", "state": {}}
    return {**about, "path": path.decode(), "raw_path": path, "query_string": query, "headers": headers}, body


if __name__ == "__main__":
    main()
