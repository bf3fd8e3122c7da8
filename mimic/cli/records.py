"""The commands ``mimic records list`` and ``mimic records clear``: stored objects that outlive their request."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import click

from mimic.cli.configuration import STORE_HELP, read_settings
from mimic.errors import StoreError
from mimic.records import open_records
from mimic.records.base import KindSizes, Record, Records

T = TypeVar("T")

_PLACE_HELP: Final = "The store of the records, if they are not beside the corpus. [MIMIC_RECORDS]"


@click.group()
def records() -> None:
    """Show or delete stored objects, such as responses and files."""


@records.command("list")
@click.option("--store", metavar="STORE", help=f"The store of the corpus. {STORE_HELP}")
@click.option("--records", "place", metavar="STORE", help=_PLACE_HELP)
@click.option("--kind", metavar="KIND", help="Show the records of one kind only.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(0, 1000),
    metavar="NUMBER",
    help="The most records to show.",
)
def list_records(store: str | None, place: str | None, kind: str | None, limit: int) -> None:
    """Show the sizes of all kinds, and the newest records.

    Exit codes: 0 done, 2 wrong usage, 3 unusable store.
    """

    async def read(opened: Records) -> tuple[Mapping[str, KindSizes], Sequence[Record]]:
        return await opened.sizes(), await opened.browse(kind, limit)

    sizes, newest = _run(store, place, read)
    if not sizes:
        click.echo("Nothing is stored.")
        return
    _print_table(
        ("kind", "records", "jobs", "bytes", "oldest"),
        [
            (name, f"{one.records:,}", f"{one.jobs:,}", f"{one.bytes:,}", _format_time(one.oldest))
            for name, one in sizes.items()
        ],
    )
    if newest:
        click.echo()
        _print_table(
            ("kind", "id", "state", "created", "expires"),
            [
                (one.kind, one.id, one.state or "-", _format_time(one.created), _format_time(one.expires))
                for one in newest
            ],
        )


@records.command("clear")
@click.option("--store", metavar="STORE", help=f"The store of the corpus. {STORE_HELP}")
@click.option("--records", "place", metavar="STORE", help=_PLACE_HELP)
@click.option("--kind", metavar="KIND", help="Delete the records of one kind only.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear_records(store: str | None, place: str | None, kind: str | None, yes: bool) -> None:
    """Delete all records, also of unfinished work. The corpus stays.

    Exit codes: 0 done, 1 not confirmed, 2 wrong usage, 3 unusable store.
    """
    if not yes:
        click.confirm(f"Delete all records{f' of the kind {kind}' if kind else ''}?", abort=True)
    removed = _run(store, place, lambda opened: opened.clear(kind))
    click.echo(f"Deleted {removed:,} records.")


def _run(store: str | None, place: str | None, work: Callable[[Records], Awaitable[T]]) -> T:
    """Open the records of the settings and work on them. Ends the program if the store fails."""
    settings = read_settings(lambda text: click.echo(f"Warning: {text}", err=True), store=store, records=place)

    async def opened() -> T:
        async with open_records(settings.records, settings.store, settings.record_options) as found:
            return await work(found)

    try:
        return asyncio.run(opened())
    except StoreError as exc:
        click.echo(f"Error: {exc}", err=True)
        raise SystemExit(3) from None


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _format_time(moment: float | None) -> str:
    return "never" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"
