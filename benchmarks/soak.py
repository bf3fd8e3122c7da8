"""A soak test: a server under half of its highest load for an hour, seeded again every few minutes.

    python -m benchmarks.soak --minutes 60 --store mongodb

Every answer is compared with the dump. Memory and open files of every worker process are sampled every few seconds.
Writes figures and a picture to ``benchmarks/results``. Ends with exit code 1 if an answer was wrong, or if
a request, a worker or a seeding failed. Growth of memory or open files beyond the limits below is a failure, too.
"""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import click

from benchmarks import questions, run
from benchmarks.questions import Question
from benchmarks.support.load import Outcome, post, press, taken_apart
from benchmarks.support.outcomes import Sample, Soak, this_machine
from benchmarks.support.report import RESULTS, write_soak
from benchmarks.support.servers import Server, seed, serving
from mimic.corpus.conversation import role_of

VERSION: Final = "v3"
CONNECTIONS: Final = 16
MOST_QUESTIONS: Final = 5000
SHARE_OF_PEAK: Final = 0.5
MOST_GROWTH: Final = 0.10
"""Limit of the growth of a worker's memory: the median of the last quarter against that of the second.

In the first quarter the worker fills its caches.
"""
FREE_GROWTH_BYTES: Final = 8_000_000
"""Growth that does not count: memory that an allocator may keep or not."""
MOST_MORE_HANDLES: Final = 8
"""Limit of the growth of a worker's open files: those of a seeding, or of a driver, during a replacement."""
LEAST_SAMPLES: Final = 3
"""Fewest samples of a quarter: a worker that changes from one corpus to the next has both open for a moment."""


@click.command()
@click.option("--store", default="sqlite", show_default=True, help="sqlite, mongodb (one is started) or mongodb://...")
@click.option("--minutes", default=60.0, show_default=True, help="Minutes of load.")
@click.option("--size", default="10MB", show_default=True, help="Size of the generated dump.")
@click.option("--workers", default=2, show_default=True)
@click.option("--reseed", default=180.0, show_default=True, help="Seconds from one seeding to the next.")
@click.option("--interval", default=5.0, show_default=True, help="Seconds from one sample to the next.")
@click.option("--data", default=run.DATA, type=click.Path(path_type=Path), help="The folder of dumps and of stores.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The folder to write to.")
def main(
    store: str, minutes: float, size: str, workers: int, reseed: float, interval: float, data: Path, results: Path
) -> None:
    """Load a server for a long time, and write the results."""
    dump = run.made(size, data)
    with TemporaryDirectory(dir=data, prefix="soak-") as name, run.stores(store, Path(name)) as urls:
        url, folder = urls[VERSION], Path(name)
        run.say("seeding")
        seed(dump, url, VERSION, folder)
        asked = Asked(questions.draw(dump, MOST_QUESTIONS))
        with serving(url, VERSION, folder, workers) as server:
            peak = _peak(server, asked, interval)
            run.say(f"{minutes:g} minutes at half of {peak:,.0f} requests/s")
            seedings = Seedings(dump, url, folder, reseed)
            with seedings:
                samples = list(_samples(server, asked, peak * SHARE_OF_PEAK, minutes * 60, interval, seedings))
        soak = Soak(
            store="sqlite" if store == "sqlite" else "mongodb",
            dump=dump.stem,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=this_machine(run.engine(url)),
            workers=workers,
            peak=peak,
            rate=peak * SHARE_OF_PEAK,
            seedings=seedings.done,
            samples=samples,
            problems=[*asked.problems, *seedings.problems, *problems_of(samples, workers)],
        )
    click.echo(write_soak(soak, results))
    sys.exit(1 if soak.problems else 0)


class Asked:
    """Questions as requests, to three routes in turn, and their expected answers."""

    def __init__(self, asked: Sequence[Question]) -> None:
        self._expected = {request: (kind, one) for one in asked for kind, request in _requests(one)}
        self.requests = cycle(list(self._expected))
        self.problems: list[str] = []

    def is_right(self, request: bytes, answer: bytes) -> bool:
        """Compare an answer with the dump."""
        kind, question = self._expected[request]
        status, body = taken_apart(answer)
        if kind == "completion":
            problem = questions.problem_with_choices(question.after_both, status, body)
        else:
            check = (
                questions.problem_with_stream
                if kind == "stream" and status == HTTPStatus.OK
                else questions.problem_with_chat
            )
            problem = check(question.texts, status, body)
        if problem and not self.problems:
            self.problems.append(f"the first wrong answer ({kind}, {question.kind}): {problem}")
        return problem is None


