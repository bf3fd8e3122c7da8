"""The command line: ``mimic seed`` and ``mimic serve``."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, cast

import click
import structlog
from dotenv import dotenv_values

from mimic import __version__
from mimic.corpus.ladder import RUNGS, Rung
from mimic.corpus.manifest import ExitCode
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores import open_store
from mimic.corpus.stores.tempdirs import folder_of_workers
from mimic.errors import DumpError, MimicError, NotSeeded, SeedingError, SettingError, StoreError
from mimic.gateway.ledger import FILE_VARIABLE, Ledger
from mimic.server.observability import METRICS_FOLDER
from mimic.server.observability.logs import configure_logs
from mimic.settings import VARIABLES, Settings
from mimic_seed.loader import load
from mimic_seed.reader import SLOW_BACKEND
from mimic_seed.source import Source
from mimic_seed.terminal import say, show_progress, show_report

log = structlog.get_logger("mimic")

NICENESS = 5
"""How far a seeder steps back behind whoever answers on the same machine: where there is nobody, it is as fast."""
SHORTEST_SECRET = 16
OF_TESTS = "MIMIC_TEST_"
STORE_HELP = "sqlite:///file.db or mongodb://host:port/database. [MIMIC_STORE; default sqlite:///mimic.db]"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Mimic: an OpenAI-style chat API that answers from real conversations.

    Settings come from the environment and from a file .env; options take precedence over both.
    """


@main.command()
@click.argument("file", required=False)
@click.option("--sample", is_flag=True, help="Seed the sample corpus that ships with Mimic.")
@click.option("--store", metavar="URL", help=f"Where to. {STORE_HELP}")
@click.option("--versions", default=",".join(VERSIONS), show_default=True, help="Which schema versions to fill.")
@click.option("--strict", is_flag=True, help="Stop at the first broken conversation instead of skipping it.")
@click.option(
    "--match",
    type=click.Choice(RUNGS),
    help="How far down the ladder messages are to be found: what is only alike needs an index. "
    "[MIMIC_MATCH; default nearest]",
)
@click.option(
    "--join-splits/--no-join-splits",
    default=None,
    help="Whether the parts of a long chat (X_0, X_4 ...) become one conversation. [SEED_JOIN_SPLITS; default no]",
)
@click.option("--if-empty", is_flag=True, help="Do nothing where something is seeded already.")
@click.option("--quiet", is_flag=True, help="Show errors only.")
@click.option("--nice/--not-nice", default=True, hidden=True)  # not where the same process serves afterwards
@click.pass_context
def seed(
    context: click.Context,
    file: str | None,
    sample: bool,
    store: str | None,
    versions: str,
    strict: bool,
    match: Rung | None,
    join_splits: bool | None,
    if_empty: bool,
    quiet: bool,
    nice: bool,
) -> None:
    """Seed the corpus from a dump.

    Replaces it by the conversations in FILE, or in standard input where FILE is "-".

    FILE is a ShareGPT dump: a JSON array or JSON Lines of {"id", "conversations": [{"from", "value"}, ...]}, gzipped or
    not. Readers see the old corpus until the new one is complete.

    Exit codes: 0 done, 1 the input is bad, 2 wrong usage, 3 the store cannot be used, 4 another seeding is running.
    """
    if (file is None) != sample:
        raise click.UsageError("Give either FILE or --sample.")
    if nice and sys.platform != "win32":
        os.nice(NICENESS)
    settings = _settings(_warn, store=store, match=match, seed_join_splits=_as_setting(join_splits))
    chosen = _versions(versions)
    name = str(files("mimic_seed") / "sample.json") if file is None else file
    context.exit(asyncio.run(_seed(name, settings, chosen, strict=strict, if_empty=if_empty, quiet=quiet)))


@main.command()
@click.option("--store", metavar="URL", help=f"Where the corpus is. {STORE_HELP}")
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
    settings = _settings(log.warning, store=store, host=host, port=port, workers=workers)
    _warn_of_open_doors(settings, _check_address(settings))
    _show_address(settings)
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


