"""Results of benchmarks as plain data, and the machine that they ran on."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

PACKAGES = ("mimic-chat", "litestar", "uvicorn", "msgspec", "locust")


class Outcome(msgspec.Struct, frozen=True):
    """The result of some load: answers, the number of wrong ones, and answers per second.

    50, 95 and 99 percent of the answers took no more than the given milliseconds.
    """

    answers: int
    wrong: int
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Seeding(msgspec.Struct, frozen=True):
    """The cost of seeding one version alone: ``seconds`` for all of it, ``megabytes_per_second`` of the dump."""

    documents: int
    seconds: float
    megabytes_per_second: float
    peak_memory_bytes: int
    data_bytes: int
    disk_bytes: int
    index_bytes: int


class Machine(msgspec.Struct, frozen=True):
    """The machine and the software of a run."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    versions: Mapping[str, str]


class Result(msgspec.Struct, frozen=True):
    """A benchmark of one store with one dump: the cost of seeding by version, the result of the load by route."""

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
    """Some seconds of a soak: its load and its cost.

    ``seconds`` counts from the start of the soak to the end of the sample. ``memory_bytes`` and
    ``handles`` are of each server process, by its number.
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
    """A server under half of its highest load, for a long time, while its corpus is seeded again and again.

    ``problems`` lists every failure.
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
    """The machine of this process, with the name and version of the store's engine."""
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
