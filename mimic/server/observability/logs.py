"""Structured logs of Mimic and of uvicorn: readable lines on a terminal, JSON otherwise."""

import logging
import sys
import threading
from types import TracebackType

import structlog


def configure_logs() -> None:
    """Send all log records, of structlog and of the standard library, to standard error in one format.

    Warnings and uncaught exceptions are logged too. Tracebacks omit local variables, which may contain secrets and
    messages of users.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    on_terminal = sys.stderr.isatty()
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if on_terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn.error").addFilter(_is_no_handshake)
    sys.excepthook = _log_uncaught
    threading.excepthook = sys.unraisablehook = _log_uncaught_elsewhere


def _is_no_handshake(record: logging.LogRecord) -> bool:
    """Return False for uvicorn's records about WebSockets: their URL has the query, which may contain a key."""
    return not str(record.msg).startswith('%s - "WebSocket')


def _log_uncaught_elsewhere(failed: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> None:
    _log_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)


def _log_uncaught(kind: type[BaseException], exc: BaseException | None, traceback: TracebackType | None) -> None:
    if exc and not issubclass(kind, KeyboardInterrupt | SystemExit):
        structlog.get_logger("mimic").critical("uncaught exception", exc_info=(kind, exc, traceback))
