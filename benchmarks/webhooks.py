"""The rate of webhooks: responses in the background, until a receiver has all of their events.

    mimic seed --sample --store sqlite:///mimic.db
    python -m benchmarks.webhooks --store sqlite:///mimic.db

With ``--kills``, worker processes are killed meanwhile. Every answered request must still have its event.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import msgspec

from mimic.testing.processes import ServerProcess
from mimic.wire.openai.webhook_secrets import new_secret
from mimic.wire.openai.webhooks import WebhookEvent

BODY: Final = msgspec.json.encode({"model": "m", "input": "Write a haiku about the sea", "background": True})
CLIENTS: Final = 16
SECONDS: Final = 300
"""Seconds until the events of a run must have arrived."""


class Sink:
    """A receiver that acknowledges every event, and counts them by their responses."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on a free port of loopback."""
        async with await asyncio.start_server(self._receive, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            yield

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            event = msgspec.json.decode(await reader.readexactly(length), type=WebhookEvent)
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            self.events[event.data.id] += 1
        writer.close()


def _ask(port: int) -> str:
    """The id of a new response. Asks again if the server ends before its answer."""
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/v1/responses", BODY, {"content-type": "application/json"})
            return str(msgspec.json.decode(connection.getresponse().read())["id"])
        except (OSError, HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()


async def _kill_workers(parent: int, sink: Sink, number: int, kills: int) -> None:
    """Kill the oldest worker of a server some times, each after another part of the events has arrived."""
    for kill in range(1, kills + 1):
        while len(sink.events) < number * kill / (kills + 1):
            await asyncio.sleep(0.01)
        os.kill(_workers_of(parent)[0], signal.SIGKILL)


def _workers_of(parent: int) -> list[int]:
    """The worker processes of a server, the oldest first."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(one) for one in children if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text()]


async def _run(environment: Mapping[str, str], folder: Path, number: int, kills: int) -> dict[str, Any]:
    sink = Sink()
    async with sink.listening():
        settings = {"MIMIC_WEBHOOKS": sink.url, "MIMIC_WEBHOOK_SECRET": new_secret()}
        with ServerProcess(folder, {**environment, **settings}) as server:
            killer = asyncio.create_task(_kill_workers(server.process.pid, sink, number, kills))
            places = asyncio.Semaphore(CLIENTS)

            async def ask() -> str:
                async with places:
                    return await asyncio.to_thread(_ask, server.port)

            began = time.monotonic()
            asked = await asyncio.gather(*(ask() for _ in range(number)))
            accepted = time.monotonic()
            async with asyncio.timeout(SECONDS):
                while not sink.events.keys() >= set(asked):
                    await asyncio.sleep(0.05)
            ended = time.monotonic()
            await killer
    return {
        "responses": number,
        "responses/s": round(number / (accepted - began)),
        "events/s": round(number / (ended - began)),
        "s after the last request": round(ended - accepted, 1),
        "lost": len(set(asked) - sink.events.keys()),
        "repeated": sum(count > 1 for count in sink.events.values()),
        "kills": kills,
    }


@click.command()
@click.option("--store", required=True, help="URL of a store with the sample corpus.")
@click.option("--records", help="URL of the records (default: a file in a temporary folder).")
@click.option("--number", default=1_000, show_default=True, help="Responses in the background.")
@click.option("--workers", default=1, show_default=True)
@click.option("--kills", default=0, show_default=True, help="Worker processes that are killed meanwhile.")
def measure(store: str, records: str | None, number: int, workers: int, kills: int) -> None:
    """Print the rates, and the number of lost and repeated events."""
    with TemporaryDirectory() as folder:
        environment = {
            "PATH": os.environ["PATH"],
            "MIMIC_STORE": store,
            "MIMIC_RECORDS": records or f"sqlite:///{folder}/records.db",
            "MIMIC_WORKERS": str(workers),
        }
        figures = asyncio.run(_run(environment, Path(folder), number, kills))
    for name, value in figures.items():
        click.echo(f"{name}: {value:,}")


if __name__ == "__main__":
    measure()
