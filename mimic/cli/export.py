"""The command ``mimic export``: from a corpus to a file of conversations."""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, get_args

import click
import msgspec

from mimic.cli.configuration import STORE_HELP, read_settings
from mimic.corpus.export import FORMATS, ExportFormat
from mimic.corpus.manifest import ExitCode
from mimic.corpus.stores import open_store
from mimic.corpus.whole import conversations_of
from mimic.errors import StoreError
from mimic.settings import Settings


@click.command()
@click.option("--store", metavar="STORE", help=f"The store of the corpus. {STORE_HELP}")
@click.option(
    "--format",
    "name",
    type=click.Choice(get_args(ExportFormat)),
    default="sharegpt",
    show_default=True,
    help="A JSON array for ShareGPT; JSON Lines for OpenAI's fine-tuning.",
)
@click.option("--without-ids", is_flag=True, help="Leave out the ids of conversations.")
@click.pass_context
def export(context: click.Context, store: str | None, name: ExportFormat, without_ids: bool) -> None:
    """Write the corpus to standard output.

    mimic seed reads both formats. Senders and ids of the ShareGPT format are those that were seeded; the OpenAI format
    has roles instead of senders.

    Exit codes: 0 done, 1 standard output closed, 2 wrong usage, 3 unusable store or nothing seeded.
    """
    settings = read_settings(_warn, store=store)
    context.exit(asyncio.run(_export(settings, name, sys.stdout.buffer, with_ids=not without_ids)))


async def _export(settings: Settings, name: ExportFormat, output: BinaryIO, *, with_ids: bool) -> ExitCode:
    opening, separator, closing = (b"[\n", b",\n", b"\n]\n") if name == "sharegpt" else (b"", b"\n", b"\n")
    try:
        async with (
            open_store(settings.store, settings.mongo_driver) as store,
            aclosing(conversations_of(store)) as conversations,
        ):
            async for conversation in conversations:
                element = FORMATS[name](conversation)
                if conversation.id is None or not with_ids:
                    del element["id"]
                output.write(opening + msgspec.json.encode(element))
                opening = separator
            output.write(closing)
            output.flush()
    except StoreError as exc:
        click.echo(f"Error: {exc}", err=True)
        return ExitCode.STORE_UNREACHABLE
    except OSError as exc:  # its reader is gone, or the disk is full
        _discard(output)
        click.echo(f"Error: cannot write: {exc.strerror}", err=True)
        return ExitCode.BAD_INPUT
    return ExitCode.DONE


def _discard(output: BinaryIO) -> None:
    """Discard the rest of the buffer of an output that cannot be written."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), output.fileno())


def _warn(text: str) -> None:
    click.echo(f"Warning: {text}", err=True)
