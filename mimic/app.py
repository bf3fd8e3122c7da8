"""The application that a server loads: all parts, wired and opened."""

import asyncio
import gc
import multiprocessing
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from litestar import HttpMethod, Litestar, Response, Router, route
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import Scope
from uvicorn.config import STARTUP_FAILURE

from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.corpus.stores import open_store
from mimic.engine.embedding import EmbeddingsRequest, ModelEmbedding, Vectors, embed_all
from mimic.engine.fallback import NOT_FOUND, NoEngine, PlainEngine, chain
from mimic.engine.moderation import Moderator
from mimic.engine.retrieval import RetrievalEngine
from mimic.engine.tools.assistant import AssistantEngine
from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.context import Gateway, Policy
from mimic.gateway.faults import FaultInjector
from mimic.gateway.handle import Endpoint
from mimic.gateway.journal import Journal
from mimic.gateway.ledger import FILE_VARIABLE, IN_MEMORY, Ledger
from mimic.gateway.rate_limits import RateLimiter
from mimic.jobs.batches import BatchWork
from mimic.jobs.lines import LineAnswerer
from mimic.jobs.posting import Poster
from mimic.jobs.runner import Runner
from mimic.jobs.webhooks import WebhookSender
from mimic.recordings.options import RECORDED, UPSTREAM
from mimic.recordings.place import open_recordings
from mimic.records import open_records
from mimic.records.base import Records
from mimic.records.sweeper import Sweeper
from mimic.server.bodies import JSONRequest
from mimic.server.cors import ANY
from mimic.server.endpoints import answer_by
from mimic.server.error_handlers import EXCEPTION_HANDLERS, AnyRequest, format_methods
from mimic.server.guards import owner_of
from mimic.server.listening import is_loopback
from mimic.server.observability.lines import LineObserver
from mimic.server.observability.logs import configure_logs
from mimic.server.observability.metrics import Metrics
from mimic.server.observability.requests import UNKNOWN_ROUTE, RequestLog
from mimic.server.pipeline import add_layers
from mimic.server.responses_websocket import serve_responses
from mimic.server.routes import (
    batches,
    chats,
    conversations,
    docs,
    files,
    journal,
    moderations,
    native,
    openai,
    page,
    responses,
    seeding,
    status,
    uploads,
    webhooks,
)
from mimic.server.routes import corpus as corpus_routes
from mimic.settings import Settings
from mimic.stored.batches import BatchStore
from mimic.stored.chats import ChatStore
from mimic.stored.connection import ConnectionResponses
from mimic.stored.conversations import ConversationStore
from mimic.stored.files import FileStore, FileSweeper
from mimic.stored.response_state import KIND as RESPONSE
from mimic.stored.responses import ResponseStore
from mimic.stored.uploads import UploadStore
from mimic.stored.webhook_deliveries import KIND as DELIVERY
from mimic.stored.webhook_deliveries import DeliveryStore
from mimic.stored.webhook_endpoints import EndpointStore
from mimic.stored.webhook_targets import TargetGuard, TargetPolicy
from mimic.wire import native as native_wire
from mimic.wire.openai import chat, completions, embeddings
from mimic.wire.openai import responses as responses_format
from mimic.wire.openai.base import Names
from mimic.wire.openai.moderations import PATH as MODERATIONS
from mimic.wire.openai.moderations import ModerationsWire
from mimic.wire.openai.responses.compaction import CompactWire, compact
from mimic.wire.openai.responses.socket import SocketWire, complete_or_prepare
from mimic.wire.openai.responses.wire import ResponsesWire, TokenCountWire, count_tokens
from mimic.wire.openai.sampled import CompletionOptions

if TYPE_CHECKING:
    from mimic.recordings.relay import Relay

log = structlog.get_logger("mimic")

ANSWERED = Policy(limited=True, faulty=True, queued=True)
"""The policy of chats and prompts."""
DOCUMENTED = {
    native_wire.PATH: native.complete,
    chat.PATH: openai.complete_chat,
    completions.PATH: openai.complete_prompt,
    responses_format.PATH: responses.create_response,
    responses_format.COUNT_PATH: responses.count_input_tokens,
    responses_format.COMPACT_PATH: responses.compact_input,
    embeddings.PATH: openai.embed_texts,
    MODERATIONS: moderations.check_texts,
}
"""Handlers of the endpoints, which only the OpenAPI document uses."""
TYPE_OF_PARAMETER = re.compile(r":\w+\}")
"""The type of a route's parameter, which the template of the route leaves out."""


async def _show_methods(request: AnyRequest) -> Response[None]:
    """Answer with the methods of a path that has several. Litestar would name only the first one."""
    methods = next(
        methods
        for path, methods in request.app.route_handler_method_map.items()
        if TYPE_OF_PARAMETER.sub("}", path) == request.scope["path_template"]
    )
    return Response(None, headers={"allow": format_methods(methods)})


