"""The application that a server loads."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from uvicorn.config import STARTUP_FAILURE

from mimic.gateway.journal import Journal
from mimic.gateway.ledger import FILE_VARIABLE, IN_MEMORY
from mimic.parts import Parts
from mimic.server.bodies import JSONRequest
from mimic.server.cors import ANY
from mimic.server.error_handlers import EXCEPTION_HANDLERS
from mimic.server.guards import owner_of
from mimic.server.observability.logs import configure_logs
from mimic.server.observability.requests import RequestLog
from mimic.server.pipeline import add_layers
from mimic.server.routes.docs import openapi_config
from mimic.server.routes.openai.assistants import beta_in
from mimic.server.routes.table import route_of, routes
from mimic.server.workers import collect_seldom, end_with_parent
from mimic.settings import Settings
from mimic.wire.openai import responses

log = structlog.get_logger("mimic")


class _Application(Litestar):
    """Litestar without its plugins for pydantic and attrs: no route needs them, and pydantic takes 0.1 s to load."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(settings: Settings, ledger_file: str = IN_MEMORY) -> RequestLog:
    """The ASGI application. Its lifespan opens and closes the store and the state shared with other workers.

    Raises SettingError.
    """
    parts = Parts(settings, ledger_file)
    journal = Journal(parts.ledger, settings.journal) if settings.journal else None
    return add_layers(
        _litestar(settings, parts),
        parts.gateway,
        {endpoint.path: endpoint for endpoint in parts.endpoints},
        {responses.PATH: parts.socket},
        log=partial(
            RequestLog, metrics=parts.metrics, route_of=route_of, journal=journal, logs_requests=settings.access_log
        ),
        trace=parts.tracing.watch if parts.tracing else None,
        origins=settings.cors_origins,
        guards_host=settings.is_private and ANY not in settings.cors_origins,
        hosts=settings.hosts,
    )


def _litestar(settings: Settings, parts: Parts) -> Litestar:
    """The Litestar application: its routes, and the lifespan of the parts."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        end_with_parent()
        async with parts.opened():
            yield

    return _Application(
        [*routes(parts.endpoints, parts.run_endpoints, parts.gateway)],
        dependencies=_dependencies(settings, parts),
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
        openapi_config=openapi_config(),
        logging_config=None,
    )


def _dependencies(settings: Settings, parts: Parts) -> dict[str, Provide]:
    """The parts for which routes ask by name."""
    return {
        **{name: _provide(store) for name, store in vars(parts.stores).items()},
        "corpus": _provide(parts.corpus),
        "defaults": _provide(settings.defaults),
        "names": _provide(parts.table.names),
        "seeding_options": _provide(settings.seeding_options),
        "metrics": _provide(parts.metrics),
        "ledger": _provide(parts.ledger),
        "records": _provide(parts.records),
        "sender": _provide(parts.sender),
        "owner": Provide(owner_of, sync_to_thread=False),
        "beta": Provide(beta_in, sync_to_thread=False),
        "seeder": _provide(parts.seeder),
    }


def _provide(part: object) -> Provide:
    return Provide(lambda: part, sync_to_thread=False)


def from_environment() -> RequestLog:
    """The application for a worker process. Ends the process if the application cannot start."""
    configure_logs()
    try:
        app = create_app(Settings.from_environment(os.environ), os.environ.get(FILE_VARIABLE, IN_MEMORY))
    except Exception as exc:
        log.exception("cannot start")
        raise SystemExit(STARTUP_FAILURE) from exc  # uvicorn does not retry after this code
    collect_seldom()
    return app
