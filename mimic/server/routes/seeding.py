"""``/conversation/seed``: seeding over HTTP, guarded by a secret.

The seeding runs ``mimic seed`` in a separate process. The store records its progress, so every worker can report it,
also after a restart. If the first seeding of an SQLite store fails, the store has no record; the ledger, which all
workers share, then has a note.
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
from mimic.server.error_handlers import AnyRequest, error_responses
from mimic.server.guards import address_of
from mimic.server.options import SeedingOptions

log = structlog.get_logger("mimic")

NOTE = "seeding"
"""The name of the ledger's note about the last seeding that this server started."""
STATUS_PATH = "/conversation/seed"
SECRET_SCHEME = "SEED_SECRET"  # noqa: S105 - its name
"""The security scheme in the OpenAPI document."""
NOT_INHERITED = frozenset({"SEED_SECRET", "MIMIC_API_KEYS"})
SECONDS_TO_CLAIM = 15.0
SECONDS_TO_STOP = 10.0
ATTEMPTS = 10
SECONDS_BETWEEN = 0.1
"""Interval of the attempts to read a seeding's end from the worker that started it."""
LONGEST_OUTPUT = 4000
"""Maximum characters of a seeding's output in the log."""


class SeedRequest(msgspec.Struct, frozen=True):
    """The secret in SEED_SECRET."""

    secret: str = ""


class SeedingStarted(msgspec.Struct, frozen=True):
    """The seeding runs; ``status_url`` reports its progress."""

    state: Literal["running"] = "running"
    status_url: str = STATUS_PATH


class NeverSeeded(msgspec.Struct, frozen=True):
    """No seeding was started yet."""

    state: Literal["never"] = "never"


class StartedSeeding(msgspec.Struct, frozen=True):
    """A seeding that a worker of this server started, in the state that the worker last saw."""

    process: int
    seeding: Seeding


class Seeder:
    """Runs ``mimic seed`` in a separate process, at most one per server. An async context manager."""

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
        """Stop a running seeding, which records its interruption if it ends in time."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), SECONDS_TO_STOP)
            except TimeoutError:
                self._process.kill()
        if self._watching:
            await self._watching

    async def start(self) -> None:
        """Start a seeding and wait until it has claimed the store.

        Raises SeedingInProgress, StoreUnavailable, and RequestError if the process ended before the claim.
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
            await self._wait_for_claim(process, seeding.id if seeding else None)

    async def last(self) -> Seeding | None:
        """Return the last seeding in the store, or else the last seeding that this server started."""
        for _ in range(ATTEMPTS):
            if seeding := await self._corpus.seeding():
                return seeding
            note = self._ledger.read_note(NOTE)
            if note is None:
                return None
            started = msgspec.json.decode(note, type=StartedSeeding)
            if started.seeding.state != "running" or _is_alive(started.process):
                return started.seeding
            await asyncio.sleep(SECONDS_BETWEEN)  # it has just ended, and its worker will write the note
        return replace(started.seeding, state="interrupted", error="the seeding process died")

    def _note(self, process: asyncio.subprocess.Process, seeding: Seeding) -> None:
        with suppress(StoreUnavailable), self._ledger.transaction() as changes:  # the log has the same facts
            changes.note(NOTE, msgspec.json.encode(StartedSeeding(process.pid, seeding)))

    async def _watch(self, process: asyncio.subprocess.Process, started: Seeding) -> None:
        """Log the end of a seeding with its output, as one field, since the log may be JSON."""
        _, stderr = await process.communicate()
        output = stderr.decode(errors="replace").strip()[-LONGEST_OUTPUT:]
        details = {"output": output} if output else {}
        if process.returncode == ExitCode.DONE:
            log.info("seeding done", process=process.pid, **details)
            return
        log.error("seeding failed", process=process.pid, exit_code=process.returncode, **details)
        if process.returncode == ExitCode.STOPPED:
            ended = replace(started, state="interrupted", error="the seeding was stopped")
        elif process.returncode is not None and process.returncode < 0:
            ended = replace(started, state="interrupted", error="the seeding process died")
        else:
            problem = output.rpartition("\n")[2].removeprefix("Error: ").removeprefix(f"{self._options.file}: ")
            ended = replace(started, state="failed", error=problem)
        self._note(process, ended)

    async def _run(self) -> asyncio.subprocess.Process:
        # Pass the store by environment: other users of the machine can see arguments.
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        environment |= {
            "MIMIC_STORE": self._options.store,
            "MIMIC_MONGO_DRIVER": self._options.mongo_driver,
            "SEED_BATCH_SIZE": str(self._options.batch_size),
        }
        # With -P, Python does not import modules from the current folder.
        command = (sys.executable, "-P", "-m", "mimic", "seed", "--quiet", "--", str(self._options.file))
        null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, env=environment, stdin=null, stdout=null, stderr=pipe)

    async def _wait_for_claim(self, process: asyncio.subprocess.Process, before: str | None) -> None:
        """Wait until the store has a seeding of this process other than ``before``. Process ids may repeat."""
        until = asyncio.get_running_loop().time() + SECONDS_TO_CLAIM
        has_ended = False
        while not has_ended and asyncio.get_running_loop().time() < until:
            has_ended = process.returncode is not None  # read first: a process writes its record before its end
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
            return  # it had the store; a failure may leave no record
        if has_ended:
            raise RequestError(
                500, "The seeding process ended before the seeding began; see the log", code="seeding_failed"
            )


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # os.kill would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def seeding_is_on(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard a route. Raises RequestError (403) if seeding over HTTP is switched off."""
    options: SeedingOptions = connection.app.state.seeding
    if not options.secret:
        raise RequestError(403, "Seeding over HTTP is switched off: SEED_SECRET is not set", code="seeding_disabled")


async def check_secret(connection: ASGIConnection[Any, Any, Any, Any], given: bytes) -> None:
    """Check the secret. Raises RequestError (401) if it is missing or wrong."""
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
    description="Replaces the corpus by the dump in SEED_FILE. The old corpus answers until the seeding is done.",
    responses={
        202: ResponseSpec(SeedingStarted, description="The seeding has started.", generate_examples=False),
        **error_responses(400, 401, 403, 409, 413, 415, 503),
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
    """Start a seeding. The secret is checked first."""
    await check_secret(request, data.secret.encode() if data else b"")
    if not seeding_options.file.is_file():
        raise RequestError(409, f"SEED_FILE is {seeding_options.file}, which is not a file", code="seed_file_missing")
    await seeder.start()
    return Response(SeedingStarted(), headers={"location": STATUS_PATH})


@get(
    STATUS_PATH,
    summary="The last seeding",
    tags=["Seeding"],
    guards=[seeding_is_on],
    description=(
        "State and progress of the last seeding, over HTTP or by command, with its report or error. "
        "The secret is the bearer token."
    ),
    security=[{SECRET_SCHEME: []}],
    response_description="The state of the last seeding.",
    responses=error_responses(401, 403, 503),
)
async def last_seeding(
    seeder: NamedDependency[Seeder],
    request: AnyRequest,
) -> Response[Seeding | NeverSeeded]:
    """Return the last seeding. Any worker can answer, since the store has the record."""
    secret = bearer(request.headers.get("authorization", ""))
    await check_secret(request, (secret or "").encode("latin-1"))
    return Response(await seeder.last() or NeverSeeded())
