"""``mimic.server.http11``: the names of uvicorn that it uses, and its parts without a server."""

import ast
import asyncio
import gc
import inspect
import json
import socket
import struct
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from mimic.server.http11 import limits, protocol, refusals
from mimic.server.http11.asgi import RECORD, outcome_of, record_outcome, request_id_of
from mimic.server.http11.deadlines import CHECKS, Deadline, ExchangeProgress, SlowClientMonitor
from mimic.server.http11.lingering import LingeringConnections
from mimic.server.http11.protocol import HttpProtocol
from mimic.server.http11.upgrade import FinalBody, framing_of, is_websocket_handshake, path_of
from mimic.server.workers import WEBSOCKET_PATHS

METHODS: Final[Mapping[type, Mapping[str, str]]] = {
    HttpToolsProtocol: {
        "__init__": "self, config, server_state, app_state, _loop",
        "connection_made": "self, transport",
        "connection_lost": "self, exc",
        "data_received": "self, data",
        "shutdown": "self",
        "resume_writing": "self",
        "on_message_begin": "self",
        "on_headers_complete": "self",
        "on_body": "self, body",
        "on_message_complete": "self",
        "on_response_complete": "self",
        "timeout_keep_alive_handler": "self",
        "handle_websocket_upgrade": "self",
        "_start_asgi_task": "self, cycle, app",
        "_should_upgrade": "self",
        "_unset_keepalive_if_required": "self",
    },
    RequestResponseCycle: {"send": "self, message"},
    FlowControl: {"__init__": "self, transport", "resume_reading": "self"},
}
"""Methods called or overridden, with their parameters."""
ATTRIBUTES: Final[Mapping[type, Iterable[str]]] = {
    HttpToolsProtocol: (
        "cycle",
        "flow",
        "headers",
        "loop",
        "parser",
        "pipeline",
        "scope",
        "server_state",
        "timeout_keep_alive",
        "timeout_keep_alive_task",
        "transport",
        "url",
    ),
    RequestResponseCycle: (
        "body",
        "chunked_encoding",
        "disconnected",
        "expected_content_length",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "transport",
        "waiting_for_100_continue",
    ),
    FlowControl: ("read_paused", "write_paused"),
    ServerState: ("default_headers",),
    WebSocketsSansIOProtocol: ("close_sent", "handshake_initiated", "scope"),
}
"""Attributes of instances, read or set."""
CALLS: Final[Mapping[str, Iterable[str]]] = {
    "_start_asgi_task": ("on_headers_complete", "on_response_complete"),
    "_should_upgrade": ("on_headers_complete", "on_body", "on_message_complete"),
}
"""Overridden methods that only uvicorn calls, and the callers among its methods."""
IMPORTED: Final = {"FlowControl", "HttpToolsProtocol", "RequestResponseCycle"}

Replace = Callable[[type], type]


def tree_of(code: Any) -> ast.Module:
    """The syntax tree of a class or a module."""
    return ast.parse(textwrap.dedent(inspect.getsource(code)))