def _with_methods(*paths: str) -> HTTPRouteHandler:
    """The handler of OPTIONS for some paths."""
    return route(list(paths), http_method=HttpMethod.OPTIONS, status_code=204, include_in_schema=False)(_show_methods)


BESIDE = {chat.PATH: (_with_methods(chat.PATH), chats.list_chats)}
"""Handlers of other methods on the paths of endpoints."""
show_methods = _with_methods(
    *(seeding.STATUS_PATH, journal.PATH, openai.MODEL_PATH, chats.COMPLETION_PATH, responses.RESPONSE_PATH),
    *conversations.WITH_METHODS,
    *files.WITH_METHODS,
    *batches.WITH_METHODS,
    *webhooks.WITH_METHODS,
)
ROUTES = (
    seeding.start_seeding,
    seeding.last_seeding,
    page.ROUTES,
    corpus_routes.ROUTES,
    status.describe_corpus,
    status.health,
    status.ready,
    status.show_metrics,
    journal.recent_requests,
    journal.forget_requests,
    docs.page_asset,
    openai.list_models,
    openai.retrieve_model,
    openai.delete_model,
    *chats.ROUTES,
    *responses.ROUTES,
    *conversations.ROUTES,
    *files.ROUTES,
    *uploads.ROUTES,
    *batches.ROUTES,
    *webhooks.ROUTES,
)
"""Routes that Litestar answers, in the order of the OpenAPI document."""


class _Application(Litestar):
    """Litestar without its plugins for pydantic and attrs: no route needs them, and pydantic takes 0.1 s to load."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


class _Parts:
    """The parts of an application, wired and not yet opened. Raises SettingError."""

    def __init__(self, settings: Settings, ledger_file: str) -> None:
        store = open_store(settings.store, settings.mongo_driver)
        self.tracing = None
        retrieval: Callable[[Corpus], RetrievalEngine] = RetrievalEngine
        if settings.traces:
            from mimic.server.observability import tracing  # noqa: PLC0415 - its dependencies are optional

            self.tracing = tracing.Tracing(_route, UNKNOWN_ROUTE)
            store = tracing.TracedStore(store, self.tracing, settings.store)
            retrieval = partial(tracing.TracedEngine, tracing=self.tracing)
        model = settings.open_model()
        self.corpus = Corpus(store, model=model)
        self.retrieval = retrieval(self.corpus)
        self.ledger = Ledger(ledger_file)
        self.guard = BruteForceGuard(self.ledger)
        self.gateway = _gateway(settings, self.ledger, self.guard)
        self.records = open_records(settings.records, settings.store, settings.record_options, _folder_of(ledger_file))
        self.conversations = ConversationStore(self.records)
        targets, hooks = _target_guard(settings), settings.webhook_options
        self.webhooks = EndpointStore(self.records, targets)
        self.deliveries = DeliveryStore(self.records, self.webhooks, len(hooks.urls), hooks.seconds)
        self.sender = WebhookSender(self.webhooks, self.deliveries, Poster(targets), hooks)
        self.responses = ResponseStore(self.records, self.conversations, self.deliveries)
        self.runner = Runner(self.records, {RESPONSE: self.responses.finish}, {DELIVERY: self.sender.deliver})
        self.chats = ChatStore(self.records)
        self.files = FileStore(self.records, settings.file_options)
        self.uploads = UploadStore(self.records, self.files)
        self.batches = BatchStore(self.records, self.files, settings.batch_options)
        holders = [self.files.holds, self.uploads.holds, self.batches.holds]
        self.file_sweeper = FileSweeper(self.records, holders)
        embed = ModelEmbedding(model).embed_all if model else embed_all
        options, engine = _options(settings), _engine(settings, self.retrieval, self.corpus)
        moderator = Moderator(settings.moderation_words)
        self.endpoints = _endpoints(options, engine, self.retrieval, embed, self.chats, self.responses, moderator)
        self.socket = partial(
            serve_responses,
            gateway=self.gateway,
            stored=self.responses,
            endpoint_of=partial(_socket_endpoint, options, engine),
        )
        self.metrics = Metrics()
        self.relay = _relay(settings, self.records, self.ledger, self.metrics)
        if self.relay:
            self.endpoints = tuple(_relayed(self.relay, settings, self.retrieval, self.corpus, self.endpoints))
        by_path = {endpoint.path: endpoint for endpoint in self.endpoints}
        answerer = LineAnswerer(by_path, self.gateway, partial(LineObserver, self.metrics))
        self.batch_work = BatchWork(self.records, self.files, self.batches, answerer, self.deliveries)
        self.batch_runner = Runner(self.records, self.batch_work.works)
        self.seeder = seeding.Seeder(settings.seeding_options, self.corpus, self.ledger)


def create_app(settings: Settings, ledger_file: str = IN_MEMORY) -> RequestLog:
    """The ASGI application. Its lifespan opens and closes the store and the state shared with other workers.

    Raises SettingError.
    """
    parts = _Parts(settings, ledger_file)
    journal_of_requests = Journal(parts.ledger, settings.journal) if settings.journal else None
    return add_layers(
        _litestar(settings, parts),
        parts.gateway,
        {endpoint.path: endpoint for endpoint in parts.endpoints},
        {responses_format.PATH: parts.socket},
        log=partial(
            RequestLog,
            metrics=parts.metrics,
            route_of=_route,
            journal=journal_of_requests,
            logs_requests=settings.access_log,
        ),
        trace=parts.tracing.watch if parts.tracing else None,
        origins=settings.cors_origins,
        guards_host=_is_private(settings) and ANY not in settings.cors_origins,
        hosts=settings.hosts,
    )


def _litestar(settings: Settings, parts: _Parts) -> Litestar:
    """The Litestar application: its routes, and the lifespan of the parts."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        _end_with_parent()
        with parts.ledger if settings.needs_ledger else nullcontext():
            async with (
                parts.tracing or nullcontext(),
                parts.corpus,
                parts.seeder,
                parts.metrics.shared(),
                parts.records,
                Sweeper(parts.records),
                parts.file_sweeper,
                parts.runner,
                parts.batch_runner,
                parts.relay or nullcontext(),
            ):
                yield

    return _Application(
        [show_methods, *_endpoint_routers(parts), *ROUTES],
        dependencies={
            "corpus": _provide(parts.corpus),
            "defaults": _provide(settings.defaults),
            "names": _provide(_names(settings)),
            "seeding_options": _provide(settings.seeding_options),
            "metrics": _provide(parts.metrics),
            "ledger": _provide(parts.ledger),
            "records": _provide(parts.records),
            "responses": _provide(parts.responses),
            "conversations": _provide(parts.conversations),
            "chats": _provide(parts.chats),
            "files": _provide(parts.files),
            "uploads": _provide(parts.uploads),
            "batches": _provide(parts.batches),
            "webhooks": _provide(parts.webhooks),
            "deliveries": _provide(parts.deliveries),
            "sender": _provide(parts.sender),
            "owner": Provide(owner_of, sync_to_thread=False),
            "seeder": _provide(parts.seeder),
        },
        lifespan=[lifespan],
        request_class=JSONRequest,
        state=State(
            {
                "gateway": parts.gateway,
                "guard": parts.guard,
                "defaults": settings.defaults,
                "seeding": settings.seeding_options,
            }
        ),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=docs.openapi_config(),
        logging_config=None,
    )