def _requests(question: Question) -> Iterator[tuple[str, bytes]]:
    limit = f"&limit={question.limit}" if question.limit else ""
    yield "completion", post(f"/conversation/completion?version={VERSION}{limit}", {"messages": question.both})
    messages = [{"role": role_of(message.sender), "content": message.value} for message in question.both]
    for kind in ("chat", "stream"):
        body = {"model": f"mimic-{VERSION}", "messages": messages, "stream": kind == "stream"}
        yield kind, post("/v1/chat/completions", body)


class Seedings:
    """A context manager that seeds the same dump again and again, in a thread."""

    def __init__(self, dump: Path, url: str, folder: Path, seconds: float) -> None:
        self._arguments = dump, url, VERSION, folder
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0
        self.is_running = False
        self.problems: list[str] = []

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self.is_running = True
            try:
                seed(*self._arguments)
                self.done += 1
            except click.ClickException as exc:
                self.problems.append(f"a seeding failed: {exc.message}")
            self.is_running = False


def _peak(server: Server, asked: Asked, seconds: float) -> float:
    """Answers per second of clients that never wait, until each question was asked once or a time limit is over."""
    run.say("measuring the peak")
    _press(server, asked, seconds)
    return _press(server, asked, seconds).rate


def _press(server: Server, asked: Asked, seconds: float, rate: float = 0.0) -> Outcome:
    port = urlsplit(server.url).port or 0
    return press(port, asked.requests, CONNECTIONS, seconds, rate, asleep=True, is_right=asked.is_right)


def _samples(
    server: Server, asked: Asked, rate: float, seconds: float, interval: float, seedings: Seedings
) -> Iterator[Sample]:
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        was_seeding, outcome = seedings.is_running, Outcome(interval, [], 0)
        try:
            outcome = _press(server, asked, min(interval, seconds - now), rate)
        except (OSError, TimeoutError) as exc:
            asked.problems.append(f"after {now:.0f} s: {exc!r}")
        processes: dict[str, dict[str, float]] = {}
        with suppress(OSError, ValueError):  # a figure that cannot be read counts as a problem: see problems_of
            processes = server.metrics()
        sample = Sample(
            seconds=time.monotonic() - began,
            answers=len(outcome.latencies),
            wrong=outcome.wrong,
            rate=outcome.rate,
            p50_ms=outcome.percentile(50) * 1000 if outcome.latencies else 0.0,
            p99_ms=outcome.percentile(99) * 1000 if outcome.latencies else 0.0,
            is_seeding=was_seeding or seedings.is_running,
            memory_bytes={pid: int(found["process_resident_memory_bytes"]) for pid, found in processes.items()},
            handles={pid: int(found["process_open_fds"]) for pid, found in processes.items()},
        )
        run.say(_told(sample))
        yield sample


def _told(sample: Sample) -> str:
    megabytes, handles = sum(sample.memory_bytes.values()) / 1e6, sum(sample.handles.values())
    load = f"{sample.rate:7,.0f} requests/s, p99 {sample.p99_ms:6.1f} ms, {sample.wrong} wrong"
    return f"  {sample.seconds:6.0f} s: {load}, {megabytes:.0f} MB, {handles} open files"


def problems_of(samples: Sequence[Sample], workers: int) -> list[str]:
    """The failures of a soak: wrong answers, replaced processes, and growth."""
    found = []
    if wrong := sum(sample.wrong for sample in samples):
        found.append(f"{wrong} wrong answers")
    first = set(samples[0].memory_bytes)
    if len(first) != workers or any(set(sample.memory_bytes) != first for sample in samples):
        found.append("not the same worker processes all the time")
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    for pid in first if quarter >= LEAST_SAMPLES else ():
        before, after = (median(sample.memory_bytes.get(pid, 0) for sample in some) for some in (early, late))
        if after > before * (1 + MOST_GROWTH) + FREE_GROWTH_BYTES:
            found.append(f"worker {pid} grew from {before / 1e6:.0f} to {after / 1e6:.0f} MB")
        held, holds = (median(sample.handles.get(pid, 0) for sample in some) for some in (early, late))
        if holds > held + MOST_MORE_HANDLES:
            found.append(f"worker {pid} had {held:.0f} open files, and has {holds:.0f}")
    return found


if __name__ == "__main__":
    main()
