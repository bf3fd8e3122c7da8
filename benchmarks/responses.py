"""The price of a response: responses that are stored or not, and in the background, against chats, in one run.

    mimic seed sample --store sqlite:///mimic.db
    python -m benchmarks.responses --store sqlite:///mimic.db

One server answers the kinds of requests in turn. The table has the medians of the rounds; a ratio is that of two kinds
in the same round. On a busy machine, processor time is more reliable than answers a second.
"""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from benchmarks.support.load import Outcome, post, press
from mimic.testing.processes import ServerProcess

SAID: Final = "Write a haiku about the sea"
CHAT: Final = "chat"
KINDS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    CHAT: ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": SAID}]}),
    "response, store: false": ("/v1/responses", {"model": "m", "input": SAID, "store": False}),
    "response": ("/v1/responses", {"model": "m", "input": SAID}),
    "response, background: true": ("/v1/responses", {"model": "m", "input": SAID, "background": True}),
}
"""The kinds of requests, with their paths and bodies."""


@click.command()
@click.option("--store", required=True, help="URL of a store with the sample corpus.")
@click.option("--records", help="URL of the records (default: a file in a temporary folder).")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of a round of each kind.")
@click.option("--connections", default=32, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result to this file.")
def measure(store: str, records: str | None, rounds: int, seconds: float, connections: int, file: Path | None) -> None:
    """Print answers a second of each kind."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in KINDS}
    costs: dict[str, list[float]] = {name: [] for name in KINDS}
    with TemporaryDirectory() as folder:
        environment = {"MIMIC_STORE": store, "MIMIC_RECORDS": records or f"sqlite:///{folder}/records.db"}
        with ServerProcess(Path(folder), environment) as server:
            for _ in range(rounds):
                for name, (path, body) in KINDS.items():
                    before = _processor_seconds(server.process.pid)
                    outcome = press(server.port, repeat(post(path, body)), connections, seconds)
                    outcomes[name].append(outcome)
                    costs[name].append((_processor_seconds(server.process.pid) - before) / len(outcome.latencies))
    rates = {name: [outcome.rate for outcome in found] for name, found in outcomes.items()}
    click.echo("| request | answers/s | of chats | processor µs | of chats | errors |\n|---|---|---|---|---|---|")
    rows = {}
    for name, found in outcomes.items():
        speed, of_speed = median(rates[name]), _of_chats(rates[name], rates[CHAT])
        cost, of_cost = median(costs[name]) * 1e6, _of_chats(costs[name], costs[CHAT])
        errors = sum(one.wrong for one in found)
        rows[name] = (speed, of_speed, cost, of_cost, errors)
        click.echo(f"| {name} | {speed:,.0f} | {of_speed:.2f} | {cost:.0f} | {of_cost:.2f} | {errors} |")
    if file:
        file.write_text(json.dumps(rows, indent=1) + "\n")


def _of_chats(values: Sequence[float], of_chats: Sequence[float]) -> float:
    """The median ratio of two kinds in the same round."""
    return median(one / chat for one, chat in zip(values, of_chats, strict=True))


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    measure()