def attributes_of(owner: type) -> set[str]:
    """Attributes that the methods of a class set on its instances."""
    return {
        node.attr
        for node in ast.walk(tree_of(owner))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def changes(replace: Replace = lambda owner: owner) -> list[str]:
    """Differences of uvicorn, or of the classes that replace its own, from this project's needs."""
    found = []
    for owner, methods in METHODS.items():
        for name, expected in methods.items():
            method = vars(replace(owner)).get(name)
            parameters = method and ", ".join(inspect.signature(method).parameters)
            if parameters is None:
                found.append(f"{owner.__name__}.{name} is missing")
            elif parameters != expected:
                found.append(f"{owner.__name__}.{name} takes ({parameters}), not ({expected})")
    for owner, names in ATTRIBUTES.items():
        there = attributes_of(replace(owner))
        found += [f"{owner.__name__}.{name} is missing" for name in names if name not in there]
    for called, callers in CALLS.items():
        found += [
            f"{HttpToolsProtocol.__name__}.{caller} does not call {called}"
            for caller in callers
            if called not in vars(replace(HttpToolsProtocol))[caller].__code__.co_names
        ]
    return found


def test_uvicorn_has_every_name_that_is_used() -> None:
    """Methods have their parameters, attributes exist, and overridden methods are called."""
    assert changes() == []


class Flow:
    """Flow control with changed names."""

    def __init__(self, transport: object, limit: int) -> None:
        self.write_paused = bool(transport) and bool(limit)

    def resume(self) -> None:
        """Read on."""


def test_a_changed_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change is reported by its class and its name."""

    def on_body(self: object, body: bytes, size: int) -> None:
        pass

    monkeypatch.delattr(HttpToolsProtocol, "_unset_keepalive_if_required")
    monkeypatch.setattr(HttpToolsProtocol, "on_body", on_body)
    assert changes(lambda owner: Flow if owner is FlowControl else owner) == [
        "HttpToolsProtocol.on_body takes (self, body, size), not (self, body)",
        "HttpToolsProtocol._unset_keepalive_if_required is missing",
        "FlowControl.__init__ takes (self, transport, limit), not (self, transport)",
        "FlowControl.resume_reading is missing",
        "FlowControl.read_paused is missing",
        "HttpToolsProtocol.on_body does not call _should_upgrade",
    ]


def test_the_lists_of_names_are_complete() -> None:
    """The lists have exactly the names of uvicorn's classes in ``protocol.py``."""
    nodes = list(ast.walk(tree_of(protocol)))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    of_uvicorn = {name for owner in ATTRIBUTES for name in (*vars(owner), *attributes_of(owner))}
    of_modules = {"__module__", "__doc__", "__dict__", "__weakref__"}
    listed = {name for names in (*METHODS.values(), *ATTRIBUTES.values()) for name in names}
    assert (used & of_uvicorn) - of_modules == listed
    imported = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.name for node in imported if str(node.module).startswith("uvicorn") for name in node.names} == IMPORTED


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """An application."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def ask_and_reset(port: int) -> None:
    """Send a request, and lose the connection after the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: mimic\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 204")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_the_keep_alive_timer_of_a_reset_connection_is_cancelled() -> None:
    """The timer would keep the connection in memory until it fires."""
    made: list[weakref.ref[HttpProtocol]] = []
    monitor = SlowClientMonitor(60)

    async def run() -> None:
        config = uvicorn.Config(answer, log_config=None, timeout_keep_alive=600)
        state = ServerState()

        def connect() -> HttpProtocol:
            connection = HttpProtocol(config, state, {}, monitor=monitor, lingering=LingeringConnections())
            made.append(weakref.ref(connection))
            return connection

        server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        async with server:
            await asyncio.to_thread(ask_and_reset, server.sockets[0].getsockname()[1])
            until = time.monotonic() + 20
            while state.connections or state.tasks:
                assert time.monotonic() < until
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            gc.collect()
            assert [connection() for connection in made] == [None]

    asyncio.run(run())


