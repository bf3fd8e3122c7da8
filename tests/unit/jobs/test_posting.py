"""POST requests to targets: the checked address, the time, the size and TLS."""

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from mimic.errors import WebhookFailed
from mimic.jobs.posting import MOST_READ, Poster
from mimic.stored.webhook_targets import Resolve, TargetGuard, TargetPolicy
from tests.support.receiver import Receiver, receiver

pytestmark = pytest.mark.anyio

LISTED = TargetPolicy(("app.example",))


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """A receiver for all tests."""
    with receiver() as found:
        yield found


def resolver(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver with an answer for each call, and the list of its calls."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


async def post(
    url: str, resolve: Resolve, policy: TargetPolicy = LISTED, seconds: float = 10, *, is_checked: bool = True
) -> int | str:
    """The status of the answer, or the reason for its absence."""
    try:
        return await Poster(TargetGuard(policy, resolve), seconds).post(url, {"x": "y"}, b"{}", is_checked=is_checked)
    except WebhookFailed as exc:
        return exc.reason


async def test_the_checked_address_is_connected_to(hooks: Receiver) -> None:
    """A name is resolved once for each attempt, and no other resolver is asked; the request has the name as host."""
    url = f"http://app.example:{hooks.port}/ok/pinned"
    resolve, asked = resolver(["127.0.0.1"])
    assert await post(url, resolve) == 204
    assert asked == ["app.example"]
    [received] = hooks.wait("/ok/pinned")
    assert received.headers["host"] == f"app.example:{hooks.port}"
    assert (received.headers["x"], received.body) == ("y", b"{}")


async def test_a_name_that_changes_its_address(hooks: Receiver) -> None:
    """A rebinding resolver gives a public address for the check of the endpoint, and then a private one."""
    resolve, asked = resolver(["8.8.8.8"], ["127.0.0.1"], ["169.254.169.254", "127.0.0.1", "10.0.0.1"])
    guard = TargetGuard(TargetPolicy(), resolve)
    url = f"https://rebinding.example:{hooks.port}/ok/rebound"
    await guard.check(url)
    for number in (2, 3):
        with pytest.raises(WebhookFailed, match="address_not_allowed"):
            await Poster(guard).post(url, {}, b"{}", is_checked=True)
        assert len(asked) == number
    assert hooks.all("/ok/rebound") == []


async def test_further_addresses_are_tried(hooks: Receiver) -> None:
    """An address that refuses or ignores connections does not matter if another one answers."""
    url = f"http://app.example:{hooks.port}/ok/several"
    assert await post(url, resolver(["::1", "127.0.0.2", "127.0.0.1"])[0]) == 204
    assert await post(url, resolver(["169.254.1.1", "127.0.0.1"])[0]) == 204
    assert await post(url, resolver(["127.0.0.2", "127.0.0.3"])[0]) == "connection_failed"
    assert await post(url, resolver(["127.0.0.1"])[0], TargetPolicy()) == "address_not_allowed"
    assert await post(url, resolver(["127.0.0.1"])[0], TargetPolicy(), is_checked=False) == 204


async def test_the_environment_names_no_proxy(hooks: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of proxies have no effect."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await post(f"http://app.example:{hooks.port}/ok/direct", resolver(["127.0.0.1"])[0]) == 204


async def test_slow_and_broken_answers(hooks: Receiver) -> None:
    """A redirect is an answer; the time is bounded until the head, and its size is."""
    resolve, _ = resolver(["127.0.0.1"])
    base = f"http://app.example:{hooks.port}"
    assert await post(f"{base}/redirect/a", resolve) == 302
    assert await post(f"{base}/hang/a", resolve, seconds=0.3) == "timeout"
    for path in ("close", "text"):
        assert await post(f"{base}/{path}/a", resolve) == "invalid_answer"
    for path in ("large", "open"):
        began = time.monotonic()
        assert await post(f"{base}/{path}/a", resolve) == 200
        assert time.monotonic() - began < 5


async def test_a_name_without_an_address() -> None:
    """A name that is not found, and a resolver that hangs, are failures of an attempt."""

    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    assert await post("http://app.example/", hang, seconds=0.1) == "timeout"
    guard = TargetGuard(LISTED)
    with pytest.raises(WebhookFailed, match="name_not_found"):
        await Poster(guard).post("https://nowhere.invalid/", {}, b"", is_checked=True)


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[tuple[int, list[int]]]:
    """The port of a server that answers with these pieces, the last of them again and again, and the bytes it sent."""
    sent, is_over = [0], asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
            while True:
                writer.write(pieces[-1])
                await writer.drain()
                sent[0] += len(pieces[-1])
        except OSError:  # the client has left
            writer.close()
            is_over.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], sent
        await is_over.wait()


@pytest.mark.parametrize(
    ("head", "piece", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 1000 + b"\r\n", "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n", b"z" * 1000, 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"a\r\n0123456789\r\n", 200),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n", b"z" * 1000, 503),
    ],
)
async def test_an_endless_answer(head: bytes, piece: bytes, expected: int | str) -> None:
    """At most 64 KB of an answer are read; the sender is then cut off."""
    async with answering(head, piece) as (port, sent):
        assert await post(f"http://app.example:{port}/", resolver(["127.0.0.1"])[0]) == expected
    assert sent[0] < 100 * MOST_READ  # the rest is in the buffers of the system


async def test_a_late_body() -> None:
    """The status is the outcome, although the time is over before the body."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
        with suppress(OSError):
            await reader.read()
        writer.close()
        is_over.set()

    is_over = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await post(f"http://app.example:{port}/", resolver(["127.0.0.1"])[0], seconds=0.6) == 200
        await is_over.wait()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of app.example, with its key."""
    file = tmp_path / "app.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(tmp_path / "key.pem"))
    name = ("-subj", "/CN=app.example", "-addext", "subjectAltName=DNS:app.example")
    command = ("openssl", "req", "-x509", *key, *name, "-days", "1", "-out", str(file))
    subprocess.run(command, check=True, capture_output=True)
    return file


async def test_the_certificate_is_of_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is by the name of the URL on the checked address, with the certificates of the system."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    policy, resolve = TargetPolicy(("app.example", "other.example")), resolver(["127.0.0.1"])[0]
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert await post(f"https://app.example:{port}/", resolve, policy) == "tls_failed"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await post(f"https://app.example:{port}/", resolve, policy) == 204
        assert await post(f"https://other.example:{port}/", resolve, policy) == "tls_failed"
