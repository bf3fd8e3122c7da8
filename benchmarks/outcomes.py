"""What benchmarks find, as plain data; and the machine that they ran on."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

PACKAGES = ("mimic-chat", "litestar", "uvicorn", "msgspec", "locust")


class Outcome(msgspec.Struct, frozen=True):
    """What came of some load: answers, how many of them were wrong, and how many came in a second.

    50, 95 and 99 percent of them took no more than so many milliseconds.
    """

    answers: int
    wrong: int
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Seeding(msgspec.Struct, frozen=True):
    """What it cost to seed one version alone: ``seconds`` for all of it, ``megabytes_per_second`` of the dump."""

    documents: int
    seconds: float
    megabytes_per_second: float
    peak_memory_bytes: int
    data_bytes: int
    disk_bytes: int
    index_bytes: int


class Machine(msgspec.Struct, frozen=True):
    """Where it ran, and on what."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    versions: Mapping[str, str]


class Result(msgspec.Struct, frozen=True):
    """A benchmark of one store with one dump: by version what seeding cost, by route what came of the load."""

    store: str
    dump: str
    dump_bytes: int
    conversations: int
    messages: int
    users: int
    seconds: float
    at: str
    machine: Machine
    mixture: Mapping[str, float]
    seedings: Mapping[str, Seeding]
    loads: Mapping[str, Outcome]

    @property
    def wrong(self) -> int:
        """Wrong answers, of all routes."""
        return sum(load.wrong for load in self.loads.values())


class Sizes(msgspec.Struct, frozen=True):
    """Benchmarks of one store with dumps of several sizes, the smallest first."""

    results: Sequence[Result]


class Sample(msgspec.Struct, frozen=True):
    """Some seconds of a soak, which ended so many ``seconds`` after its begin: what was asked, and what it cost.

    ``memory_bytes`` and ``handles`` are of each server process, by its number.
    """

    seconds: float
    answers: int
    wrong: int
    rate: float
    p50_ms: float
    p99_ms: float
    is_seeding: bool
    memory_bytes: Mapping[str, int]
    handles: Mapping[str, int]


class Soak(msgspec.Struct, frozen=True):
    """A server under half of the load that it can bear, for long, while it is seeded anew again and again.

    ``problems`` say what went wrong; where there is none, nothing did.
    """

    store: str
    dump: str
    at: str
    machine: Machine
    workers: int
    peak: float
    rate: float
    seedings: int
    samples: Sequence[Sample]
    problems: Sequence[str]


def this_machine(engine: Mapping[str, str]) -> Machine:
    """The machine that runs this, with the name and version of the store's engine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        processor=_processor(),
        cores=cores,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions={**{name: version(name) for name in PACKAGES}, **engine},
    )


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"
