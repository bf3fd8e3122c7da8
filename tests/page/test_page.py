"""The page's files: complete, safe, and without foreign content. Its behaviour is in test_browser."""

import re
from collections.abc import Iterator

import httpx
import pytest

from mimic.server.routes.page import FILES
from tests.support.servers import ForkedMimicServer

MODULES = {name: file.decode() for name, file in FILES.items() if name.endswith(".js")}
HTML = FILES["index.html"].decode()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of a server of the sample corpus."""
    with ForkedMimicServer() as server, httpx.Client(base_url=server.url) as client:
        yield client


def test_the_page_is_html_that_may_run_nothing_but_its_own_files(client: httpx.Client) -> None:
    """The page has a policy, and headers against sniffing, framing and referrers."""
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


def test_the_page_is_whole(client: httpx.Client) -> None:
    """Every file that the page or a module refers to is served with its type, and every file is used."""
    asked = set(re.findall(r"(?:src|href)=\"page/([^\"]+)\"", HTML))
    asked |= {name for module in MODULES.values() for name in re.findall(r"from \"\./([^\"]+)\"", module)}
    assert asked | {"index.html"} == set(FILES)
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name in asked:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == types[name.rpartition(".")[2]]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_element_that_a_module_looks_for_is_in_the_page() -> None:
    """Each id that a module uses is in the page exactly once."""
    ids = re.findall(r"\bid=\"([^\"]+)\"", HTML)
    assert len(ids) == len(set(ids))
    wanted = {name for module in MODULES.values() for name in re.findall(r"byId\(\"([^\"]+)\"\)", module)}
    assert len(wanted) > 20
    assert wanted <= set(ids)
    assert set(re.findall(r" (?:for|aria-labelledby|aria-describedby)=\"([^\"]+)\"", HTML)) <= set(ids)


def test_every_page_has_an_icon(client: httpx.Client) -> None:
    """The page and the documentation link an icon, and its default path has one as well."""
    for path in ("/", "/schema"):
        assert re.search(r"<link rel=\"icon\" href=\"/?page/icon.svg\" type=\"image/svg\+xml\">", client.get(path).text)
    for path in ("/favicon.ico", "/page/icon.svg"):
        icon = client.get(path)
        assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
        assert icon.content == FILES["icon.svg"]


def test_no_file_names_another_place() -> None:
    """No file loads from other servers, or turns a text into HTML or code."""
    for name, file in FILES.items():
        text = file.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//\w+\.|@import|url\(", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", text), name


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapi%2fpage.py", "../api/page.py", "%00", "", "x" * 5000])
def test_other_files_are_not_given(client: httpx.Client, name: str) -> None:
    """No other path gives a file."""
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"
