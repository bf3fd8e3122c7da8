"""``mimic serve``: the API, until it is told to stop."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from ipaddress import ip_address

import click
import structlog

from mimic.cli.banner import show_address, show_corpus, show_problem
from mimic.cli.configuration import STORE_HELP, read_settings
from mimic.corpus.corpus import Corpus
from mimic.corpus.example import example_of
from mimic.corpus.manifest import Seeded
from mimic.corpus.schemas import Version
from mimic.corpus.stores import open_store
from mimic.corpus.stores.tempdirs import folder_of_workers
from mimic.errors import NotSeeded, StoreError
from mimic.gateway.ledger import FILE_VARIABLE, Ledger
from mimic.server.observability import METRICS_FOLDER
from mimic.server.observability.logs import configure_logs
from mimic.settings import Settings

log = structlog.get_logger("mimic")

SHORTEST_SECRET = 16


@click.command()
@click.option("--store", metavar="STORE", help=f"Where the corpus is. {STORE_HELP}")
@click.option("--host", metavar="ADDRESS", help="The address to listen on. [MIMIC_HOST; default 127.0.0.1]")
@click.option("--port", metavar="NUMBER", help="The port to listen on. [MIMIC_PORT; default 8000]")
@click.option("--workers", metavar="NUMBER", help="How many processes. [MIMIC_WORKERS; default 1]")
def serve(store: str | None, host: str | None, port: str | None, workers: str | None) -> None:
    """Serve the API, and its documentation at /schema.

    Stops at SIGTERM or Ctrl-C, when the requests in flight are answered.
    """
    os.environ.pop(METRICS_FOLDER, None)  # another application's, which is not to hold ours, nor we to show theirs
    from mimic.server.workers import run_server  # noqa: PLC0415 - a seeding takes little memory, and does without all that serves

    configure_logs()
    settings = read_settings(log.warning, store=store, host=host, port=port, workers=workers)
    _warn_of_open_doors(settings, _check_address(settings))
    show_address(settings)
    _allow_connections()
    asyncio.run(_check_corpus(settings))
    with ExitStack() as stack:
        if settings.workers > 1:
            _share(stack, settings)
        run_server(settings.host, settings.port, settings.workers, settings.client_timeout)


def _share(stack: ExitStack, settings: Settings) -> None:
    """Tell worker processes where to put what they know together, as long as the stack is there."""
    try:
        folder = stack.enter_context(folder_of_workers())
        metrics = folder / "metrics"
        metrics.mkdir()
    except OSError as exc:
        text = f"cannot make a folder for what worker processes share: {exc.strerror or exc}"
        raise click.ClickException(text) from exc
    os.environ[METRICS_FOLDER] = str(metrics)
    ledger = os.environ[FILE_VARIABLE] = str(folder / "ledger.db")
    if settings.needs_ledger:
        with Ledger(ledger):  # made before they come, so that they do not all make it at once
            pass


def _check_address(settings: Settings) -> str:
    """The IP address to listen on. Ends the program, with what is wrong, where nobody can."""
    try:
        [(family, *_, address), *_] = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        return str(address[0])
    except (OSError, UnicodeError) as exc:  # the latter where a part of the name is empty, or too long
        problem = exc.strerror if isinstance(exc, OSError) else "it is not the name of a host"
        raise click.ClickException(f"cannot listen on {settings.host}:{settings.port}: {problem}") from None


def _allow_connections() -> None:
    """As many as the system allows, where less was asked for: often 1,024 files and connections."""
    if sys.platform == "win32":  # which has no such limit
        return
    import resource  # noqa: PLC0415 - not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # not every system allows what it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _warn_of_open_doors(settings: Settings, address: str) -> None:
    """Warn where others than this machine's programs can reach what is not protected."""
    if ip_address(address.partition("%")[0]).is_loopback:
        return
    if not settings.api_keys:
        log.warning("everybody who can reach the server can read the corpus: set MIMIC_API_KEYS", address=address)
    if 0 < len(settings.seed_secret) < SHORTEST_SECRET:
        log.warning("SEED_SECRET is short, and can be guessed", address=address, shortest=SHORTEST_SECRET)


async def _check_corpus(settings: Settings) -> None:
    """Show what is served. Warn where nothing can be answered yet, which may change while the server runs."""
    seeded: Mapping[Version, Seeded] = {}
    try:
        async with Corpus(open_store(settings.store, settings.mongo_driver)) as corpus:
            await corpus.check()
            seeded = await corpus.contents()
            if settings.version not in seeded:
                raise NotSeeded(settings.version if seeded else None)
            show_corpus(settings, seeded, await example_of(corpus, settings.version))
    except StoreError as exc:
        log.warning("no request can be answered yet", reason=str(exc))
        if isinstance(exc, NotSeeded):
            show_corpus(settings, seeded, None)
        else:
            show_problem(str(exc))
