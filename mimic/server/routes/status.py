"""Status of the server: the corpus, liveness, readiness and metrics."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST

from mimic.corpus.corpus import Corpus
from mimic.corpus.manifest import Seeded, warnings_of
from mimic.corpus.schemas import Version
from mimic.errors import NotSeeded
from mimic.records.base import Records
from mimic.server.error_handlers import AnyRequest, error_responses
from mimic.server.guards import has_key
from mimic.server.observability.gauges import Gauges
from mimic.server.observability.metrics import Metrics
from mimic.server.options import Defaults


class CorpusDescription(msgspec.Struct, frozen=True):
    """The corpus per version; sizes in bytes. ``warnings`` are present if an earlier Mimic seeded it."""

    default_version: Version
    versions: Mapping[str, Seeded]
    warnings: Sequence[str] | msgspec.UnsetType = msgspec.UNSET


class Health(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """The versions with a corpus. ``warnings`` are present if an earlier Mimic seeded them."""

    versions: Sequence[str]
    status: Literal["ready"] = "ready"
    warnings: Sequence[str] | msgspec.UnsetType = msgspec.UNSET


@get("/corpus", summary="The corpus", tags=["Status"], responses=error_responses(503))
async def describe_corpus(
    request: AnyRequest, corpus: NamedDependency[Corpus], defaults: NamedDependency[Defaults]
) -> CorpusDescription:
    """Return counts, sizes, file, SHA-256 and time of seeding per version; message texts only with a valid key."""
    seeded = await corpus.contents()
    if not await has_key(request, request.route_handler):
        seeded = {version: _without_texts(entry) for version, entry in seeded.items()}
    warnings = warnings_of(seeded) or msgspec.UNSET
    return CorpusDescription(defaults.version, seeded, warnings)  # type: ignore[arg-type]


def _without_texts(entry: Seeded) -> Seeded:
    return msgspec.structs.replace(entry, profile=entry.profile.without_texts() if entry.profile else None)


@get("/health", summary="Liveness", tags=["Status"])
async def health() -> Health:
    """Return 200 while the process is alive."""
    return Health()


@get("/ready", summary="Readiness", tags=["Status"], responses=error_responses(503))
async def ready(corpus: NamedDependency[Corpus], defaults: NamedDependency[Defaults]) -> Readiness:
    """Return 200, or 503 with the reason: the default version is not seeded, or the store or its index is damaged.

    The reason contains no folders and no hosts, since the route needs no key.
    """
    try:
        await corpus.check(defaults.version, defaults.match)
        seeded = await corpus.seeded()
    except NotSeeded:
        if defaults.needs_corpus:
            raise
        seeded = {}
    return Readiness(list(seeded), warnings=warnings_of(seeded) or msgspec.UNSET)


@get("/metrics", summary="Prometheus metrics", tags=["Status"], media_type="text/plain")
async def show_metrics(
    metrics: NamedDependency[Metrics], corpus: NamedDependency[Corpus], records: NamedDependency[Records]
) -> Response[bytes]:
    """Return the metrics in Prometheus' text format."""
    gauges = await Gauges.of(corpus, records)
    return Response(metrics.text() + gauges.text(), headers={"content-type": CONTENT_TYPE_LATEST})
