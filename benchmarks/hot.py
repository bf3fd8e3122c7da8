"""The distance of the server from its limit: Mimic against a bare ASGI callable under the same server, in one run.

    mimic seed dump.json --store sqlite:///mimic.db
    python -m benchmarks.hot dump.json --store sqlite:///mimic.db [--store mongodb://127.0.0.1:27017/mimic]

Seeds nothing: each store must hold the dump. The server has one processor core, the load generator has the others. Each
prompt is another message of the dump, asked once before the measurement. The servers take turns, one round each. The
table has the median of the rounds and, for ratios, the range. Latencies at half load are measured at half of that rate.
With ``--workers``, several processes without a core of their own are compared with a single one. The load generator
then shares the same cores.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import msgspec

from benchmarks.support.bare import URL_VARIABLE
from benchmarks.support.load import Outcome, post, press
from mimic.corpus.conversation import Conversation, Message
from mimic.testing import free_port
from mimic_seed.reader import DumpReader
from mimic_seed.source import Source

SECONDS_TO_START: Final = 30
BARE: Final = "bare ASGI callable"
FINDING: Final = "one find a request"
ROLES: Final = {"human": "user", "user": "user"}

Pair = tuple[Message, Message]


class Contestant(msgspec.Struct):
    """A server, its requests, and its results in each round."""

    name: str
    port: int
    requests: Iterator[bytes]
    rounds: list[Outcome] = msgspec.field(default_factory=list)
    half: Outcome | None = None

    @property
    def rate(self) -> float:
        """The median of the rounds, in answers a second."""
        return median(outcome.rate for outcome in self.rounds)


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--store", "stores", multiple=True, required=True, help="A store that holds the dump; may be repeated.")
@click.option("--versions", default="v2,v3", show_default=True)
@click.option("--routes", default="completion,chat,stream", show_default=True)
@click.option("--connections", default=32, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of one round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--prompts", default=10_000, show_default=True)
@click.option(
    "--workers", default=0, help="Compare this number of processes with one, instead of one with the bare callable."
)
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the figures to a file.")
def main(
    dump: Path,
    stores: Sequence[str],
    versions: str,
    routes: str,
    connections: int,
    seconds: float,
    rounds: int,
    prompts: int,
    workers: int,
    as_json: Path | None,
) -> None:
    """Show answers per second, and their ratio to the bare callable."""
    pairs = asyncio.run(drawn(dump, prompts))
    with ExitStack() as stack:
        plain = bodies("completion", "v2", pairs)
        contestants: list[Contestant] = []
        if not workers:
            contestants.append(Contestant(BARE, stack.enter_context(bare("constant", {})), cycle(plain)))
        for store in stores:
            kind = "mongodb" if store.startswith(("mongodb://", "mongodb+srv://")) else "sqlite"
            if kind == "mongodb" and not workers:
                port = stack.enter_context(bare("finding", {URL_VARIABLE: store}))
                contestants.append(Contestant(FINDING, port, cycle(plain)))
            for processes in (1, workers) if workers else (0,):
                port = stack.enter_context(mimic(store, processes))
                suffix = f", {processes} workers" if processes else ""
                contestants += [
                    Contestant(f"{kind} {route} {version}{suffix}", port, cycle(bodies(route, version, pairs)))
                    for route in routes.split(",")
                    for version in versions.split(",")
                ]
        if not workers:
            os.sched_setaffinity(0, os.sched_getaffinity(0) - {server_core()} or {server_core()})
        compete(contestants, connections, seconds, rounds, len(pairs), asleep=workers > 0)
    show(contestants)
    if as_json:
        as_json.write_text(json.dumps(figures(contestants), indent=2))


async def drawn(dump: Path, most: int) -> list[Pair]:
    """Messages of users with a message after them, each with the one before it; drawn with a fixed seed, each once."""
    reader, chance = DumpReader(), random.Random(1)  # noqa: S311 - to be repeated
    seen: set[str] = set()
    kept: list[Pair] = []
    async with Source(str(dump)) as source:
        async for chunk in source.chunks():
            for conversation in reader.feed(chunk):
                if not isinstance(conversation, Conversation):
                    continue
                for pair in _pairs(conversation):
                    if pair[1].value in seen:
                        continue
                    seen.add(pair[1].value)
                    place = len(kept) if len(kept) < most else chance.randrange(len(seen))  # Vitter's algorithm R
                    kept[place : place + 1] = [pair] if place < most else kept[place : place + 1]
    chance.shuffle(kept)
    return kept


def _pairs(conversation: Conversation) -> Iterator[Pair]:
    messages = conversation.messages
    for previous, last in pairwise(messages[:-1]):
        if last.sender in ROLES and last.value and previous.sender not in ROLES:
            yield previous, last


def bodies(route: str, version: str, pairs: Sequence[Pair]) -> list[bytes]:
    """The requests for some prompts: the last message, or the last two if the version looks at them."""
    asked = [pair[-2:] if version == "v3" else pair[-1:] for pair in pairs]
    if route == "completion":
        return [post(f"/conversation/completion?version={version}", {"messages": messages}) for messages in asked]
    made = []
    for messages in asked:
        chat = [{"role": ROLES.get(one.sender, "assistant"), "content": one.value} for one in messages]
        if route == "response":
            made.append(post("/v1/responses", {"model": f"mimic-{version}", "input": chat, "store": False}))
            continue
        body = {"model": f"mimic-{version}", "messages": chat}
        made.append(post("/v1/chat/completions", {**body, "stream": True} if route == "stream" else body))
    return made


def bare(name: str, environment: Mapping[str, str]) -> AbstractContextManager[int]:
    """The port of one of the servers to compare with."""
    port = free_port()
    options = (
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--no-proxy-headers",
        "--log-level",
        "error",
    )
    command = (sys.executable, "-m", "uvicorn", f"benchmarks.support.bare:{name}", "--port", str(port), *options)
    return serving(command, port, environment)


def mimic(store: str, workers: int = 0) -> AbstractContextManager[int]:
    """The port of Mimic as its users start it. Without a number of workers it is one process with a core of its own."""
    port = free_port()
    command = (sys.executable, "-m", "mimic", "serve", "--store", store, "--port", str(port))
    return serving((*command, "--workers", str(workers or 1)), port, {}, pinned=not workers)


@contextmanager
def serving(command: Sequence[str], port: int, environment: Mapping[str, str], *, pinned: bool = True) -> Iterator[int]:
    """A server in a process of its own, on one core if it is ``pinned``."""
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        if pinned:
            os.sched_setaffinity(process.pid, {server_core()})
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()


def server_core() -> int:
    """The core for servers."""
    return min(os.sched_getaffinity(os.getppid()))


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < until:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/ready")
            connection.getresponse().read()
        except (OSError, HTTPException):
            time.sleep(0.05)
        else:
            return
    raise click.ClickException(f"a server did not start: {process.args!r}")


def compete(
    contestants: Sequence[Contestant], connections: int, seconds: float, rounds: int, prompts: int, *, asleep: bool
) -> None:
    """Rounds of load for each in turn, after as many requests as there are prompts; then one at half of the rate."""

    def pressed(contestant: Contestant, seconds: float, rate: float = 0.0) -> Outcome:
        outcome = press(contestant.port, contestant.requests, connections, seconds, rate, asleep=asleep)
        if outcome.wrong:
            raise click.ClickException(f"{contestant.name}: {outcome.wrong} answers were not 200")
        return outcome

    for contestant in contestants:
        asked = 0
        while asked < prompts:
            asked += len(pressed(contestant, 0.2).latencies)
    click.echo("warm", err=True)
    for number in range(1, rounds + 1):
        for contestant in contestants:
            contestant.rounds.append(pressed(contestant, seconds))
        click.echo(f"round {number} of {rounds}", err=True)
    for contestant in contestants:
        contestant.half = pressed(contestant, seconds, contestant.rate / 2)


def figures(contestants: Sequence[Contestant]) -> list[dict[str, Any]]:
    """The median of the rounds of each contestant, and its ratios to the contestants that it is compared with."""
    found = []
    for contestant in contestants:
        ratios = [mine.rate / bare.rate for mine, bare in zip(contestant.rounds, contestants[0].rounds, strict=True)]
        half = contestant.half or contestant.rounds[-1]
        found.append(
            {
                "name": contestant.name,
                "rate": contestant.rate,
                "ratio": median(ratios),
                "least_ratio": min(ratios),
                "most_ratio": max(ratios),
                "p50_ms": median(one.percentile(50) for one in contestant.rounds) * 1000,
                "p99_ms": median(one.percentile(99) for one in contestant.rounds) * 1000,
                "half_p50_ms": half.percentile(50) * 1000,
                "half_p99_ms": half.percentile(99) * 1000,
            }
        )
    return found


def show(contestants: Sequence[Contestant]) -> None:
    """The figures as a table in Markdown."""
    click.echo(f"| server | answers/s | of {contestants[0].name} | p50, p99 ms | at half load |\n|---|---|---|---|---|")
    for row in figures(contestants):
        click.echo(
            "| {name} | {rate:,.0f} | {ratio:.3f} ({least_ratio:.3f} to {most_ratio:.3f}) "
            "| {p50_ms:.2f}, {p99_ms:.2f} | {half_p50_ms:.2f}, {half_p99_ms:.2f} |".format(**row)
        )


if __name__ == "__main__":
    main()
