"""A load generator for HTTP/1.1: requests prepared as bytes, over connections that stay open.

It does as little as possible for a request, so that one core of it keeps one core of a server busy. It finds the end of
an answer, and checks for status 200.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
import uvloop

HEAD_END: Final = b"\r\n\r\n"
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
OK: Final = b"HTTP/1.1 200"
SECONDS_TO_ANSWER: Final = 60
SECONDS_ASLEEP: Final = 0.001


def post(path: str, body: Mapping[str, object]) -> bytes:
    """A request with a body of JSON."""
    data = msgspec.json.encode(body)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


def taken_apart(answer: bytes) -> tuple[int, bytes]:
    """The status and the body of an answer, in chunks or not."""
    head, _, rest = answer.partition(HEAD_END)
    if b"content-length: " in head:
        return int(head[9:12]), rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return int(head[9:12]), body


class Outcome(msgspec.Struct):
    """The result of some load: its seconds, the latency of each answer in seconds, and the answers without status 200.

    At a given rate, a latency counts from the time when the request was due, not from the time when it was sent.
    """

    seconds: float
    latencies: list[float]
    wrong: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """The latency in seconds that the given percentage of answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def is_ok(_: bytes, answer: bytes) -> bool:
    """Return True if the status of an answer to a request is 200."""
    return answer.startswith(OK)


def press(
    port: int,
    requests: Iterator[bytes],
    connections: int,
    seconds: float,
    rate: float = 0.0,
    *,
    asleep: bool = False,
    is_right: Callable[[bytes, bytes], bool] = is_ok,
) -> Outcome:
    """Send requests to this machine, over each connection one after another or, with a ``rate``, so many per second.

    It keeps a core busy while it waits, unless it is ``asleep``. ``is_right`` checks a request and its answer. Raises
    ConnectionError if the server closes a connection.
    """
    return uvloop.run(_press(port, requests, connections, seconds, rate, asleep, is_right))


async def _press(
    port: int,
    requests: Iterator[bytes],
    connections: int,
    seconds: float,
    rate: float,
    asleep: bool,
    is_right: Callable[[bytes, bytes], bool],
) -> Outcome:
    load = _Load(requests, is_right, SECONDS_ASLEEP if asleep else 0)
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port) for _ in range(connections)]
    started = time.perf_counter()
    load.ends = started + seconds
    if rate:
        await load.at_rate([connection for _, connection in opened], rate)
    else:
        load.again = True
        for _, connection in opened:
            connection.ask(time.perf_counter())
    async with asyncio.timeout(seconds + SECONDS_TO_ANSWER):
        while not (asleep or load.done.is_set()):
            await asyncio.sleep(0)  # never asleep: a wake-up would cost a server time, and a fast one less of it
        await load.done.wait()
    took = time.perf_counter() - started
    for transport, _ in opened:
        transport.close()
    if load.lost:
        raise ConnectionError(f"the server hung up {load.lost} times")
    return Outcome(took, load.latencies, load.wrong)


class _Load:
    """State that the connections share."""

    def __init__(self, requests: Iterator[bytes], is_right: Callable[[bytes, bytes], bool], pause: float) -> None:
        self.requests = requests
        self.is_right = is_right
        self.pause = pause
        self.latencies: list[float] = []
        self.wrong = 0
        self.lost = 0
        self.asked = 0
        self.ends = 0.0
        self.again = False
        self.idle: deque[_Connection] = deque()
        self.done = asyncio.Event()

    async def at_rate(self, connections: list["_Connection"], rate: float) -> None:
        """Ask at even intervals; a request that finds no free connection waits for one."""
        self.idle.extend(connections)
        due = time.perf_counter()
        waiting: deque[float] = deque()
        while waiting or time.perf_counter() < self.ends:
            now = time.perf_counter()
            while due <= min(now, self.ends):
                waiting.append(due)
                due += 1 / rate
            while waiting and self.idle:
                self.idle.popleft().ask(waiting.popleft())
            await asyncio.sleep(self.pause)
        self._end_if_done()

    def answered(self, connection: "_Connection", latency: float) -> None:
        self.latencies.append(latency)
        now = time.perf_counter()
        if self.again and now < self.ends:
            connection.ask(now)
        else:
            self.idle.append(connection)
            self._end_if_done()

    def _end_if_done(self) -> None:
        if len(self.latencies) == self.asked and time.perf_counter() >= self.ends:
            self.done.set()


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._began = 0.0
        self._request = b""
        self._received = bytearray()
        self._end = 0  # of the answer in the received bytes; -1 if the last chunk ends it, 0 while the end is not known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, began: float) -> None:
        self._began = began
        self._load.asked += 1
        self._request = next(self._load.requests)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._end:
            self._look_for_end()
        if received.endswith(LAST_CHUNK) if self._end < 0 else 0 < self._end <= len(received):
            if not self._load.is_right(self._request, bytes(received)):
                self._load.wrong += 1
            self._received = bytearray()
            self._end = 0
            self._load.answered(self, time.perf_counter() - self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        if self not in self._load.idle:
            self._load.lost += 1
            self._load.done.set()

    def _look_for_end(self) -> None:
        head = self._received.find(HEAD_END)
        if head < 0:
            return
        at = self._received.find(b"content-length: ", 0, head)
        if at < 0:
            self._end = -1
        else:
            at += len(b"content-length: ")
            self._end = head + len(HEAD_END) + int(self._received[at : self._received.find(b"\r\n", at)])