def _is_private(settings: Settings) -> bool:
    """Return True for a server without keys that only programs on the same machine can reach."""
    return not settings.api_keys and is_loopback(settings.host)


def _target_guard(settings: Settings) -> TargetGuard:
    return TargetGuard(TargetPolicy(settings.webhook_hosts, _is_private(settings)))


def _folder_of(ledger_file: str) -> Path | None:
    """The temporary folder that the worker processes share, if there are several."""
    return None if ledger_file == IN_MEMORY else Path(ledger_file).parent


def _provide(part: object) -> Provide:
    return Provide(lambda: part, sync_to_thread=False)


def _gateway(settings: Settings, ledger: Ledger, guard: BruteForceGuard) -> Gateway:
    return Gateway(
        ledger,
        Keys(settings.api_keys, guard),
        RateLimiter(settings.limit_options),
        FaultInjector(settings.fault_options),
        ConcurrencyLimit(settings.most_in_flight),
        settings.pace_options,
    )


def _relay(settings: Settings, records: Records, ledger: Ledger, metrics: Metrics) -> "Relay | None":
    """The recordings and the upstream; None if no setting uses them."""
    if not settings.uses_recordings:
        return None
    from mimic.recordings.budget import Budget  # noqa: PLC0415
    from mimic.recordings.relay import Relay  # noqa: PLC0415 - its HTTP client takes a while to import
    from mimic.recordings.upstream import Upstream  # noqa: PLC0415

    options = settings.upstream_options
    return Relay(
        settings.relay_options,
        open_recordings(settings.recordings, records, settings.recordings_ignore),
        Upstream(options, metrics.show_pause) if options else None,
        settings.redactor,
        ledger,
        Budget(records, settings.upstream_tokens_per_day) if settings.upstream_tokens_per_day else None,
        metrics.count_upstream,
    )


