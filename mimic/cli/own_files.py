"""Serving files of conversations without a store of their own: a temporary store, seeded again if the files change."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from mimic.corpus.schemas import VERSIONS
from mimic.corpus.stores import open_store
from mimic.errors import DumpError, MimicError
from mimic.settings import VARIABLES, Settings
from mimic_seed.loader import load
from mimic_seed.source import Source

SAMPLE: Final = str(files("mimic_seed") / "sample.json")
"""The sample corpus of Mimic."""

SECONDS_BETWEEN_LOOKS: Final = 0.5
"""Interval at which the files are compared with the last seeding."""


def seed_files(names: Sequence[str], settings: Settings) -> None:
    """Seed all versions of the store. Raises ClickException for a file that cannot be read."""

    async def seed() -> None:
        async with open_store(settings.store, settings.mongo_driver) as store:
            await load(
                [Source(name) for name in names],
                store,
                VERSIONS,
                batch_size=settings.seed_batch_size,
                depth=settings.depth or "nearest",
                join_splits=settings.seed_join_splits,
            )

    try:
        asyncio.run(seed())
    except MimicError as exc:
        is_named = isinstance(exc, DumpError) and len(names) == 1
        raise click.ClickException(f"{names[0]}: {exc}" if is_named else str(exc)) from None


class Watcher(threading.Thread):
    """Seeds the store again, in a process of its own, when the files have changed and are complete. Ends with Mimic."""

    def __init__(self, names: Sequence[str], store: str) -> None:
        super().__init__(name="watcher", daemon=True)
        self._names = names
        self._environment = {**os.environ, VARIABLES["store"][0]: store}
        self._seeded = state_of(names)
        self._ended = threading.Event()

    def stop(self) -> None:
        """End the thread, and wait for a seeding that runs."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        before = self._seeded
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            now = state_of(self._names)
            if now == before != self._seeded:  # unchanged since the last look: the writer has probably finished
                self._seeded = now
                self._seed()
            before = now

    def _seed(self) -> None:
        import structlog  # noqa: PLC0415 - it takes 0.06 s to load, and only a server needs it

        log = structlog.get_logger("mimic")
        command = (sys.executable, "-P", "-m", "mimic", "seed", "--quiet", "--", *self._names)
        done = subprocess.run(command, env=self._environment, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - the files of the command line
        if done.returncode == 0:
            log.info("seeded again", files=list(self._names))
        else:
            log.warning("the files changed, but cannot be seeded: the old corpus stays", reason=done.stderr.strip())


def state_of(names: Sequence[str]) -> Mapping[str, tuple[int, int] | None]:
    """The time of the last change and the size of each file; None for a file that is missing."""
    return {name: _state_of(name) for name in names}


def _state_of(name: str) -> tuple[int, int] | None:
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
