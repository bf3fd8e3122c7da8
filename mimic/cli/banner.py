"""The banner that ``mimic serve`` prints on standard output: its address, the corpus, and a request to try."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from mimic.corpus.conversation import Message
from mimic.corpus.manifest import Seeded
from mimic.corpus.schemas import Version
from mimic.recordings.options import IN_RECORDS
from mimic.server.listening import authority
from mimic.settings import Settings

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a client's view; not bound here


def url_of(settings: Settings, address: str, port: int) -> str:
    """The URL for clients. ``address`` and ``port`` are the first that the server listens on."""
    host = ANY_ADDRESS.get(address, settings.host)
    return f"http://{authority(host, port)}"


def show_address(settings: Settings, url: str) -> None:
    """Print the address, and the variables for OpenAI's clients."""
    key = "..." if settings.api_keys else "unused"
    _say(
        f"Mimic on {url}, with a page to chat; documentation on {url}/schema. For OpenAI's clients:\n\n"
        f"  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}\n"
    )


def show_corpus(settings: Settings, url: str, seeded: Mapping[Version, Seeded], example: Message | None) -> None:
    """Print the corpus and a request with one of its messages, or the command to seed."""
    by_source: dict[str, list[str]] = {}
    for version, entry in seeded.items():
        by_source.setdefault(_describe(entry), []).append(version)
    for description, versions in by_source.items():
        _say(f"Serving {description}; {', '.join(versions)}.")
    if settings.uses_recordings:
        _say(_describe_recordings(settings))
    if settings.version not in seeded and settings.uses_recordings:
        _say("Nothing is seeded, and nothing needs to be.\n")
    elif settings.version not in seeded:
        problem = f"The default version {settings.version} is not seeded" if seeded else "Nothing is seeded yet"
        _say(f"{problem}. In another terminal:\n\n  {_seed_command(settings)}\n")
    elif example:
        _say(f"Try one of its messages (answered by {settings.version}):\n\n{_request(settings, url, example)}\n")
    else:
        _say(f"Its contents:\n\n  curl -s {url}/corpus\n")


def show_problem(problem: str) -> None:
    """Print the reason why the corpus cannot be read."""
    _say(f"The corpus cannot be read: {problem}\n")


def show_warning(warning: str) -> None:
    """Print a warning about the corpus."""
    _say(f"Warning: {warning}\n")


def _describe(entry: Seeded) -> str:
    return (
        f"{_shown(entry.source.name)}: {entry.conversations:,} conversations, {entry.messages:,} messages, "
        f"seeded {entry.seeded_at:%Y-%m-%d %H:%M} UTC"
    )


def _describe_recordings(settings: Settings) -> str:
    """The place of the recordings, and the upstream."""
    place = "the records" if settings.recordings in {"", IN_RECORDS} else _shown(settings.recordings)
    answers = f"Equal requests get the answers recorded in {place}"
    if not settings.upstream:
        return f"{answers}."
    recorded = "" if settings.record == "off" else ", and its answers are recorded"
    return f"{answers}; others are passed on to {settings.upstream}{recorded}."


def _seed_command(settings: Settings) -> str:
    """The command that seeds this store. It does not show a password in the store's URL."""
    store = '"$MIMIC_STORE"' if "@" in settings.store else shlex.quote(settings.store)
    to_store = "" if settings.store == Settings().store else f" --store {store}"
    return f"mimic seed FILE{to_store}    # or --sample instead of FILE"


def _request(settings: Settings, url: str, message: Message) -> str:
    from mimic.wire.native import PATH  # noqa: PLC0415 - seeding does not need the server

    body = {"messages": [{"from": message.sender, "value": message.value}]}
    text = json.dumps(body, ensure_ascii=False)
    data = shlex.quote(text if _can_be_shown(text) else json.dumps(body))
    with_key = " -H 'authorization: Bearer ...'" if settings.api_keys else ""
    return f"  curl -s {url}{PATH} -H 'content-type: application/json'{with_key} \\\n    -d {data}"


def _shown(text: str) -> str:
    """A name, with escapes for characters that could control a terminal."""
    return text if _can_be_shown(text) else ascii(text)


def _can_be_shown(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return text.isprintable()


def _say(text: str) -> None:
    """Print a text. If standard output is closed, discard it: the server goes on."""
    try:
        click.echo(text)
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:  # also discards the rest of the buffer
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
