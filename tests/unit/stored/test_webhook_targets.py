"""Targets of webhooks: their URLs, and the addresses that each policy allows."""

from collections.abc import Sequence
from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.errors import RequestError, WebhookFailed
from mimic.stored.webhook_targets import TargetGuard, TargetPolicy, TargetURL, resolve

pytestmark = pytest.mark.anyio

PUBLIC = ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8")
LOOPBACK = ("127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1")
PRIVATE = ("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00:ec2::254", "::ffff:10.0.0.1", "fec0::1")
SPECIAL = ("192.0.2.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "2001:db8::1", "::127.0.0.1")
TUNNELS = ("64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::", "2001:0:a00:1::", "192.88.99.1")
NEVER = ("169.254.169.254", "fe80::1", "fe80::1%1", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1", "ff02::1")
ALL = {*PUBLIC, *LOOPBACK, *PRIVATE, *SPECIAL, *TUNNELS, *NEVER}


async def allowed(policy: TargetPolicy, url: str) -> set[str]:
    """The addresses that a target may have."""

    async def addresses(host: str, port: int) -> Sequence[str]:
        return sorted(ALL)

    with suppress(WebhookFailed):
        return set(await TargetGuard(policy, addresses).addresses(TargetURL.parse(url), is_checked=True))
    return set()


async def test_targets_have_public_addresses() -> None:
    """Targets of clients are https URLs with public addresses; policies add loopback and listed hosts."""
    local, listed = TargetPolicy(allows_loopback=True), TargetPolicy(("hooks.corp", "*.lan"))
    for policy in (TargetPolicy(), listed):
        assert await allowed(policy, "https://app.example") == set(PUBLIC)
        assert await allowed(policy, "http://app.example") == set()
    assert await allowed(local, "https://app.example") == {*PUBLIC, *LOOPBACK}
    assert await allowed(local, "http://app.example") == set(LOOPBACK)
    for url in ("http://hooks.corp", "https://HOOKS.corp.:8443/a?b", "http://a.lan"):
        assert await allowed(listed, url) == ALL.difference(NEVER)
    for url in ("http://hooks.corp.example", "http://lan", "http://10.0.0.1", "http://xhooks.corp"):
        assert await allowed(listed, url) == set()


async def test_targets_of_settings_are_anywhere() -> None:
    """Addresses of the operator's targets are not checked."""
    for url in ("http://127.0.0.1", "http://169.254.169.254", "https://10.0.0.1"):
        target = TargetURL.parse(url)
        assert await TargetGuard(TargetPolicy()).addresses(target, is_checked=False) == [target.host]


async def test_a_new_target_is_resolved() -> None:
    """A name without an allowed address is refused, and a name without an address is accepted: it may get one."""

    async def inner(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1"]

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError

    with pytest.raises(RequestError, match="its host has no public address"):
        await TargetGuard(TargetPolicy(), inner).check("https://app.example")
    await TargetGuard(TargetPolicy(("app.example",)), inner).check("http://app.example")
    await TargetGuard(TargetPolicy(), unknown).check("https://app.example")
    with pytest.raises(RequestError, match="it is not https"):
        await TargetGuard(TargetPolicy(), unknown).check("http://app.example")
    assert "127.0.0.1" in await resolve("localhost", 80)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://a.example", ("https", "a.example", 443, "a.example", "/")),
        ("http://A.example:8080/b/c?d=%20&e", ("http", "a.example", 8080, "A.example:8080", "/b/c?d=%20&e")),
        ("https://a.example.?b", ("https", "a.example", 443, "a.example.", "/?b")),
        ("http://[::1]:80/", ("http", "::1", 80, "[::1]:80", "/")),
        ("HTTPS://127.0.0.1/", ("https", "127.0.0.1", 443, "127.0.0.1", "/")),
    ],
)
def test_the_parts_of_a_url(url: str, parts: tuple[str, str, int, str, str]) -> None:
    """Scheme, host, port, authority and path, with the default port of the scheme."""
    assert tuple(TargetURL.parse(url)) == parts


@pytest.mark.parametrize(
    "url",
    [
        *("", "a", "https:", "https://", "//a.example", "ftp://a.example", "file:///etc/passwd", "https:///a"),
        *("https://user@a.example", "https://user:pass@a.example", "https://a.example/#b", "https://a.example#"),
        *("https://a.example:0", "https://a.example:65536", "https://a.example:b", "https://[::1", "https://[v1.a]/"),
        *("https://a b.example", "https://a.example/\r\nx: y", "https://a.example\\@b", "https://\u00e4.example"),
        *("https://.a.example", "https://a..example", "https://" + "a" * 64, "https://a.example/" + "b" * 2048),
        *("https://" + "a." * 128, "https://a%2eb", "https://a.example/\t", " https://a.example", "https://*.example"),
    ],
)
async def test_an_invalid_url_is_refused(url: str) -> None:
    """The error names the parameter, and no resolver is asked."""
    with pytest.raises(RequestError, match=r"^Invalid 'url': expected") as caught:
        await TargetGuard(TargetPolicy()).check(url)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "url", "invalid_value")


PIECES = st.sampled_from(
    ["http", "https", "://", ":", "/", "//", "?", "#", "@", "[", "]", "::1", "%", "%00", "\\", ".", "a.example", "443"]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=9).map("".join) | st.text())
def test_any_text_is_refused_or_can_be_sent(text: str) -> None:
    """A URL that is accepted makes a valid request, whose host is in its authority."""
    for url in (text, f"https://{text}", f"http://a.example/{text}"):
        with suppress(ValueError):
            target = TargetURL.parse(url)
            h11.Request(method="POST", target=target.path, headers=[("host", target.authority)])
            assert target.host in target.authority.lower()
            assert not set(target.host) & set("@/\\?#% ")
            assert 0 < target.port < 65_536
