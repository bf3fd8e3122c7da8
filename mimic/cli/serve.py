"""The command ``mimic serve``: serve the API until a signal stops it."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

import click
import msgspec
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
from mimic.settings import VARIABLES, Settings

log = structlog.get_logger("mimic")

SHORTEST_SECRET = 16


@click.command()
@click.argument("names", metavar="[FILE]...", nargs=-1)
@click.option("--sample", is_flag=True, help="Serve the sample corpus that ships with Mimic.")
@click.option("--watch", is_flag=True, help="Seed again whenever a FILE changes.")
@click.option("--store", metavar="STORE", help=f"The store of the corpus. {STORE_HELP}")
@click.option("--host", metavar="ADDRESS", help="The address to listen on. [MIMIC_HOST; default 127.0.0.1]")
@click.option("--port", metavar="NUMBER", help="The port to listen on. [MIMIC_PORT; default 8000]")
@click.option("--workers", metavar="NUMBER", help="The number of processes. [MIMIC_WORKERS; default 1]")
def serve(
    names: Sequence[str],
    sample: bool,
    watch: bool,
    store: str | None,
    host: str | None,
    port: str | None,
    workers: str | None,
) -> None:
    """Serve the API, and its documentation at /schema.

    With FILE, or --sample, seed the files into a temporary store first. "mimic seed --help" lists the formats of FILE.
    SIGTERM or Ctrl-C stops the server after the requests in flight are answered.
    """
    os.environ.pop(METRICS_FOLDER, None)  # it may be another application's
    from mimic.server.workers import run_server  # noqa: PLC0415 - seeding does not need the server

    configure_logs()
    _check_usage(names, sample=sample, watch=watch, store=store)
    settings = read_settings(log.warning, store=store, host=host, port=port, workers=workers)
    with ExitStack() as stack:
        sockets = [stack.enter_context(opened) for opened in _open_sockets(settings)]
        addresses = [address_of(opened) for opened in sockets]
        _warn_of_open_doors(settings, [host for host, _ in addresses])
        url = url_of(settings, *addresses[0])
        if names or sample:
            settings = _seeded(stack, settings, names, watch=watch)
        show_address(settings, url)
        asyncio.run(_check_corpus(settings, url))
        _allow_connections()
        if settings.workers > 1:
            _share(stack, settings)
        run_server(sockets, settings.workers, settings.client_timeout)


def _check_usage(names: Sequence[str], *, sample: bool, watch: bool, store: str | None) -> None:
    """Raises UsageError for options that contradict each other."""
    if names and sample:
        raise click.UsageError("Give either FILE or --sample.")
    if store is not None and (names or sample):
        raise click.UsageError("FILE and --sample have a temporary store: give either --store or one of them.")
    if watch and (not names or "-" in names):
        raise click.UsageError("--watch needs a FILE.")
    if names.count("-") > 1:
        raise click.UsageError('Give "-" once: standard input can be read once.')


def _seeded(stack: ExitStack, settings: Settings, names: Sequence[str], *, watch: bool) -> Settings:
    """Seed files, or the sample, into a temporary store, which the stack removes. Returns settings with the store."""
    from mimic.cli.own_files import SAMPLE, Watcher, seed_files  # noqa: PLC0415 - only to seed

    try:
        folder = stack.enter_context(folder_of_workers())
    except OSError as exc:
        raise click.ClickException(f"cannot make a folder for the corpus: {exc.strerror or exc}") from exc
    store = os.environ[VARIABLES["store"][0]] = f"sqlite:///{folder}/corpus.db"
    settings = msgspec.structs.replace(settings, store=store)
    names = names or [SAMPLE]
    watcher = Watcher(names, store) if watch else None  # created first: a change during the seeding counts
    seed_files(names, settings)
    if watcher:
        watcher.start()
        stack.callback(watcher.stop)
    return settings


def _share(stack: ExitStack, settings: Settings) -> None:
    """Make a folder for the state that worker processes share. The stack removes it."""
    try:
        folder = stack.enter_context(folder_of_workers())
        metrics = folder / "metrics"
        metrics.mkdir()
    except OSError as exc:
        text = f"cannot make a folder for the state that worker processes share: {exc.strerror or exc}"
        raise click.ClickException(text) from exc
    os.environ[METRICS_FOLDER] = str(metrics)
    ledger = os.environ[FILE_VARIABLE] = str(folder / "ledger.db")
    if settings.needs_ledger:
        with Ledger(ledger):  # created before the workers start, which would all create it at once
            pass


def _open_sockets(settings: Settings) -> Sequence[socket.socket]:
    """Open the sockets to listen on. Raises ClickException."""
    try:
        return open_sockets(settings.host, settings.port)
    except CannotListen as exc:
        raise click.ClickException(str(exc)) from None


def _allow_connections() -> None:
    """Raise the limit of open files and connections, often 1,024, to the most that the system allows."""
    if sys.platform == "win32":  # without this limit
        return
    import resource  # noqa: PLC0415 - not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems do not allow their own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _warn_of_open_doors(settings: Settings, addresses: Sequence[str]) -> None:
    """Warn if other machines can reach the server and a setting leaves it unprotected."""
    address = first_beyond_loopback(addresses)
    if address is None:
        return
    if not settings.api_keys:
        log.warning("every client that can reach the server can read the corpus: set MIMIC_API_KEYS", address=address)
    if 0 < len(settings.seed_secret) < SHORTEST_SECRET:
        log.warning("SEED_SECRET is too short: it can be guessed", address=address, shortest=SHORTEST_SECRET)


async def _check_corpus(settings: Settings, url: str) -> None:
    """Print the corpus. Warn if the server cannot answer all requests yet; a later seeding may change that."""
    seeded: Mapping[Version, Seeded] = {}
    try:
        async with Corpus(open_store(settings.store, settings.mongo_driver), model=settings.open_model()) as corpus:
            seeded = await corpus.contents()
            await corpus.check(settings.version, settings.depth)
            show_corpus(settings, url, seeded, await example_of(corpus, settings.version))
    except StoreError as exc:
        log.warning("not ready: the server cannot answer all requests yet", reason=str(exc))
        if isinstance(exc, NotSeeded):
            show_corpus(settings, url, seeded, None)
        else:
            show_problem(str(exc))
    if settings.embedding_model is None and any(entry.index and entry.index.vectors for entry in seeded.values()):
        warning = "the corpus can be searched by meaning: set MIMIC_EMBEDDING_MODEL to the model of the seeding"
        log.warning(warning)
        show_warning(warning)
    for warning in warnings_of(seeded):
        log.warning("an earlier version of Mimic seeded the corpus", reason=warning)
        show_warning(warning)
