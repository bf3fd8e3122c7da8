"""The real service behind Mimic: requests that nothing else answers are passed on to it."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import aiohttp
import structlog

from mimic.errors import RequestError
from mimic.recordings.calls import UpstreamCall, Watch, unwatched
from mimic.recordings.options import OF_REQUEST, UpstreamOptions

log = structlog.get_logger("mimic")

PREFIX: Final = "/v1"
"""The beginning of Mimic's paths, which the URL of an upstream has too."""
SENT_HEADERS: Final = frozenset({"accept", "content-type", "openai-beta", "openai-organization", "openai-project"})
"""Headers that are passed on to the upstream. All others stay here: keys, cookies, and those of Mimic."""
RETURNED_HEADERS: Final = frozenset({"retry-after", "retry-after-ms", "x-should-retry"})
"""Headers that are passed back to the client."""
FAILED: Final = (aiohttp.ClientError, TimeoutError)
"""Errors of a connection, or of an answer that is cut."""
ATTEMPTS: Final = 2
FAILURES: Final = 5
"""Failures in a row before a pause in requests to the upstream."""
PAUSE: Final = 10.0
"""Seconds without requests to a failing upstream."""
CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 600.0
REDIRECTS: Final = range(300, 400)
CODINGS: Final = frozenset({"identity", "gzip", "deflate", "br", "zstd"})
"""Codings that the HTTP client undoes, for services that use them unasked."""


class Upstream:
    """A client for the upstream, as an async context manager.

    It follows no redirects, and ignores proxies and credentials of the environment.
    """

    def __init__(
        self,
        options: UpstreamOptions,
        show_pause: Callable[[bool], None] = lambda _: None,
        watch: Watch = unwatched,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """``show_pause`` is called at the beginning and at the end of a pause. ``watch`` shows calls in traces.

        ``read_seconds`` is the longest wait for the next piece of an answer.
        """
        self._options = options
        self._show_pause = show_pause
        self._watch = watch
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=read_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._failures = 0
        self._paused_until = float("-inf")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def is_paused(self) -> bool:
        """True after several failures in a row, until the pause is over."""
        return time.monotonic() < self._paused_until

    def pause_error(self) -> RequestError:
        """The error of a request that comes in a pause."""
        seconds = max(1, math.ceil(self._paused_until - time.monotonic()))
        return upstream_error(f"after {FAILURES} failures it gets no requests for {seconds} s", retry_after=seconds)

    def call(self, path: str, model: str) -> UpstreamCall:
        """Begin a call; :meth:`send` sends it, and the caller ends it."""
        return self._watch(self._url_of(path), model)

    async def send(
        self, call: UpstreamCall, path: str, body: bytes, headers: Iterable[tuple[bytes, bytes]], key: str
    ) -> aiohttp.ClientResponse:
        """Pass a request on. Returns the answer, whose body is not read yet; the caller closes it.

        A connection that fails is tried once more, but not a wait for an answer that is too long: the upstream has the
        request, and may count it. Raises RequestError (502).
        """
        sent = {**_sent(headers), **self._authorization(key), **call.headers}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._opened.post(self._url_of(path), data=body, headers=sent, allow_redirects=False)
            except FAILED as exc:
                log.warning("the upstream cannot be reached", attempt=attempt, cause=repr(exc))
                cause = type(exc).__name__
                if isinstance(exc, aiohttp.SocketTimeoutError):
                    break
            else:
                self._failures = 0
                call.answered(response.status)
                return _checked(response)
        self._failed()
        call.failed(cause)
        raise upstream_error(f"it cannot be reached ({cause})")

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the upstream is not open")
        return self._session

    def _url_of(self, path: str) -> str:
        return f"{self._options.url.rstrip('/')}{path.removeprefix(PREFIX)}"

    def _authorization(self, key: str) -> Mapping[str, str]:
        """The header with the key for the upstream, which is that of the request or that of the settings."""
        sent = key if self._options.key == OF_REQUEST else self._options.key
        return {"authorization": f"Bearer {sent}"} if sent else {}

    def _failed(self) -> None:
        """Count a failure, and begin a pause after several ones."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._failures = 0
            self._paused_until = time.monotonic() + PAUSE
            self._show_pause(True)
            asyncio.get_running_loop().call_later(PAUSE, self._show_pause, False)
            log.error("requests to the upstream pause", seconds=PAUSE, failures=FAILURES)


def returned_headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    """The headers of an answer that are passed back."""
    return {name: response.headers[name] for name in RETURNED_HEADERS if name in response.headers}


def _sent(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a client's request that are passed on. The body comes in one piece, without a coding."""
    sent = {"accept-encoding": "identity"}
    for raw_name, value in headers:
        if (name := raw_name.decode("latin-1").lower()) in SENT_HEADERS:
            sent[name] = value.decode("latin-1")
    return {"content-type": "application/json", **sent}


def _checked(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """The answer. Raises RequestError (502) for a redirect, and for a coding that the HTTP client cannot undo."""
    problem, coding = "", response.headers.get("content-encoding", "identity").lower()
    if response.status in REDIRECTS:
        problem = f"it answers with a redirect ({response.status}), which is not followed"
    elif coding not in CODINGS:
        problem = f"it answers in the coding {coding!r}, which the request did not accept"
    if problem:
        response.close()
        raise upstream_error(problem)
    return response


def upstream_error(problem: str, retry_after: int = 1) -> RequestError:
    """The error for an upstream that gave no answer."""
    text = f"The upstream of MIMIC_UPSTREAM gave no answer: {problem}."
    headers = {"retry-after": str(retry_after)}
    return RequestError(502, text, kind="upstream_error", code="upstream_unavailable", headers=headers)


async def cancel_all(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks and wait for their end."""
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
