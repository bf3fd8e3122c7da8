"""Gauges of ``/metrics``, read at each request for them: the store, the corpus, and the processes."""

import asyncio
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mimic import __version__
from mimic.corpus.corpus import Corpus
from mimic.corpus.manifest import Seeded, Seeding, State
from mimic.corpus.schemas import Version
from mimic.errors import StoreError
from mimic.records.base import KindSizes, Records
from mimic.server.observability import METRICS_FOLDER

SECONDS_TO_WAIT: Final = 1.0
"""Timeout for the store, shorter than the timeout of a scrape."""


class Gauges(msgspec.Struct, frozen=True):
    """A snapshot of the stores. ``seeded`` is empty if unknown, and ``seeding`` is the last seeding.

    ``records`` are the sizes of each kind of record; empty if nothing is stored, or if unknown.
    """

    is_up: bool
    seeded: Mapping[Version, Seeded]
    seeding: Seeding | None
    records: Mapping[str, KindSizes] = {}

    @classmethod
    async def of(cls, corpus: Corpus, records: Records) -> "Gauges":
        """Read the gauges from the stores, which may be unreachable."""
        sizes: Mapping[str, KindSizes] = {}
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(SECONDS_TO_WAIT):
                sizes = await records.sizes()
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(SECONDS_TO_WAIT):
                return cls(True, await corpus.contents(), await corpus.seeding(), sizes)
        return cls(False, {}, None, sizes)

    def text(self) -> bytes:
        """Return the gauges in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(_Listed([*self._of_store(), *self._of_records(), *_of_processes()]))
        return generate_latest(registry)

    def _of_store(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("mimic_build_info", "Versions of Mimic and of Python.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build
        yield GaugeMetricFamily("mimic_store_up", "1 if the store answers, else 0.", value=self.is_up)
        for name, text in (
            ("conversations", "Conversations in the corpus."),
            ("messages", "Messages in the corpus."),
            ("documents", "Documents in the corpus."),
        ):
            gauge = GaugeMetricFamily(f"mimic_corpus_{name}", text, labels=("version",))
            for version, seeded in self.seeded.items():
                gauge.add_metric((version,), getattr(seeded, name))
            yield gauge
        since = GaugeMetricFamily("mimic_corpus_seeded_timestamp_seconds", "Time of the seeding.", labels=("version",))
        for version, seeded in self.seeded.items():
            since.add_metric((version,), seeded.seeded_at.timestamp())
        yield since
        if self.seeding:
            states = GaugeMetricFamily("mimic_seeding_state", "State of the last seeding.", labels=("state",))
            for state in get_args(State):
                states.add_metric((state,), state == self.seeding.state)
            yield states
            began = self.seeding.since.timestamp()
            yield GaugeMetricFamily(
                "mimic_seeding_started_timestamp_seconds", "Start of the last seeding.", value=began
            )

    def _of_records(self) -> Iterable[Metric]:
        if not self.records:
            return
        for name, text, field in (
            ("mimic_records", "Stored records.", "records"),
            ("mimic_records_bytes", "Bytes of the data of stored records.", "bytes"),
            ("mimic_records_jobs", "Stored records with unfinished work.", "jobs"),
            ("mimic_records_oldest_timestamp_seconds", "Creation of the oldest stored record.", "oldest"),
        ):
            gauge = GaugeMetricFamily(name, text, labels=("record",))
            for kind, sizes in self.records.items():
                gauge.add_metric((kind,), getattr(sizes, field))
            yield gauge


class _Listed(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _of_processes() -> Iterable[Metric]:
    """Return CPU time, memory and open files of each server process, if the system has ``/proc``."""
    families: dict[str, Metric] = {}
    for pid in sorted({os.getpid(), *workers()}):
        for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            kind = CounterMetricFamily if found.type == "counter" else GaugeMetricFamily
            family = families.setdefault(found.name, kind(found.name, found.documentation, labels=("pid",)))
            for sample in found.samples:
                family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
    return families.values()


def workers() -> Iterable[int]:
    """Yield the ids of live worker processes, if there are several. Removes gauges of dead ones."""
    for file in Path(os.environ.get(METRICS_FOLDER, os.devnull)).glob("gauge_livesum_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # another user's process may have the same id by now
            with suppress(FileNotFoundError):  # another process may remove it at the same time
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
        else:
            yield pid
