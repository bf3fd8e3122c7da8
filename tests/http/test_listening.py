"""Addresses of a host: the same for one worker process and for several."""

import errno
import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from mimic.server import listening
from mimic.server.listening import (
    CannotListen,
    address_of,
    addresses_of,
    first_beyond_loopback,
    is_loopback,
    open_sockets,
)
from tests.support.servers import Server, SharedServers, has_ipv6

LOOPBACK: Final = ["127.0.0.1", "::1"]


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="IPv6 is switched off here")


@contextmanager
def opened(host: str, port: int = 0) -> Iterator[Sequence[socket.socket]]:
    """Open sockets for a host, closed at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(one) for one in open_sockets(host, port)]


def test_a_host_means_its_addresses() -> None:
    """The unspecified address and localhost mean the addresses of both families."""
    for host in ("::", "0::0"):
        assert [address[0] for _, address in addresses_of(host)] == ["::", "0.0.0.0"]
    for host in ("localhost", "LocalHost", "localhost."):
        assert [address[0] for _, address in addresses_of(host)] == LOOPBACK
    for host in ("0.0.0.0", "127.0.0.1", "::1"):
        assert [address[0] for _, address in addresses_of(host, 80)] == [host]
        assert [address[1] for _, address in addresses_of(host, 80)] == [80]


def test_a_name_means_all_it_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address of a name is used once.

    The name is loopback only if all addresses are; the first other address opens the server to other machines.
    """
    found: list[Any] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found += [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 80))] * 2
    assert addresses_of("box", 80) == [(socket.AF_INET, ("127.0.1.1", 80))]
    assert is_loopback("box")
    found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 80, 0, 2)))
    assert addresses_of("box", 80)[1] == (socket.AF_INET6, ("fe80::1%eth0", 80, 0, 2))
    assert not is_loopback("box")
    assert first_beyond_loopback(["127.0.1.1", "::1%lo", "fe80::1%eth0"]) == "fe80::1%eth0"
    assert first_beyond_loopback(LOOPBACK) is None


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "localhost"])
def test_any_port_is_the_same_on_all_addresses(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 0 takes a port that is free on all addresses."""
    with opened(host) as sockets:
        assert len(sockets) == 2
        assert len({address_of(one)[1] for one in sockets}) == 1
    bind = listening._bind
    taken: list[int] = []

    def bind_late(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
        if address[1] and len(taken) < 3:
            taken.append(address[1])
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return bind(family, address)

    monkeypatch.setattr(listening, "_bind", bind_late)
    with opened(host) as sockets:
        assert len({address_of(one)[1] for one in sockets}) == 1
    assert len(taken) == 3


@needs_ipv6
@pytest.mark.parametrize("busy", LOOPBACK)
def test_a_port_in_use_is_named(busy: str) -> None:
    """The error names the port and the host's address, and no socket stays open."""
    family = socket.AF_INET6 if ":" in busy else socket.AF_INET
    with socket.create_server((busy, 0), family=family) as other:
        port = other.getsockname()[1]
        shown = re.escape(listening.authority(busy, port))
        with pytest.raises(CannotListen, match=rf"^cannot listen on {shown} \(of localhost\): Address already in use$"):
            open_sockets("localhost", port)
        with pytest.raises(CannotListen, match=rf"^cannot listen on {shown}: Address already in use$"):
            open_sockets(busy, port)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of both families works without IPv6; an IPv6 address alone is an error."""
    bind = listening._bind

    def bind_old(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "not here")
        return bind(family, address)

    monkeypatch.setattr(listening, "_bind", bind_old)
    for host, left in (("::", "0.0.0.0"), ("localhost", "127.0.0.1")):
        with opened(host) as sockets:
            assert [address_of(one)[0] for one in sockets] == [left]
    with pytest.raises(CannotListen, match=r"^cannot listen on \[::1\]:80: not here$"):
        open_sockets("::1", 80)


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "workers", "is_open"), [("::", "1", True), ("::", "2", True), ("localhost", "2", False)]
)
def test_both_families_are_served(serve: SharedServers, tmp_path: Path, host: str, is_open: bool, workers: str) -> None:
    """Any number of workers serves both; the log warns and the host guard is off if other machines reach the server."""
    settings = {"MIMIC_STORE": serve.store(), "MIMIC_HOST": host, "MIMIC_WORKERS": workers}
    with Server(tmp_path, **settings) as server:
        for address in ("127.0.0.1", "[::1]"):
            url = f"http://{address}:{server.port}/health"
            assert httpx.get(url).status_code == 200
            assert httpx.get(url, headers={"host": "evil.example"}).status_code == (200 if is_open else 403)
        events = [json.loads(line)["event"] for line in server.log().splitlines()]
    assert [event for event in events if event.startswith("every client")] == (
        ["every client that can reach the server can read the corpus: set MIMIC_API_KEYS"] if is_open else []
    )
    [running] = [event for event in events if event.startswith("Uvicorn running on")]
    assert running.count(f":{server.port}") == 2
