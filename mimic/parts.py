"""The parts of an application, wired by its settings."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mimic.corpus.corpus import Corpus
from mimic.corpus.stores import open_store
from mimic.endpoint_table import EndpointTable
from mimic.engine.embedding import ModelEmbedding, embed_all
from mimic.engine.retrieval import RetrievalEngine
from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.context import Gateway
from mimic.gateway.faults import FaultInjector
from mimic.gateway.ledger import IN_MEMORY, Ledger
from mimic.gateway.rate_limits import RateLimiter
from mimic.jobs.batches import BatchWork
from mimic.jobs.lines import LineAnswerer
from mimic.jobs.posting import Poster
from mimic.jobs.runner import Runner
from mimic.jobs.webhooks import WebhookSender
from mimic.recordings.place import open_recordings
from mimic.records import open_records
from mimic.records.base import Records
from mimic.records.sweeper import Sweeper
from mimic.server.observability.lines import LineObserver
from mimic.server.observability.metrics import Metrics
from mimic.server.observability.requests import UNKNOWN_ROUTE
from mimic.server.responses_websocket import serve_responses
from mimic.server.routes.seeding import Seeder
from mimic.server.routes.table import route_of
from mimic.settings import Settings
from mimic.stored.response_state import KIND as RESPONSE
from mimic.stored.run_state import KIND as RUN
from mimic.stored.stores import Stores
from mimic.stored.webhook_deliveries import KIND as DELIVERY
from mimic.stored.webhook_targets import TargetGuard, TargetPolicy
from mimic.wire.openai.base import Names

if TYPE_CHECKING:
    from mimic.recordings.relay import Relay
    from mimic.server.observability.tracing import Tracing


class Parts:
    """The parts of an application. ``opened`` opens and closes them."""

    def __init__(self, settings: Settings, ledger_file: str) -> None:
        """Wire the parts. Raises SettingError."""
        self._settings = settings
        store = open_store(settings.store, settings.mongo_driver)
        self.tracing: Tracing | None = None
        retrieval: Callable[[Corpus], RetrievalEngine] = RetrievalEngine
        if settings.traces:
            from mimic.server.observability import tracing  # noqa: PLC0415 - its dependencies are optional

            self.tracing = tracing.Tracing(route_of, UNKNOWN_ROUTE)
            store = tracing.TracedStore(store, self.tracing, settings.store)
            retrieval = partial(tracing.TracedEngine, tracing=self.tracing)
        model = settings.open_model()
        self.corpus = Corpus(store, model=model)
        self.ledger = Ledger(ledger_file)
        self.metrics = Metrics()
        self.guard = BruteForceGuard(self.ledger)
        self.gateway = _gateway(settings, self.ledger, self.guard)
        self.records = open_records(settings.records, settings.store, settings.record_options, _folder_of(ledger_file))
        targets, hooks = (
            TargetGuard(TargetPolicy(settings.webhook_hosts, settings.is_private)),
            settings.webhook_options,
        )
        self.stores = Stores(
            self.records,
            targets,
            hooks,
            settings.file_options,
            settings.batch_options,
            Names(settings.version, settings.strict_models),
            settings.assistants,
        )
        self.sender = WebhookSender(self.stores.webhooks, self.stores.deliveries, Poster(targets), hooks)
        self.table = EndpointTable(settings, self.corpus, retrieval(self.corpus))
        endpoints = self.table.endpoints(self.stores, ModelEmbedding(model).embed_all if model else embed_all)
        self.relay = _relay(settings, self.records, self.ledger, self.metrics, self.tracing)
        self.endpoints = tuple(self.table.relayed(self.relay, endpoints)) if self.relay else endpoints
        self.run_endpoints = self.table.run_endpoints(self.stores)
        self._wire_jobs()
        self.seeder = Seeder(settings.seeding_options, self.corpus, self.ledger)
        self.socket = partial(
            serve_responses,
            gateway=self.gateway,
            stored=self.stores.responses,
            endpoint_of=partial(self.table.socket_endpoint, self.relay),
        )

    def _wire_jobs(self) -> None:
        """Wire the work in the background."""
        stores = self.stores
        self.runner = Runner(
            self.records, {RESPONSE: stores.responses.finish, RUN: stores.runs.finish}, {DELIVERY: self.sender.deliver}
        )
        by_path = {endpoint.path: endpoint for endpoint in self.endpoints}
        answerer = LineAnswerer(by_path, self.gateway, partial(LineObserver, self.metrics))
        self.batch_work = BatchWork(self.records, stores.files, stores.batches, answerer, stores.deliveries)
        self.batch_runner = Runner(self.records, self.batch_work.works)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open all parts, in an order in which each finds open what it uses."""
        with self.ledger if self._settings.needs_ledger else nullcontext():
            async with AsyncExitStack() as stack:
                for part in (
                    self.tracing or nullcontext(),
                    self.corpus,
                    self.seeder,
                    self.metrics.shared(),
                    self.records,
                    Sweeper(self.records),
                    self.stores.file_sweeper(self.records),
                    self.runner,
                    self.batch_runner,
                    self.relay or nullcontext(),
                ):
                    await stack.enter_async_context(part)
                yield


def _folder_of(ledger_file: str) -> Path | None:
    """The temporary folder that the worker processes share, if there are several."""
    return None if ledger_file == IN_MEMORY else Path(ledger_file).parent


def _gateway(settings: Settings, ledger: Ledger, guard: BruteForceGuard) -> Gateway:
    return Gateway(
        ledger,
        Keys(settings.api_keys, guard),
        RateLimiter(settings.limit_options),
        FaultInjector(settings.fault_options),
        ConcurrencyLimit(settings.most_in_flight),
        settings.pace_options,
    )


def _relay(
    settings: Settings, records: Records, ledger: Ledger, metrics: Metrics, tracing: "Tracing | None"
) -> "Relay | None":
    """The recordings and the upstream; None if no setting uses them."""
    if not settings.uses_recordings:
        return None
    from mimic.recordings.budget import Budget  # noqa: PLC0415
    from mimic.recordings.calls import unwatched  # noqa: PLC0415
    from mimic.recordings.relay import Relay  # noqa: PLC0415 - its HTTP client takes a while to import
    from mimic.recordings.upstream import Upstream  # noqa: PLC0415

    options = settings.upstream_options
    return Relay(
        settings.relay_options,
        open_recordings(settings.recordings, records, settings.recordings_ignore),
        Upstream(options, metrics.show_pause, tracing.call if tracing else unwatched) if options else None,
        settings.redactor,
        ledger,
        Budget(records, settings.upstream_tokens_per_day) if settings.upstream_tokens_per_day else None,
        metrics.count_upstream,
    )
