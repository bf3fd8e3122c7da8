"""Addresses and sockets to listen on, shared by all worker processes."""

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, TypeAlias

from mimic.errors import MimicError

ATTEMPTS: Final = 20
"""Ports to try for port 0, since the port must be free on several addresses."""
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors for an address that this machine lacks, such as an IPv6 address with IPv6 switched off."""

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family, and the address of a socket: host, port and, for IPv6, flow and scope."""


class CannotListen(MimicError):
    """The server cannot listen. The text names the address and the reason."""


class _PortTaken(CannotListen):
    """The port is in use on at least one address."""


def addresses_of(host: str, port: int = 0) -> Sequence[Address]:
    """Return the addresses of a host. Raises OSError or UnicodeError if there is none.

    ``::`` means all addresses of IPv6 and IPv4, and ``localhost`` means loopback of both. Other names are resolved.
    """
    if _is_any(host):
        return [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104 - requested by the setting
    if host.lower().removesuffix(".") == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, *_, address in found))


def open_sockets(host: str, port: int) -> Sequence[socket.socket]:
    """Return sockets bound to all addresses of a host, with the same port; 0 means any port free on all of them.

    Skips addresses that this machine lacks, if it has another. Raises CannotListen.
    """
    try:
        addresses = addresses_of(host, port)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a part of the name is empty or too long
        problem = exc.strerror if isinstance(exc, OSError) else "it is not a valid host name"
        raise CannotListen(f"cannot listen on {authority(host, port)}: {problem}") from None
    for _ in range(0 if port else ATTEMPTS - 1):
        with suppress(_PortTaken):
            return _bind_all(host, addresses)
    return _bind_all(host, addresses)


def authority(host: str, port: int) -> str:
    """Format a host and a port for a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(opened: socket.socket) -> tuple[str, int]:
    """Return host and port of a socket."""
    address: tuple[str, int] = opened.getsockname()[:2]
    return address


def first_beyond_loopback(addresses: Iterable[str]) -> str | None:
    """Return the first address that other machines may reach, or None."""
    return next((one for one in addresses if not ip_address(one.partition("%")[0]).is_loopback), None)


def _is_any(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return isinstance(address, IPv6Address) and address.is_unspecified


def _bind_all(host: str, addresses: Sequence[Address]) -> Sequence[socket.socket]:
    opened: list[socket.socket] = []
    missing: list[CannotListen] = []
    with ExitStack() as stack:
        for family, address in addresses:
            place, port = str(address[0]), opened[0].getsockname()[1] if opened else int(address[1])
            try:
                opened.append(stack.enter_context(_bind(family, (place, port, *address[2:]))))
            except OSError as exc:
                among = f" (of {host})" if len(addresses) > 1 else ""
                problem = f"cannot listen on {authority(place, port)}{among}: {exc.strerror}"
                if exc.errno == errno.EADDRINUSE:
                    raise _PortTaken(problem) from exc
                if exc.errno not in _NOT_HERE:
                    raise CannotListen(problem) from exc
                missing.append(CannotListen(problem))
        if not opened:
            raise missing[0]
        stack.pop_all()
    if missing:
        import structlog  # noqa: PLC0415 - it takes 0.06 s to load, and the settings need this module

        for error in missing:
            structlog.get_logger("mimic").info("skipped an address", reason=str(error))
    return opened


def _bind(family: socket.AddressFamily, address: tuple[str | int, ...]) -> socket.socket:
    with ExitStack() as stack:
        opened = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if os.name == "posix":  # on Windows, another program could take the port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # IPv4 clients must not appear as one IPv6 network
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        stack.pop_all()
    return opened


def is_loopback(host: str) -> bool:
    """Return True if only programs on the same machine can reach a server that listens on a host."""
    try:
        addresses = addresses_of(host)
    except (OSError, UnicodeError):  # no such host
        return False
    return first_beyond_loopback(str(address[0]) for _, address in addresses) is None
