"""The browser, the server, and the page of these tests."""

from collections.abc import Iterator

import pytest

from tests.page.talks import DUMP
from tests.support.browser import Browser, chromium
from tests.support.servers import ForkedMimicServer


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests."""
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="package")
def url() -> Iterator[str]:
    """A server of the corpus for these tests."""
    with ForkedMimicServer(DUMP) as server:
        yield server.url


@pytest.fixture
def width() -> int:
    """The width of the screen in pixels, a desktop's without a parameter of this name."""
    return 1280


@pytest.fixture
def page(browser: Browser, url: str, width: int) -> Iterator[Browser]:
    """The page, just opened; at the end it must have no errors and no requests to other servers."""
    browser.open(url, width=width)
    browser.find("#welcome")
    yield browser
    assert browser.logged() == []
    assert {address.startswith((f"{url}/", "data:")) for address in browser.addresses()} == {True}


@pytest.fixture
def modules(browser: Browser, url: str) -> Iterator[Browser]:
    """A document with the origin and the policy of the page, and without the page, for tests of single modules."""
    browser.open(url, "page/elements.js")
    yield browser
    assert browser.logged() == []
