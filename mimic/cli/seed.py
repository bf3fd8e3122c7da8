"""The command ``mimic seed``: from files of conversations to a corpus."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import click

from mimic.cli.configuration import STORE_HELP, read_settings
from mimic.cli.own_files import SAMPLE
from mimic.corpus.ladder import DEPTHS, Depth
from mimic.corpus.manifest import ExitCode, warnings_of
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores import open_store
from mimic.errors import DumpError, MimicError, SeedingError, SettingError, StoreError, UnusableModel
from mimic.settings import Settings
from mimic_seed.loader import CountTokens, load
from mimic_seed.reader import SLOW_BACKEND
from mimic_seed.source import Source
from mimic_seed.terminal import say, show_progress, show_report

NICENESS = 5
"""The nice value of a seeder: servers on the same machine take precedence. On an idle machine it costs no time."""


@click.command()
@click.argument("names", metavar="[FILE]...", nargs=-1)
@click.option("--sample", is_flag=True, help="Seed the sample corpus that ships with Mimic.")
@click.option("--store", metavar="STORE", help=f"The store to fill. {STORE_HELP}")
@click.option(
    "--versions", metavar="VERSIONS", default=",".join(VERSIONS), show_default=True, help="The schema versions to fill."
)
@click.option("--strict", is_flag=True, help="Stop at the first broken conversation instead of skipping it.")
@click.option(
    "--match",
    type=click.Choice(DEPTHS),
    help="The lowest rung to seed for: similar messages need an index. [MIMIC_MATCH; default nearest]",
)
@click.option(
    "--join-splits/--no-join-splits",
    default=None,
    help="Join the parts of a long chat (X_0, X_4 ...) to one conversation. [SEED_JOIN_SPLITS; default no]",
)
@click.option(
    "--count-tokens/--no-count-tokens",
    default=None,
    help="Keep the number of tokens of each message in the corpus. [SEED_COUNT_TOKENS; default no]",
)
@click.option("--if-empty", is_flag=True, help="Do nothing if the store is seeded already.")
@click.option("--quiet", is_flag=True, help="Show errors only.")
@click.option("--nice/--not-nice", default=True, hidden=True)  # off in a process that serves later
@click.pass_context
def seed(
    context: click.Context,
    names: Sequence[str],
    sample: bool,
    store: str | None,
    versions: str,
    strict: bool,
    match: Depth | None,
    join_splits: bool | None,
    count_tokens: bool | None,
    if_empty: bool,
    quiet: bool,
    nice: bool,
) -> None:
    """Seed the corpus from files of conversations.

    Replace the corpus by the conversations in all FILEs, in this order. With "-" as FILE, read standard input.

    The content of a FILE shows its format. Conversations have the format of ShareGPT or of OpenAI's fine-tuning, or are
    lists of messages. Single answers are instructions (Alpaca), pairs of prompt and completion or of question and
    answer, or preferences (DPO). An export of ChatGPT or Claude is its zip archive.

    A FILE is a JSON array, JSON Lines, or CSV with a header, and may be compressed with gzip, zstd, xz or bzip2. With
    the extra "parquet" it may be a Parquet file. Clients see the old corpus until the new one is complete.

    Exit codes: 0 done, 1 bad input, 2 wrong usage, 3 unusable store, 4 another seeding is running.
    """
    if bool(names) == sample:
        raise click.UsageError("Give either FILE or --sample.")
    if names.count("-") > 1:
        raise click.UsageError('Give "-" once: standard input can be read once.')
    if nice and sys.platform != "win32":
        os.nice(NICENESS)
    switches = {"seed_join_splits": _as_setting(join_splits), "seed_count_tokens": _as_setting(count_tokens)}
    settings = read_settings(_warn, store=store, match=match, **switches)
    chosen = _versions(versions)
    names = names or [SAMPLE]
    context.exit(asyncio.run(_seed(names, settings, chosen, strict=strict, if_empty=if_empty, quiet=quiet)))


async def _seed(
    names: Sequence[str], settings: Settings, versions: Sequence[Version], *, strict: bool, if_empty: bool, quiet: bool
) -> ExitCode:
    """Seed the store and report the result. Return the exit code."""
    task, loop = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.get_running_loop()

    def stop() -> None:
        # Repeatedly: asyncio.wait_for in the driver may swallow a cancellation before Python 3.12.
        task.cancel()
        loop.call_later(0.5, stop)

    for number in _signals_that_stop():
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C cancels the task anyway
            loop.add_signal_handler(number, stop)
    if SLOW_BACKEND:
        _warn("ijson's C backend yajl2_c is missing; reading takes about three times as long.")
    try:
        async with open_store(settings.store, settings.mongo_driver) as store:
            if if_empty and (seeded := await store.seeded()):
                say(f"Seeded already ({', '.join(seeded)}): nothing to do.")
                for warning in warnings_of(seeded):
                    _warn(warning)
                return ExitCode.DONE
            with show_progress(quiet=quiet) as on_progress:
                report = await load(
                    [Source(name) for name in names],
                    store,
                    versions,
                    batch_size=settings.seed_batch_size,
                    strict=strict,
                    depth=settings.depth or "nearest",
                    join_splits=settings.seed_join_splits,
                    on_progress=on_progress,
                    model=settings.open_model() if settings.depth == "meaning" else None,
                    count_tokens=_counter() if settings.seed_count_tokens else None,
                )
    except asyncio.CancelledError:
        say("Stopped.")
        return ExitCode.STOPPED
    except MimicError as exc:
        say(f"Error: {names[0]}: {exc}" if isinstance(exc, DumpError) and len(names) == 1 else f"Error: {exc}")
        return _exit_code(exc)
    if not quiet:
        show_report(report)
    return ExitCode.DONE


def _counter() -> CountTokens:
    from mimic.tokens import count  # noqa: PLC0415 - it takes 0.15 s to load

    return count


def _signals_that_stop() -> Iterator[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP unless it is ignored (nohup)."""
    yield from (signal.SIGINT, signal.SIGTERM)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        yield signal.SIGHUP


def _exit_code(exc: MimicError) -> ExitCode:
    codes: Mapping[type[MimicError], ExitCode] = {
        DumpError: ExitCode.BAD_INPUT,
        SettingError: ExitCode.WRONG_USAGE,
        UnusableModel: ExitCode.WRONG_USAGE,
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


def _warn(text: str) -> None:
    say(f"Warning: {text}")