async def _seed(
    name: str, settings: Settings, versions: Sequence[Version], *, strict: bool, if_empty: bool, quiet: bool
) -> ExitCode:
    """Run a seeding and tell how it went; returns how the program ends."""
    task, loop = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.get_running_loop()

    def stop() -> None:
        # Again and again: asyncio.wait_for, which the driver uses, may swallow a cancellation (before Python 3.12).
        task.cancel()
        loop.call_later(0.5, stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C cancels the task all the same
            loop.add_signal_handler(number, stop)
    if SLOW_BACKEND:
        _warn("ijson's C backend yajl2_c is missing; reading will take about three times as long.")
    try:
        async with open_store(settings.store, settings.mongo_driver) as store:
            if if_empty and (seeded := await store.seeded()):
                say(f"Seeded already ({', '.join(seeded)}): nothing to do.")
                return ExitCode.DONE
            with show_progress(quiet=quiet) as on_progress:
                report = await load(
                    Source(name),
                    store,
                    versions,
                    batch_size=settings.seed_batch_size,
                    strict=strict,
                    depth=settings.match or "nearest",
                    join_splits=settings.seed_join_splits,
                    on_progress=on_progress,
                )
    except asyncio.CancelledError:
        say("Stopped.")
        return ExitCode.STOPPED
    except MimicError as exc:
        say(f"Error: {name}: {exc}" if isinstance(exc, DumpError) else f"Error: {exc}")
        return _exit_code(exc)
    if not quiet:
        show_report(report)
    return ExitCode.DONE


def _exit_code(exc: MimicError) -> ExitCode:
    codes: Mapping[type[MimicError], ExitCode] = {
        DumpError: ExitCode.BAD_INPUT,
        SettingError: ExitCode.WRONG_USAGE,
        StoreError: ExitCode.STORE_UNREACHABLE,
        SeedingError: ExitCode.IN_PROGRESS,
    }
    return next(code for kind, code in codes.items() if isinstance(exc, kind))


def _versions(text: str) -> list[Version]:
    chosen = [version.strip() for version in text.split(",")]
    unknown = [version for version in chosen if version not in VERSIONS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(VERSIONS)}", param_hint="--versions")
    return [version for version in VERSIONS if version in chosen]


def _as_setting(switch: bool | None) -> str | None:
    return None if switch is None else "on" if switch else "off"


def _settings(warn: Callable[[str], object], **options: str | None) -> Settings:
    """Settings from the environment, under it a file .env, and over it the options that were given."""
    for field, value in options.items():
        if value == "":  # of a variable that was not set, most likely: the default is not what is meant
            raise click.UsageError(f"--{field}: it is empty")
    try:
        in_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as exc:
        raise click.UsageError(f".env cannot be read: {exc}") from None
    known = {name for name, _ in VARIABLES.values()}
    misspelt = [(name, ".env") for name in in_file if name.startswith(("MIMIC_", "SEED_"))]
    misspelt += [(name, "the environment") for name in os.environ if name.startswith("MIMIC_")]
    for name, place in misspelt:
        if name not in known and not name.startswith(OF_TESTS):
            warn(f"{name} in {place} is not a setting; those are {', '.join(sorted(known))}.")
    os.environ.update({name: value for name, value in in_file.items() if name not in os.environ})
    os.environ.update({VARIABLES[field][0]: value for field, value in options.items() if value is not None})
    try:
        settings = Settings.from_environment(os.environ)
        open_store(settings.store, settings.mongo_driver)  # a URL that is none is wrong usage, too
        return settings
    except SettingError as exc:
        as_option = {VARIABLES[field][0]: f"--{field}" for field, value in options.items() if value is not None}
        raise click.UsageError(f"{as_option.get(exc.name, exc.name)}: {exc.problem}") from None


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
    """Warn where nothing can be answered yet. The server starts all the same: that may change while it runs."""
    try:
        async with open_store(settings.store, settings.mongo_driver) as store:
            await store.check()
            seeded = await store.seeded()
        if settings.version not in seeded:
            raise NotSeeded(settings.version if seeded else None)
    except StoreError as exc:
        log.warning("no request can be answered yet", reason=str(exc))


def _show_address(settings: Settings) -> None:
    from mimic.server.routes.native import EXAMPLE  # noqa: PLC0415 - as above

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - to be asked, not bound
    host = f"[{host}]" if ":" in host else host
    url = f"http://{host}:{settings.port}"
    click.echo(f"Mimic on {url}, a page to look at; documentation on {url}/schema. For OpenAI's clients:\n")
    key = "..." if settings.api_keys else "unused"
    click.echo(f"  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}\n")
    click.echo("Or try:\n")
    with_key = " -H 'authorization: Bearer ...'" if settings.api_keys else ""
    click.echo(f"  curl -s {url}/conversation/completion -H 'content-type: application/json'{with_key} \\")
    click.echo(f"    -d '{json.dumps(EXAMPLE)}'\n")


def _warn(text: str) -> None:
    say(f"Warning: {text}")
