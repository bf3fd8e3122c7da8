"""The application: everything built and wired. What a server loads."""

import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import structlog
from litestar import HttpMethod, Litestar, Request, Response, Router, get, route
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath
from litestar.response import File
from litestar.types import ASGIApp, Scope
from uvicorn.config import STARTUP_FAILURE

from mimic import __version__
from mimic.corpus.corpus import Corpus
from mimic.corpus.stores import open_store
from mimic.gateway import auth as keys
from mimic.gateway.concurrency_limit import Traffic
from mimic.gateway.faults import point_of
from mimic.gateway.guesses import BruteForceGuard
from mimic.gateway.ledger import FILE_VARIABLE, IN_MEMORY, Ledger
from mimic.gateway.moods import Moods
from mimic.gateway.throttle import Throttle
from mimic.server import request_ids as ids
from mimic.server.bodies import JSONRequest
from mimic.server.errors import EXCEPTION_HANDLERS, answer, listed
from mimic.server.fastpath import FastPath, Plain
from mimic.server.head import HeadMiddleware
from mimic.server.host_guard import ANY, Cors, HostGuard, is_loopback
from mimic.server.observability.logs import configure_logs
from mimic.server.observability.requests import UNKNOWN_ROUTE, Metrics, RequestLog
from mimic.server.routes import corpus as browsing
from mimic.server.routes import journal, page, seeding, status
from mimic.server.routes import native as completion
from mimic.settings import Settings
from mimic.wire.openai import chat, completions, embeddings, models

log = structlog.get_logger("mimic")

LARGEST_BODY = 10_000_000
ASSETS = "/schema-assets"
ASSET_NAMES = ("swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-standalone-preset.js")


