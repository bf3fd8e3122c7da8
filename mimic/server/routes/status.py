"""What is seeded, whether the server is alive and able to answer, and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST

from mimic.corpus.corpus import Corpus
from mimic.corpus.manifest import Seeded, warnings_of
from mimic.corpus.schemas import Version
from mimic.server.error_handlers import AnyRequest, documented
from mimic.server.guards import has_key
from mimic.server.observability.gauges import Gauges
from mimic.server.observability.metrics import Metrics
from mimic.server.options import Defaults


class CorpusDescription(msgspec.Struct, frozen=True):
    """What is seeded, per version; sizes in bytes. ``warnings`` are there where an earlier Mimic seeded it."""

    default_version: Version
    versions: Mapping[str, Seeded]
    warnings: Sequence[str] | msgspec.UnsetType = msgspec.UNSET


class Health(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """The server can answer in these versions. ``warnings`` are there where an earlier Mimic seeded them."""

    versions: Sequence[str]
    status: Literal["ready"] = "ready"
    warnings: Sequence[str] | msgspec.UnsetType = msgspec.UNSET


@get("/corpus", summary="What is seeded", tags=["Status"], responses=documented(503))
async def describe_corpus(
    request: AnyRequest, corpus: NamedDependency[Corpus], defaults: NamedDependency[Defaults]
) -> CorpusDescription:
    """Counts, sizes, the file and its SHA-256, and when, per version; texts of messages to those with a key."""
    seeded = await corpus.contents()
    if not await has_key(request, request.route_handler):
        seeded = {version: _without_texts(entry) for version, entry in seeded.items()}
    warnings = warnings_of(seeded) or msgspec.UNSET
    return CorpusDescription(defaults.version, seeded, warnings)  # type: ignore[arg-type]


def _without_texts(entry: Seeded) -> Seeded:
    return msgspec.structs.replace(entry, profile=entry.profile.without_texts() if entry.profile else None)


@get("/health", summary="Alive?", tags=["Status"])
async def health() -> Health:
    """Always 200 while the process answers at all."""
    return Health()


@get("/ready", summary="Able to answer?", tags=["Status"], responses=documented(503))
async def ready(corpus: NamedDependency[Corpus], defaults: NamedDependency[Defaults]) -> Readiness:
    """200, or 503 with the reason: nothing is seeded for chats by default, or the store or its index is not whole.

    The reason names files without their folders, and no hosts: everybody may ask.
    """
    await corpus.check(defaults.version, defaults.match)
    seeded = await corpus.seeded()
    return Readiness(list(seeded), warnings=warnings_of(seeded) or msgspec.UNSET)


@get("/metrics", summary="Prometheus metrics", tags=["Status"], media_type="text/plain")
async def show_metrics(metrics: NamedDependency[Metrics], corpus: NamedDependency[Corpus]) -> Response[bytes]:
    """In Prometheus' text format."""
    gauges = await Gauges.of(corpus)
    return Response(metrics.text() + gauges.text(), headers={"content-type": CONTENT_TYPE_LATEST})