def test_all_of_it_is_imported_where_there_is_no_poll() -> None:
    """Windows lacks poll and a socket option. No client is taken for disconnected there."""
    code = """
        import select, socket
        for name in ("poll", "POLLHUP", "POLLERR", "POLLRDHUP", "epoll"):
            delattr(select, name)
        del socket.TCP_NOTSENT_LOWAT
        from mimic.server import workers
        from mimic.server.http11 import asgi, deadlines, limits, protocol, refusals, upgrade
        one, other = socket.socketpair()
        other.close()
        assert not deadlines.has_hung_up(one)
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], check=True, cwd=Path(__file__).parent)


def test_websockets_are_imported_for_a_route_only() -> None:
    """A server without a WebSocket route starts without loading websockets; one with a route loads them."""
    code = f"""
        import sys, uvicorn
        from mimic.server.workers import protocol_options
        for paths in (set(), {set(WEBSOCKET_PATHS)!r}):
            uvicorn.Config("mimic.app:create_app", **protocol_options(60, paths)).load()
            assert ("websockets" in sys.modules) is bool(paths), paths
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_upgrades_are_distinguished() -> None:
    """A handshake is a GET for a WebSocket alone, without a body."""
    asks = (b"upgrade", b"WebSocket")
    assert is_websocket_handshake(b"GET", [(b"host", b"mimic"), asks])
    assert not is_websocket_handshake(b"POST", [asks])
    assert not is_websocket_handshake(b"GET", [asks, asks])
    assert not is_websocket_handshake(b"GET", [(b"upgrade", b"h2c")])
    assert not is_websocket_handshake(b"GET", [asks, (b"content-length", b"1")])
    assert framing_of([asks, (b"transfer-encoding", b"chunked")]) == [(b"transfer-encoding", b"chunked")]
    assert path_of(b"/a%20b?c=d") == path_of(b"http://mimic/a%20b") == "/a b"
    assert path_of(b"http://mimic") == ""
    with pytest.raises(httptools.HttpParserInvalidURLError):
        path_of(b"")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_final_body_ends_where_its_head_says(size: int) -> None:
    """The body ends at its length in any pieces, before another request or other bytes."""
    for framing, body in (
        ((b"content-length", b"5"), b"hello"),
        ((b"transfer-encoding", b"chunked"), b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ):
        for behind in (
            b"",
            b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nx",
            b"POST / HTTP/1.1\r\n\r\n",
            b"\0",
        ):
            pieces: list[bytes] = []
            ends: list[bool] = []
            final = FinalBody([framing], pieces.append, lambda ends=ends: ends.append(True))  # type: ignore[misc]
            sent = body + behind
            for start in range(0, len(sent), size):
                final.feed(sent[start : start + size])
            assert (b"".join(pieces), ends, final.is_complete) == (b"hello", [True], True)


def test_a_broken_final_body_is_an_error() -> None:
    """An incomplete body is an error."""
    final = FinalBody([(b"transfer-encoding", b"chunked")], lambda _: None, lambda: None)
    with pytest.raises(httptools.HttpParserError):
        final.feed(b"no length\r\n")
    assert not final.is_complete


def progress(
    *, at: object = None, must_send: bool = True, unsent: int = 0, body_size: int | None = None
) -> ExchangeProgress:
    """The state of a connection at one check."""
    is_sending = body_size is not None
    return ExchangeProgress(
        at, None, is_sending, must_send, is_all_written=True, unsent=unsent, body_size=body_size or 0
    )


def checks_until_late(deadline: Deadline, steps: Iterable[ExchangeProgress]) -> int:
    """The number of the check, every half a second, at which a client is late; 0 if it never is."""
    return next((number for number, step in enumerate(steps, 1) if deadline.is_over(step, 0.5)), 0)


def test_a_client_that_does_nothing_is_late_at_the_ninth_check() -> None:
    """The deadline restarts with each request, with each read by the client, and while the server is waited for."""
    waits = progress()
    assert checks_until_late(Deadline(), [waits] * 20) == CHECKS + 1
    assert checks_until_late(Deadline(), [*[waits] * 5, progress(must_send=False), *[waits] * 20]) == CHECKS + 7
    assert checks_until_late(Deadline(), [*[waits] * 5, *[progress(at=object())] * 20]) == CHECKS + 6
    assert checks_until_late(Deadline(), [progress(unsent=1000 - n, must_send=False) for n in range(100)]) == 0
    assert checks_until_late(Deadline(), [progress(unsent=1000, must_send=False)] * 20) == CHECKS + 1
    restarted = Deadline()
    assert checks_until_late(restarted, [waits] * CHECKS) == 0
    restarted.restart()
    assert checks_until_late(restarted, [waits] * 20) == CHECKS + 1


def test_a_body_extends_the_deadline() -> None:
    """Each 10,000 bytes of a body give a second, which is two checks here."""
    assert checks_until_late(Deadline(), [progress(body_size=30_000)] * 20) == CHECKS + 1 + 6
    assert checks_until_late(Deadline(), [progress(body_size=n * 5000) for n in range(100)]) == 0


def test_limits_are_the_last_values_that_are_accepted() -> None:
    """The limit is accepted, and one more is refused."""
    assert [limits.is_head_too_large(limits.LARGEST_HEAD + more) for more in (0, 1)] == [False, True]
    assert [limits.is_url_too_large(b"x" * (limits.LARGEST_HEAD + more)) for more in (0, 1)] == [False, True]
    assert [limits.has_too_many_headers([0] * (limits.MOST_HEADERS + more)) for more in (0, 1)] == [False, True]
    assert [limits.is_too_much_to_ignore(limits.MOST_IGNORED + more) for more in (0, 1)] == [False, True]


def test_a_refusal_is_a_response_that_closes_the_connection() -> None:
    """The error has the one shape, with the request ID if known, or else a new one."""
    head, _, body = refusals.render(refusals.TIMED_OUT, "req_1", [(b"date", b"today")]).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 408 Request Timeout",
        b"date: today",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"x-request-id: req_1",
        b"connection: close",
    ]
    message = "The request took too long to arrive"
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "request_timeout"}
    assert json.loads(body) == {"error": error}
    assert b"\r\nx-request-id: req_" in refusals.render(refusals.INVALID_HTTP, None, [])


def test_an_outcome_is_recorded_in_the_state() -> None:
    """The application finds the outcome in the state."""
    scope: dict[str, Any] = {"state": {}}
    assert request_id_of(scope) is None
    assert outcome_of(scope) is None
    record_outcome(scope, 408)
    assert outcome_of(scope) == 408
    scope["state"][RECORD] = SimpleNamespace(request_id="req_1")
    assert request_id_of(scope) == "req_1"
