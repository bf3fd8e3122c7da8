"""Structured logs: readable lines on a terminal, JSON otherwise. Ours and the server's in one form."""

import logging
import sys
import threading
from types import TracebackType

import structlog


def configure_logs() -> None:
    """Send every log record, structlog's and the standard library's, to standard error in one form.

    With them go warnings, and exceptions that nobody caught. Tracebacks come without local variables, among which are
    secrets and what users say.
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
    sys.excepthook = _uncaught
    threading.excepthook = sys.unraisablehook = _uncaught_elsewhere


def _is_no_handshake(record: logging.LogRecord) -> bool:
    """Whether a record is none of uvicorn's about a WebSocket, in which the query is, and in that a key may be."""
    return not str(record.msg).startswith('%s - "WebSocket')


def _uncaught_elsewhere(failed: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> None:
    _uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)


def _uncaught(kind: type[BaseException], exc: BaseException | None, traceback: TracebackType | None) -> None:
    if exc and not issubclass(kind, KeyboardInterrupt | SystemExit):
        structlog.get_logger("mimic").critical("uncaught exception", exc_info=(kind, exc, traceback))
