"""``/conversation/seed``: seeding over HTTP, guarded by a secret.

The work runs in a process of its own, the same as ``mimic seed``; the store records how it goes, so whichever worker
is asked can tell, and the record outlives this server. A seeding that fails where nothing was seeded before leaves no
record in an SQLite store: of such a one the ledger knows, which all workers share.
"""

import asyncio
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import msgspec
import structlog
from litestar import Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg
from msgspec.structs import replace

from mimic.corpus.corpus import Corpus
from mimic.corpus.manifest import ExitCode, Seeding
from mimic.corpus.stores.base import holder_name
from mimic.errors import RequestError, SeedingInProgress, StoreUnavailable
from mimic.gateway.auth import CHALLENGE, BruteForceGuard, bearer, is_same
from mimic.gateway.ledger import Ledger
from mimic.server.error_handlers import AnyRequest, documented
from mimic.server.guards import address_of
from mimic.server.options import SeedingOptions

log = structlog.get_logger("mimic")

NOTE = "seeding"
"""The name under which the ledger has the last seeding that was started here."""
STATUS_PATH = "/conversation/seed"
SECRET_SCHEME = "SEED_SECRET"  # noqa: S105 - its name
"""The security scheme of the OpenAPI document."""
NOT_HANDED_DOWN = frozenset({"SEED_SECRET", "MIMIC_API_KEYS"})
SECONDS_TO_CLAIM = 15.0
SECONDS_TO_STOP = 10.0
ATTEMPTS = 10
SECONDS_BETWEEN = 0.1
"""Attempts to learn how a seeding has ended, from the worker that has started it."""
MOST_SAID = 4000
"""Characters of what a seeding has said that go into the log."""


class SeedRequest(msgspec.Struct, frozen=True):
    """The secret that SEED_SECRET holds."""

    secret: str = ""


class SeedingStarted(msgspec.Struct, frozen=True):
    """The seeding runs; ``status_url`` tells how far it is."""

    state: Literal["running"] = "running"
    status_url: str = STATUS_PATH


class NeverSeeded(msgspec.Struct, frozen=True):
    """No seeding has been tried yet."""

    state: Literal["never"] = "never"


class StartedSeeding(msgspec.Struct, frozen=True):
    """A seeding that a worker of this server has started, as far as the worker knows."""

    process: int
    seeding: Seeding


class Seeder:
    """Runs ``mimic seed`` in a process of its own, at most one for this server. An async context manager."""

    def __init__(self, options: SeedingOptions, corpus: Corpus, ledger: Ledger) -> None:
        self._options = options
        self._corpus = corpus
        self._ledger = ledger
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop what is running; it records that it was interrupted, if it ends in time."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), SECONDS_TO_STOP)
            except TimeoutError:
                self._process.kill()
        if self._watching:
            await self._watching

    async def start(self) -> None:
        """Start a seeding and wait until it has the store to itself.

        Raises SeedingInProgress, StoreUnavailable, and RequestError where it ended before it began.
        """
        async with self._starting:
            seeding = await self._corpus.seeding()
            if self._process and self._process.returncode is None:
                raise SeedingInProgress(holder_name(self._process.pid), seeding.since if seeding else None)
            if seeding and seeding.state == "running":
                raise SeedingInProgress(seeding.holder, seeding.since)
            self._process = process = await self._run()
            log.info("seeding started", process=process.pid, file=str(self._options.file))
            started = Seeding(os.urandom(8).hex(), "running", holder_name(process.pid), datetime.now(UTC))
            self._note(process, started)
            self._watching = asyncio.create_task(self._watch(process, started))
            await self._claimed(process, seeding.id if seeding else None)

    async def last(self) -> Seeding | None:
        """The last seeding: as the store has it, or else the last one that this server has started."""
        for _ in range(ATTEMPTS):
            if seeding := await self._corpus.seeding():
                return seeding
            note = self._ledger.noted(NOTE)
            if note is None:
                return None
            started = msgspec.json.decode(note, type=StartedSeeding)
            if started.seeding.state != "running" or _is_alive(started.process):
                return started.seeding
            await asyncio.sleep(SECONDS_BETWEEN)  # it has just ended, and whoever started it is to note how
        return replace(started.seeding, state="interrupted", error="the seeding process died")

    def _note(self, process: asyncio.subprocess.Process, seeding: Seeding) -> None:
        with suppress(StoreUnavailable), self._ledger.transaction() as changes:  # the log has it, too
            changes.note(NOTE, msgspec.json.encode(StartedSeeding(process.pid, seeding)))

    async def _watch(self, process: asyncio.subprocess.Process, started: Seeding) -> None:
        """Tell how it ends, with what it said: lines of text, which are not for a log of JSON as they are."""
        _, told = await process.communicate()
        said = told.decode(errors="replace").strip()[-MOST_SAID:]
        facts = {"said": said} if said else {}
        if process.returncode == ExitCode.DONE:
            log.info("seeding done", process=process.pid, **facts)
            return
        log.error("seeding failed", process=process.pid, exit_code=process.returncode, **facts)
        if process.returncode == ExitCode.STOPPED:
            ended = replace(started, state="interrupted", error="the seeding was stopped")
        elif process.returncode is not None and process.returncode < 0:
            ended = replace(started, state="interrupted", error="the seeding process died")
        else:
            problem = said.rpartition("\n")[2].removeprefix("Error: ").removeprefix(f"{self._options.file}: ")
            ended = replace(started, state="failed", error=problem)
        self._note(process, ended)

    async def _run(self) -> asyncio.subprocess.Process:
        # By environment and not by arguments, which other users of the machine can see.
        environment = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_DOWN}
        environment |= {
            "MIMIC_STORE": self._options.store,
            "MIMIC_MONGO_DRIVER": self._options.mongo_driver,
            "SEED_BATCH_SIZE": str(self._options.batch_size),
        }
        # With -P, a seed.py in the current folder is not taken for ours.
        command = (sys.executable, "-P", "-m", "mimic", "seed", "--quiet", "--", str(self._options.file))
        nowhere, here = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=nowhere, stdout=nowhere, stderr=here
        )

    async def _claimed(self, process: asyncio.subprocess.Process, before: str | None) -> None:
        """Wait until there is another seeding on record than ``before``, of this process. Numbers come again."""
        until = asyncio.get_running_loop().time() + SECONDS_TO_CLAIM
        has_ended = False
        while not has_ended and asyncio.get_running_loop().time() < until:
            has_ended = process.returncode is not None  # looked at first: what it recorded, it did before
            seeding = await self._corpus.seeding()
            if seeding and seeding.id != before and seeding.holder == holder_name(process.pid):
                return
            await asyncio.sleep(0.05)
        if process.returncode == ExitCode.STORE_UNREACHABLE:
            raise StoreUnavailable("the seeding could not use the store")
        if process.returncode == ExitCode.IN_PROGRESS:
            raise SeedingInProgress(
                seeding.holder if seeding else "another process", seeding.since if seeding else None
            )
        if process.returncode in {ExitCode.DONE, ExitCode.BAD_INPUT, ExitCode.STOPPED}:
            return  # it had the store, and a failure may leave no record
        if has_ended:
            raise RequestError(500, "The seeding ended before it began; the log says why", code="seeding_failed")


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # where os.kill ends it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def seeding_is_on(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises RequestError, 403, where seeding over HTTP is switched off."""
    options: SeedingOptions = connection.app.state.seeding
    if not options.secret:
        raise RequestError(403, "Seeding over HTTP is switched off: SEED_SECRET is not set", code="seeding_disabled")