def create_app(settings: Settings, ledger_file: str = IN_MEMORY) -> RequestLog:
    """The ASGI application; its lifespan opens and closes the store, and what it shares with other worker processes.

    Raises SettingError.
    """
    store = open_store(settings.store, settings.mongo_driver)
    tracing = None
    if settings.traces:
        from mimic.server.observability.tracing import TracedStore, Tracing  # noqa: PLC0415 - it is not installed where nobody wants it

        tracing = Tracing(_route, UNKNOWN_ROUTE)
        store = TracedStore(store, tracing, settings.store)
    corpus = Corpus(store, tracing)
    metrics = Metrics()
    seeder = seeding.Seeder(settings, corpus)
    ledger = Ledger(ledger_file)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        _end_with_parent()
        with ledger if settings.needs_ledger else nullcontext():
            async with tracing or nullcontext(), store, seeder, metrics.shared():
                yield

    app = Litestar(
        [
            show_methods,  # before the handlers that it is about
            completion.complete,
            seeding.start_seeding,
            seeding.last_seeding,
            page.ROUTES,
            browsing.ROUTES,
            status.describe_corpus,
            status.health,
            status.ready,
            status.show_metrics,
            journal.recent_requests,
            journal.forget_requests,
            page_asset,
            _openai_routes(settings, ledger),
        ],
        dependencies={
            "corpus": Provide(lambda: corpus, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "ledger": Provide(lambda: ledger, sync_to_thread=False),
            "seeder": Provide(lambda: seeder, sync_to_thread=False),
        },
        lifespan=[lifespan],
        request_class=JSONRequest,
        state=State({"settings": settings, "guesses": BruteForceGuard(ledger)}),
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=LARGEST_BODY,
        openapi_config=_openapi(),
        logging_config=None,
    )
    plain: dict[str, Plain[Any]] = {completion.PATH: completion.plain(corpus, settings, metrics)}
    if settings.answers_at_once:
        plain[f"/v1{chat.PATH}"] = chat.plain(corpus, settings, metrics)
    recorded = journal.Journal(ledger, settings.journal) if settings.journal else None
    answering: ASGIApp = _guarded(HeadMiddleware(FastPath(app, settings, plain)), settings)
    if tracing:
        answering = tracing.watch(answering)
    return RequestLog(answering, metrics, _route, recorded, logs_requests=settings.access_log)


def _guarded(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application, for those pages of the web that may ask it."""
    if not settings.api_keys and is_loopback(settings.host) and ANY not in settings.cors_origins:
        app = HostGuard(app)
    return Cors(app, settings.cors_origins) if settings.cors_origins else app


def from_environment() -> RequestLog:
    """The application for a server's worker process, which ends where that cannot be had."""
    configure_logs()
    try:
        app = create_app(Settings.from_environment(os.environ), os.environ.get(FILE_VARIABLE, IN_MEMORY))
    except Exception as exc:
        log.exception("cannot start")
        raise SystemExit(STARTUP_FAILURE) from exc  # so that uvicorn does not try again
    _collect_seldom()
    return app


def _end_with_parent() -> None:
    """End a worker process, as if it were told to, when the process is killed that has started it."""
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    if parent is None:
        return

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        log.error("the process that has started this one is gone")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)


def _collect_seldom() -> None:
    """Let the garbage collector look less often, and never at what is there from the start.

    It holds everything up while it looks, at all open streams too, and there is next to nothing for it to find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def _openai_routes(settings: Settings, ledger: Ledger) -> Router:
    throttle, traffic = Throttle(ledger, settings.rpm, settings.tpm), Traffic(settings.most_in_flight)
    moods = Moods(settings.faults, _points(settings, ledger))
    counted = Router("/", route_handlers=[embeddings.embed_texts], middleware=[throttle.admit])
    answering = Router(
        "/",
        route_handlers=[chat.complete_chat, completions.complete_prompt],
        middleware=[throttle.admit, moods.befall, traffic.gate],
    )
    return Router(
        "/v1",
        route_handlers=[answering, counted, models.list_models, models.retrieve_model],
        guards=[keys.require_key, ids.check_client_id],
        security=[{keys.SECURITY_SCHEME: []}, {}],
    )


def _points(settings: Settings, ledger: Ledger) -> Callable[[], float]:
    """Where the dice fall that decide on faults: with a seed, by the number of the request, of all worker processes."""
    seed = settings.fault_seed
    if seed is None:
        return Random().random  # noqa: S311 - nobody is to be kept from guessing it
    return lambda: point_of(seed, ledger.count("faults"))


def _openapi() -> OpenAPIConfig:
    swagger = SwaggerRenderPlugin(
        js_url=f"{ASSETS}/{ASSET_NAMES[0]}",
        css_url=f"{ASSETS}/{ASSET_NAMES[1]}",
        standalone_preset_js_url=f"{ASSETS}/{ASSET_NAMES[2]}",
        favicon="",
        path="/",
    )
    description = "Answers from real conversations, by indexed lookup."
    secret = SecurityScheme(type="http", scheme="bearer", description="The secret that SEED_SECRET holds.")
    key = SecurityScheme(type="http", scheme="bearer", description="One of the keys that MIMIC_API_KEYS holds, if any.")
    return OpenAPIConfig(
        "Mimic",
        __version__,
        description=description,
        render_plugins=[swagger],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_in_one_shape),
        components=Components(security_schemes={seeding.SECURITY_SCHEME: secret, keys.SECURITY_SCHEME: key}),
    )


def _in_one_shape(response: Response[Any]) -> Response[Any]:
    """What Litestar answers below /schema: errors as all others, and the page with headers as the other one."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        return answer(HTTPStatus.NOT_FOUND, "Unknown request URL", code="unknown_url")
    response.headers.update(page.NOT_TO_BE_GUESSED)
    if isinstance(response.content, bytes) and response.media_type == MediaType.HTML:
        response.headers.update(page.headers_of_documentation(response.content))
    return response


@get(f"{ASSETS}/{{name:str}}", include_in_schema=False)
async def page_asset(name: FromPath[str]) -> File:
    """A file of Swagger UI, so that the page works offline."""
    if name not in ASSET_NAMES:
        raise NotFoundException
    file = Path(str(files("litestar_offline_docs") / "static" / name))
    media_type = page.MEDIA_TYPES[file.suffix]
    return File(file, media_type=media_type, content_disposition_type="inline", headers=page.NOT_TO_BE_GUESSED)


@route([seeding.STATUS_PATH, journal.PATH], http_method=HttpMethod.OPTIONS, status_code=204, include_in_schema=False)
async def show_methods(request: Request[Any, Any, Any]) -> Response[None]:
    """The methods of paths that have several. Litestar by itself tells only the one that was registered first."""
    methods = request.app.route_handler_method_map[request.scope["path"]]
    return Response(None, headers={"allow": listed(methods)})


def _route(scope: Scope) -> str:
    """The route's template, not the path, of which there are endlessly many."""
    return scope.get("path_template") or UNKNOWN_ROUTE