def _relayed(
    relay: "Relay", settings: Settings, retrieval: RetrievalEngine, corpus: Corpus, endpoints: Sequence[Endpoint]
) -> Iterator[Endpoint]:
    """The endpoints, with recordings and the upstream in the chain of answers."""
    answer_corpus, answer_rest = None, None
    if settings.match != RECORDED and settings.upstream:
        answer_corpus = PlainEngine(retrieval).complete
    first, _, rest = settings.on_miss.partition(",")
    if first == UPSTREAM and rest:  # the corpus was asked before
        none = NoEngine()
        answer_rest = AssistantEngine(none, chain(none, rest, corpus), settings.tool_options).complete
    elif settings.match != RECORDED and not settings.upstream:
        answer_rest = _engine(settings, retrieval, corpus).complete
    for endpoint in endpoints:
        yield relay.endpoint(endpoint, answer_corpus, answer_rest) if endpoint.policy.queued else endpoint


def _names(settings: Settings) -> Names:
    return Names(settings.version, settings.strict_models)


def _options(settings: Settings) -> CompletionOptions:
    policy = MatchPolicy(settings.depth, settings.min_score, templates=settings.prompt_templates)
    return CompletionOptions(_names(settings), policy, settings.strict, settings.reasoning)


def _engine(settings: Settings, retrieval: RetrievalEngine, corpus: Corpus) -> AssistantEngine:
    """The engine without the upstream."""
    first, _, rest = settings.on_miss.partition(",")
    on_miss = (rest or NOT_FOUND) if first == UPSTREAM else settings.on_miss
    return AssistantEngine(retrieval, chain(retrieval, on_miss, corpus), settings.tool_options)


def _socket_endpoint(options: CompletionOptions, engine: AssistantEngine, recent: ConnectionResponses) -> Endpoint:
    """The endpoint of one WebSocket, which knows the recent responses of its connection."""
    answer = partial(complete_or_prepare, engine.complete)
    return Endpoint(responses_format.PATH, SocketWire(options, recent), answer, ANSWERED)


def _endpoints(
    options: CompletionOptions,
    engine: AssistantEngine,
    retrieval: RetrievalEngine,
    embed: Callable[[EmbeddingsRequest], Awaitable[Vectors]],
    kept: ChatStore,
    stored: ResponseStore,
    moderator: Moderator,
) -> Sequence[Endpoint]:
    """The endpoints, in the order of the OpenAPI document."""
    names = options.names
    native_format = native_wire.NativeWire(names.version, options.policy)
    chat_format = chat.ChatWire(options)
    return (
        Endpoint(native_wire.PATH, native_format, retrieval.continuations),
        Endpoint(chat.PATH, chat_format, engine.complete, ANSWERED, partial(kept.keep, chat_format)),
        Endpoint(completions.PATH, completions.CompletionsWire(options), engine.complete, ANSWERED),
        Endpoint(responses_format.PATH, ResponsesWire(options, stored), engine.complete, ANSWERED, stored.keep),
        Endpoint(responses_format.COUNT_PATH, TokenCountWire(options, stored), count_tokens, Policy(limited=True)),
        Endpoint(responses_format.COMPACT_PATH, CompactWire(names, stored), compact, Policy(limited=True)),
        Endpoint(embeddings.PATH, embeddings.EmbeddingsWire(names), embed, Policy(limited=True)),
        Endpoint(MODERATIONS, ModerationsWire(names), moderator.moderate, Policy(limited=True)),
    )


def _endpoint_routers(parts: _Parts) -> Iterator[Router]:
    """A route for each endpoint. Its handler is the documentation; its middleware answers."""
    for endpoint in parts.endpoints:
        handlers = [*BESIDE.get(endpoint.path, ()), DOCUMENTED[endpoint.path]]
        yield Router("/", route_handlers=handlers, middleware=[answer_by(endpoint, parts.gateway)])


def from_environment() -> RequestLog:
    """The application for a worker process. Ends the process if the application cannot start."""
    configure_logs()
    try:
        app = create_app(Settings.from_environment(os.environ), os.environ.get(FILE_VARIABLE, IN_MEMORY))
    except Exception as exc:
        log.exception("cannot start")
        raise SystemExit(STARTUP_FAILURE) from exc  # uvicorn does not retry after this code
    _collect_seldom()
    return app


def _end_with_parent() -> None:
    """End this worker process with SIGTERM when its parent process is killed."""
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    if parent is None:
        return

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        log.error("the parent process has ended")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)


def _collect_seldom() -> None:
    """Run the garbage collector less often, and exclude the objects that exist now.

    A collection pauses all requests and streams, and finds almost nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def _route(scope: Scope) -> str:
    """The template of the route, not the path: the number of paths is unlimited."""
    return scope.get("path_template") or UNKNOWN_ROUTE
