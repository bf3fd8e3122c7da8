"""The terminal output of a seeding: its progress on standard error, its report on standard output."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from mimic.corpus.manifest import Progress, Report
from mimic.corpus.profile import Profile
from mimic_seed.formats import SHAPES

SECONDS_BETWEEN_LINES = 5.0
NAMED_SENDERS = 10
"""Unreachable senders that the report names."""


def say(text: str) -> None:
    """Print a line on standard error. Prints nothing if the reader is gone: the exit code also shows the result."""
    try:
        click.echo(text, err=True)
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:  # also for the rest of the buffer
            os.dup2(nowhere.fileno(), sys.stderr.fileno())


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show the progress: a bar on a terminal, otherwise a line every few seconds, or nothing if ``quiet``."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


def show_report(report: Report) -> None:
    """Print the time, size and skipped conversations of a seeding. An unreadable standard output is no error."""
    if isinstance(sys.stdout, TextIOWrapper):  # None if standard output was closed
        sys.stdout.reconfigure(errors="backslashreplace")
        with suppress(OSError, SystemExit):  # rich exits if the reader is gone
            _print_report(report)


def _print_report(report: Report) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    source = report.source
    console.print(
        f"Seeded {report.conversations:,} conversations, {report.messages:,} messages from {source.name} "
        f"({decimal(source.bytes)}) in {report.seconds:.1f} s; peak memory {decimal(report.peak_memory_bytes)}",
        markup=False,
    )
    if len(report.sources) > 1:
        for origin in report.sources:
            console.print(f"  {origin.name} ({decimal(origin.bytes)}), SHA-256 {origin.sha256}", markup=False)
    console.print(_versions(report))
    if report.joined:
        console.print(f"Joined {report.joined:,} parts of chats to the parts before them")
    if index := report.index:
        console.print(
            f"Index of {index.messages:,} messages down to the rung {index.depth}: {index.seconds:.1f} s, "
            f"{decimal(index.bytes)}"
        )
        if index.vectors:
            console.print(f"Vectors of {index.vectors:,} different texts of users: {index.vector_seconds:.1f} s")
    _print_skipped(console, report)
    if report.left_out:
        counts = ", ".join(f"{count:,} {name}" for name, count in report.left_out.items())
        console.print(f"Left out, since a corpus has texts only: {counts}", markup=False, soft_wrap=True)
    if report.duplicate_ids:
        console.print(f"Kept {report.duplicate_ids:,} conversations with the id of an earlier one")
    if report.profile and report.profile.unreachable_messages:
        _print_unreachable(console, report.profile)
    if report.unusable_ids:
        console.print(f"Kept {report.unusable_ids:,} conversations without their ids, which are no strings or numbers")


def _print_skipped(console: Console, report: Report) -> None:
    if not report.skipped:
        return
    console.print(f"Skipped {sum(report.skipped.values()):,} conversations:")
    for reason, count in report.skipped.items():
        console.print(f"  {count:,} {reason}", markup=False)
    console.print("Examples:")
    for skipped in report.examples:
        console.print(f"  {skipped}", markup=False, soft_wrap=True)
    console.print(f"Understood are: {SHAPES}.", markup=False, soft_wrap=True)


def _print_unreachable(console: Console, profile: Profile) -> None:
    """Print the senders that have no role in a chat. Names are quoted: they may contain any character."""
    unknown = [sender for sender in profile.senders if sender.role is None]
    names = ", ".join(f"{sender.sender!r} {sender.messages:,}" for sender in unknown[:NAMED_SENDERS])
    others = profile.unreachable_messages - sum(sender.messages for sender in unknown[:NAMED_SENDERS])
    console.print(
        f"Chats cannot find {profile.unreachable_messages:,} messages, because their senders have no role in a chat: "
        f"{names or 'others'}{f', others {others:,}' if names and others else ''}. "
        "Chats get them as answers only; POST /conversation/completion finds them.",
        markup=False,
        soft_wrap=True,
    )


def _versions(report: Report) -> Table:
    table = Table()
    table.add_column("version")
    for heading in ("documents", "seconds", "MB/s", "index s", "data", "on disk", "index"):
        table.add_column(heading, justify="right")
    for version, cost in report.versions.items():
        table.add_row(
            version,
            f"{cost.documents:,}",
            f"{cost.seconds:.2f}",
            f"{cost.megabytes_per_second:.1f}",
            f"{cost.index_seconds:.2f}",
            *(decimal(size) for size in (cost.size.data_bytes, cost.size.disk_bytes, cost.size.index_bytes)),
        )
    return table


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"))
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=None, amount="")
        shown_phase = ""

        def show(progress: Progress) -> None:
            nonlocal shown_phase
            counts_texts = progress.phase == "embedding"
            if counts_texts and shown_phase != progress.phase:
                bar.reset(task)  # the time that remains is that of the texts
            shown_phase = progress.phase
            bar.update(
                task,
                description=progress.phase,
                completed=progress.texts if counts_texts else progress.bytes,
                total=progress.total_texts if counts_texts else progress.total_bytes,
                amount=_amount(progress),
            )

        yield show


def _lines() -> Callable[[Progress], None]:
    shown_at = 0.0
    shown_phase = ""

    def show(progress: Progress) -> None:
        nonlocal shown_at, shown_phase
        now = time.monotonic()
        if progress.phase == shown_phase and now < shown_at + SECONDS_BETWEEN_LINES:
            return
        shown_at, shown_phase = now, progress.phase
        say(f"{progress.phase}: {_amount(progress)}{_remaining(progress)}")

    return show


def _amount(progress: Progress) -> str:
    """The work that is done, all of it, and the rate."""
    if progress.phase == "embedding":
        return f"{progress.texts:,} of {progress.total_texts:,} texts, {progress.texts_per_second:,.0f} texts/s"
    of = f" of {decimal(progress.total_bytes)}" if progress.total_bytes else ""
    return f"{decimal(progress.bytes)}{of}, {progress.messages:,} messages, {_rate(progress):,.0f} messages/s"


def _remaining(progress: Progress) -> str:
    """The time until all texts have a vector; empty in other phases."""
    if progress.phase != "embedding" or not progress.texts_per_second:
        return ""
    return f", {timedelta(seconds=round((progress.total_texts - progress.texts) / progress.texts_per_second))} left"


def _rate(progress: Progress) -> float:
    return progress.messages / progress.seconds if progress.seconds else 0.0
