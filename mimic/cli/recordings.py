"""The command ``mimic recordings``: show, delete, copy and promote recorded answers."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec

from mimic.cli.configuration import STORE_HELP, read_settings
from mimic.corpus.export import as_sharegpt
from mimic.errors import StoreError
from mimic.recordings.base import Recording, Recordings
from mimic.recordings.folder import FolderRecordings
from mimic.recordings.place import open_recordings
from mimic.recordings.promotion import promoted
from mimic.records import open_records

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., object])

_PLACE_HELP: Final = "A folder, or the word records. [MIMIC_RECORDINGS; default records]"
_SHOWN: Final = 50
"""Characters of a message in the list."""


def _placed(command: Command) -> Command:
    """Add the options for the place of the recordings."""
    command = click.option("--store", metavar="STORE", help=f"The store of the corpus. {STORE_HELP}")(command)
    return click.option("--recordings", "place", metavar="PLACE", help=_PLACE_HELP)(command)


@click.group()
def recordings() -> None:
    """Show, delete, export or promote recorded answers.

    They are answers of a real service, which Mimic gives again to equal requests.
    """


@recordings.command("list")
@_placed
def list_recordings(store: str | None, place: str | None) -> None:
    """Show a line for each recording.

    A line has the key, the model, the form, and the end of the chat.

    Exit codes: 0 done, 2 wrong usage, 3 unusable store.
    """
    found = _run(store, place, lambda kept: kept.all())
    if not found:
        click.echo("Nothing is recorded.")
    for one in found:
        form = f"{one.path}{' (stream)' if one.stream else ''}"
        click.echo(f"{one.key}  {one.request.get('model', '-')}  {form}  {_last_text(one)}")


@recordings.command("show")
@click.argument("key")
@_placed
def show_recording(key: str, store: str | None, place: str | None) -> None:
    """Write the recordings of a request as JSON. KEY is the beginning of a key in the list.

    Exit codes: 0 done, 1 no such recording, 2 wrong usage, 3 unusable store.
    """
    found = [one for one in _run(store, place, lambda kept: kept.all()) if one.key.startswith(key)]
    if not found:
        click.echo(f"Error: no recording has a key that begins with {key}", err=True)
        raise SystemExit(1)
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))


@recordings.command("delete")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@_placed
def delete_recordings(keys: Sequence[str], store: str | None, place: str | None) -> None:
    """Delete the recordings with these keys.

    Exit codes: 0 done, 1 a key is unknown, 2 wrong usage, 3 unusable store.
    """

    async def delete(kept: Recordings) -> Sequence[int]:
        return [await kept.delete(key) for key in keys]

    deleted = _run(store, place, delete)
    click.echo(f"Deleted {sum(deleted):,} recordings.")
    for key in [key for key, number in zip(keys, deleted, strict=True) if not number]:
        click.echo(f"Error: no recording has the key {key}", err=True)
    if not all(deleted):
        raise SystemExit(1)


@recordings.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_placed
def export_recordings(folder: Path, store: str | None, place: str | None) -> None:
    """Copy the recordings into FOLDER, as files for a repository. Recordings that are there already stay as they are.

    Exit codes: 0 done, 2 wrong usage, 3 unusable store.
    """

    async def copy(kept: Recordings) -> int:
        target = FolderRecordings(folder)
        return sum([await target.add(one) for one in await kept.all()])

    click.echo(f"Wrote {_run(store, place, copy):,} recordings to {folder}.")


@recordings.command("promote")
@_placed
def promote_recordings(store: str | None, place: str | None) -> None:
    """Write the recorded chats to standard output as a dump.

    The dump has ShareGPT's form, which mimic seed reads.

    Exit codes: 0 done, 2 wrong usage, 3 unusable store.
    """
    conversations = [as_sharegpt(one) for one in promoted(_run(store, place, lambda kept: kept.all()))]
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(conversations), indent=2) + b"\n")


def _run(store: str | None, place: str | None, work: Callable[[Recordings], Awaitable[T]]) -> T:
    """Open the recordings of the settings and work on them. Ends the program if the store fails."""
    settings = read_settings(lambda text: click.echo(f"Warning: {text}", err=True), store=store, recordings=place)

    async def opened() -> T:
        async with (
            open_records(settings.records, settings.store, settings.record_options) as records,
            open_recordings(settings.recordings, records, settings.recordings_ignore) as kept,
        ):
            return await work(kept)

    try:
        return asyncio.run(opened())
    except StoreError as exc:
        click.echo(f"Error: {exc}", err=True)
        raise SystemExit(3) from None


def _last_text(recording: Recording) -> str:
    """The end of the chat on one line."""
    messages = recording.request.get("messages") or [{"text": text} for text in recording.request.get("prompts", ())]
    text = " ".join(str(next((one["text"] for one in reversed(messages) if one.get("text")), "")).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
