"""``mimic serve``: the API, until it is told to stop."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

import click
import structlog

from mimic.cli.banner import show_address, show_corpus, show_problem, show_warning, url_of
from mimic.cli.configuration import STORE_HELP, read_settings
from mimic.corpus.corpus import Corpus
from mimic.corpus.example import example_of
from mimic.corpus.manifest import Seeded, warnings_of
from mimic.corpus.schemas import Version
from mimic.corpus.stores import open_store
from mimic.corpus.stores.tempdirs import folder_of_workers
from mimic.errors import NotSeeded, StoreError
from mimic.gateway.ledger import FILE_VARIABLE, Ledger
from mimic.server.listening import CannotListen, address_of, first_beyond_loopback, open_sockets
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
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in _open_sockets(settings)]
        addresses = [address_of(one) for one in sockets]
        _warn_of_open_doors(settings, [host for host, _ in addresses])
        url = url_of(settings, *addresses[0])
        show_address(settings, url)
        asyncio.run(_check_corpus(settings, url))
        _allow_connections()
        if settings.workers > 1:
            _share(stack, settings)
        run_server(sockets, settings.workers, settings.client_timeout)


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


def _open_sockets(settings: Settings) -> Sequence[socket.socket]:
    """Sockets to listen on. Ends the program, with what is wrong, where nobody can."""
    try:
        return open_sockets(settings.host, settings.port)
    except CannotListen as exc:
        raise click.ClickException(str(exc)) from None


def _allow_connections() -> None:
    """As many as the system allows, where less was asked for: often 1,024 files and connections."""
    if sys.platform == "win32":  # which has no such limit
        return
    import resource  # noqa: PLC0415 - not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # not every system allows what it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _warn_of_open_doors(settings: Settings, addresses: Sequence[str]) -> None:
    """Warn where others than this machine's programs can reach what is not protected."""
    address = first_beyond_loopback(addresses)
    if address is None:
        return
    if not settings.api_keys:
        log.warning("everybody who can reach the server can read the corpus: set MIMIC_API_KEYS", address=address)
    if 0 < len(settings.seed_secret) < SHORTEST_SECRET:
        log.warning("SEED_SECRET is short, and can be guessed", address=address, shortest=SHORTEST_SECRET)


async def _check_corpus(settings: Settings, url: str) -> None:
    """Show what is served. Warn where not everything can be answered yet, which may change while the server runs."""
    seeded: Mapping[Version, Seeded] = {}
    try:
        async with Corpus(open_store(settings.store, settings.mongo_driver)) as corpus:
            seeded = await corpus.contents()
            await corpus.check(settings.version, settings.match)
            show_corpus(settings, url, seeded, await example_of(corpus, settings.version))
    except StoreError as exc:
        log.warning("not ready: requests cannot all be answered yet", reason=str(exc))
        if isinstance(exc, NotSeeded):
            show_corpus(settings, url, seeded, None)
        else:
            show_problem(str(exc))
    for warning in warnings_of(seeded):
        log.warning("the corpus is of an earlier Mimic", reason=warning)
        show_warning(warning)