async def check_secret(connection: ASGIConnection[Any, Any, Any, Any], given: bytes) -> None:
    """Raises RequestError, 401, where the secret is wrong."""
    options: SeedingOptions = connection.app.state.seeding
    guard: BruteForceGuard = connection.app.state.guard
    error = RequestError(401, "The secret is missing or wrong.", code="invalid_secret", headers=CHALLENGE)
    if not given:
        raise error
    if not is_same(given, options.secret):
        await guard.delay(address_of(connection))
        raise error


@post(
    STATUS_PATH,
    status_code=202,
    summary="Seed from SEED_FILE",
    tags=["Seeding"],
    guards=[seeding_is_on],
    description="Replaces the corpus by the file that SEED_FILE names; until it is there, the old one answers.",
    responses={
        202: ResponseSpec(SeedingStarted, description="It has started.", generate_examples=False),
        **documented(400, 401, 403, 409, 413, 415, 503),
    },
)
async def start_seeding(
    seeding_options: NamedDependency[SeedingOptions],
    seeder: NamedDependency[Seeder],
    request: AnyRequest,
    data: Annotated[
        SeedRequest | None, BodyKwarg(media_type="application/json", examples=[Example(value={"secret": "the secret"})])
    ] = None,
) -> Response[SeedingStarted]:
    """The secret is looked at before anything else."""
    await check_secret(request, data.secret.encode() if data else b"")
    if not seeding_options.file.is_file():
        raise RequestError(
            409, f"SEED_FILE names {seeding_options.file}, which is not a file", code="seed_file_missing"
        )
    await seeder.start()
    return Response(SeedingStarted(), headers={"location": STATUS_PATH})


@get(
    STATUS_PATH,
    summary="The last seeding",
    tags=["Seeding"],
    guards=[seeding_is_on],
    description="State, progress, and the report or the error, whoever ran it. The secret is the bearer token.",
    security=[{SECRET_SCHEME: []}],
    response_description="How it stands.",
    responses=documented(401, 403, 503),
)
async def last_seeding(
    seeder: NamedDependency[Seeder],
    request: AnyRequest,
) -> Response[Seeding | NeverSeeded]:
    """The store knows, so any worker can tell."""
    secret = bearer(request.headers.get("authorization", ""))
    await check_secret(request, (secret or "").encode("latin-1"))
    return Response(await seeder.last() or NeverSeeded())
