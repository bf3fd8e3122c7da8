"""Targets of webhooks: their URLs, and the addresses that a target of a client may have.

A client of the API could otherwise let the server send requests into its private network. A name may lead to another
address at each resolution, so the checked address is the one to connect to.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import SOCK_STREAM
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec

from mimic.errors import RequestError, WebhookFailed
from mimic.host_names import HOST_NAME, HostNames

MOST_CHARACTERS: Final = 2_048
MOST_OF_HOST: Final = 253
PORTS: Final = {"http": 80, "https": 443}
SECONDS_TO_RESOLVE: Final = 5.0
"""Seconds that a new target may take to be resolved. A target without an address is accepted: it may get one."""
NOT_PUBLIC: Final = tuple(
    ip_network(text) for text in ("192.88.99.0/24", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16")
)
"""Networks that lead to an IPv4 address within the IPv6 address, which may be a private one: 6to4, NAT64, Teredo."""

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""A function that gives the addresses of a host. Raises OSError."""
_Address: TypeAlias = IPv4Address | IPv6Address


class TargetURL(NamedTuple):
    """The parts of a URL. ``authority`` is the host with its port, and ``path`` includes the query."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @classmethod
    def parse(cls, url: str) -> "TargetURL":
        """Read a URL. Raises ValueError, with the problem."""
        # urlsplit removes line breaks, and accepts much else.
        if len(url) > MOST_CHARACTERS or not re.fullmatch(r"[!-\[\]-~]+", url):
            raise ValueError(f"expected at most {MOST_CHARACTERS:,} printable characters of ASCII, without backslashes")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("expected a URL with a valid host and port") from None
        host = (parts.hostname or "").removesuffix(".")
        if parts.scheme not in PORTS or not _is_host(host, "[" in parts.netloc) or port == 0:
            raise ValueError("expected a URL like https://app.example/webhooks")
        if "@" in parts.netloc or "#" in url:
            raise ValueError("expected a URL without a user, a password and a fragment")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host, port or PORTS[parts.scheme], parts.netloc, path)


class TargetPolicy(msgspec.Struct, frozen=True):
    """Further targets that clients of the API may name: listed hosts, and loopback."""

    hosts: Sequence[str] = ()
    allows_loopback: bool = False


class WebhookOptions(msgspec.Struct, frozen=True):
    """The targets of the settings, which may be anywhere, and their secret.

    ``seconds`` is the sum of the pauses between attempts, after which a delivery fails.
    """

    urls: Sequence[str] = ()
    secret: str = ""
    seconds: int = 600


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, by the resolver of the system. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class TargetGuard:
    """The rules for targets of the API: https to public addresses; anything else is in the policy."""

    def __init__(self, policy: TargetPolicy, resolver: Resolve = resolve) -> None:
        self._listed = HostNames(policy.hosts)
        self._allows_loopback = policy.allows_loopback
        self._resolve = resolver

    async def check(self, url: str) -> None:
        """Check a new target. Raises RequestError."""
        try:
            target = TargetURL.parse(url)
        except ValueError as exc:
            raise RequestError(400, f"Invalid 'url': {exc}.", param="url", code="invalid_value") from None
        if target.scheme == "http" and target.host not in self._listed and not self._allows_loopback:
            raise _refused("it is not https")
        with suppress(OSError):  # no address, or no resolver: each delivery checks again
            async with asyncio.timeout(SECONDS_TO_RESOLVE):
                found = await self._resolve(target.host, target.port)
            if not self._allowed(target, found):
                raise _refused("its host has no public address")

    async def addresses(self, target: TargetURL, *, is_checked: bool) -> Sequence[str]:
        """The addresses to connect to. Raises OSError if there are none, and WebhookFailed if none is allowed."""
        found = await self._resolve(target.host, target.port)
        if not is_checked:
            return found
        allowed = self._allowed(target, found)
        if not allowed:
            raise WebhookFailed("address_not_allowed")
        return allowed

    def _allowed(self, target: TargetURL, found: Sequence[str]) -> Sequence[str]:
        return [text for text in found if self._is_allowed(target, _plain(ip_address(text)))]

    def _is_allowed(self, target: TargetURL, address: _Address) -> bool:
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        if target.host in self._listed:
            return True
        if address.is_loopback:
            return self._allows_loopback
        return target.scheme == "https" and is_public(address)


def is_public(address: _Address) -> bool:
    """Return True for an address of the public internet."""
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    is_tunnel = any(address in network for network in NOT_PUBLIC if network.version == address.version)
    return address.is_global and not address.is_reserved and not address.is_multicast and not is_tunnel


def _plain(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for, if it does (RFC 4291, 2.5.5.2)."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_host(host: str, is_in_brackets: bool) -> bool:
    if not is_in_brackets:
        return len(host) <= MOST_OF_HOST and re.fullmatch(HOST_NAME, host) is not None
    with suppress(ValueError):
        return isinstance(ip_address(host), IPv6Address)
    return False


def _refused(reason: str) -> RequestError:
    text = (
        f"The URL is not allowed: {reason}. Targets are https URLs with public addresses; MIMIC_WEBHOOK_HOSTS allows "
        "http and private addresses for the hosts that it names."
    )
    return RequestError(400, text, param="url", code="url_not_allowed")
