"""``/conversation/seed``: seeding over HTTP, guarded by a secret.

The work runs in a process of its own, the same as ``mimic seed``; the store records how it goes, so whichever worker
is asked can tell, and the record outlives this server.
"""

import asyncio
import hmac
import os
import sys
from typing import Annotated, Any, Literal, Self

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.api.errors import ApiError, documented
from mimic.corpus import Corpus
from mimic.errors import SeedingInProgress, StoreUnavailable
from mimic.seedings import ExitCode, Seeding
from mimic.settings import Settings
from mimic.stores.base import holder_name

log = structlog.get_logger("mimic")

STATUS_PATH = "/conversation/seed"
SECURITY_SCHEME = "SEED_SECRET"
SECONDS_TO_CLAIM = 15.0
SECONDS_TO_STOP = 10.0


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


class Seeder:
    """Runs ``mimic seed`` in a process of its own, at most one for this server. An async context manager."""

    def __init__(self, settings: Settings, corpus: Corpus) -> None:
        self._settings = settings
        self._corpus = corpus
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop what is running; it records that it was interrupted."""
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

        Raises SeedingInProgress and StoreUnavailable.
        """
        running = await self._corpus.store.seeding()
        if running and running.state == "running":
            raise SeedingInProgress(running.holder, running.since)
        # By environment and not by arguments, which other users of the machine can see.
        environment = {name: value for name, value in os.environ.items() if name != "SEED_SECRET"}
        environment |= {
            "MIMIC_STORE": self._settings.store,
            "MIMIC_MONGO_DRIVER": self._settings.mongo_driver,
            "SEED_BATCH_SIZE": str(self._settings.seed_batch_size),
        }
        command = (sys.executable, "-m", "mimic", "seed", "--quiet", "--", str(self._settings.seed_file))
        self._process = process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        log.info("seeding started", process=process.pid, file=str(self._settings.seed_file))
        self._watching = asyncio.create_task(_watch(process))
        await self._claimed(process)

    async def _claimed(self, process: asyncio.subprocess.Process) -> None:
        until = asyncio.get_running_loop().time() + SECONDS_TO_CLAIM
        while process.returncode is None and asyncio.get_running_loop().time() < until:
            seeding = await self._corpus.store.seeding()
            if seeding and seeding.holder == holder_name(process.pid):
                return
            await asyncio.sleep(0.05)
        if process.returncode == ExitCode.STORE_UNREACHABLE:
            raise StoreUnavailable("the seeding could not use the store")
        if process.returncode == ExitCode.IN_PROGRESS:
            raise SeedingInProgress("another process", None)


async def _watch(process: asyncio.subprocess.Process) -> None:
    code = await process.wait()
    if code == 0:
        log.info("seeding done", process=process.pid)
    else:
        log.error("seeding failed", process=process.pid, exit_code=code)


@post(
    STATUS_PATH,
    status_code=202,
    summary="Seed from SEED_FILE",
    description="Replaces the corpus by the file that SEED_FILE names; until it is there, the old one answers.",
    responses={
        202: ResponseSpec(SeedingStarted, description="It has started.", generate_examples=False),
        **documented(400, 401, 403, 409, 503),
    },
)
async def start_seeding(
    data: Annotated[
        SeedRequest, BodyKwarg(media_type="application/json", examples=[Example(value={"secret": "the secret"})])
    ],
    settings: NamedDependency[Settings],
    seeder: NamedDependency[Seeder],
) -> Response[SeedingStarted]:
    """The secret is looked at before anything else."""
    check_secret(settings, data.secret.encode())
    if not settings.seed_file.is_file():
        raise ApiError(409, f"There is no file {settings.seed_file}, which SEED_FILE names", code="seed_file_missing")
    await seeder.start()
    return Response(SeedingStarted(), headers={"location": STATUS_PATH})


@get(
    STATUS_PATH,
    summary="The last seeding",
    description="State, progress, and the report or the error, whoever ran it. The secret is the bearer token.",
    security=[{SECURITY_SCHEME: []}],
    responses={
        200: ResponseSpec(Seeding | NeverSeeded, description="How it stands.", generate_examples=False),
        **documented(401, 403, 503),
    },
)
async def last_seeding(
    settings: NamedDependency[Settings],
    corpus: NamedDependency[Corpus],
    request: Request[Any, Any, Any],
) -> Response[Any]:
    """The store knows, so any worker can tell."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    check_secret(settings, secret.strip().encode("latin-1") if scheme.lower() == "bearer" else b"")
    return Response(await corpus.store.seeding() or NeverSeeded())


def check_secret(settings: Settings, given: bytes) -> None:
    """Raises ApiError: 403 where seeding over HTTP is off, 401 where the secret is wrong. In constant time."""
    if not settings.seed_secret:
        raise ApiError(403, "Seeding over HTTP is switched off: SEED_SECRET is not set", code="seeding_disabled")
    if not hmac.compare_digest(given, settings.seed_secret.encode(errors="surrogateescape")):
        raise ApiError(
            401, "The secret is missing or wrong", code="invalid_secret", headers={"www-authenticate": "Bearer"}
        )
