"""The page's files: complete, safe, and without foreign content. Its behaviour is in the other tests."""

import gzip
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import httpx
import pytest

from mimic.server.routes.page import FILES
from tests.support.servers import ForkedMimicServer

VENDORED: Final = {
    "vendor/markdown-it.esm.min.mjs": "d5432491790141da046b1197353705db03264f40b5727f3b4b591f5aba193e30",
}
"""The SHA-256 of files by others, as they are in the packages that docs/design/page.md names."""

OWN = {name: file for name, file in FILES.items() if not name.startswith("vendor/")}
MODULES = {name: file.decode() for name, file in OWN.items() if name.endswith(".js")}
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
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


def test_the_page_is_whole(client: httpx.Client) -> None:
    """Every file that the page or a module refers to is served with its type, and every file is used."""
    asked = set(re.findall(r"(?:src|href)=\"page/([^\"]+)\"", HTML))
    asked |= {name for module in MODULES.values() for name in re.findall(r"from \"\./([^\"]+)\"", module)}
    assert asked | {"index.html"} == set(FILES)
    javascript = "text/javascript"
    types = {"css": "text/css", "js": javascript, "mjs": javascript, "svg": "image/svg+xml", "txt": "text/plain"}
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
    for name, file in OWN.items():
        text = file.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//\w+\.|@import|\burl\((?!\{)", text), name
        assert not re.search(r"(?:inner|outer|insertAdjacent)HTML|document\.write|\beval\(|Function\(", text), name
        assert not re.search(r"\.render(?:Inline)?\(", text), name  # the parser's own, which makes HTML


def test_files_of_others_are_as_published() -> None:
    """Each file has the SHA-256 of the published one, and its licence beside it."""
    vendored = {name: sha256(file).hexdigest() for name, file in FILES.items() if name.endswith(".mjs")}
    assert vendored == VENDORED
    licences = FILES["vendor/LICENSES.txt"].decode()
    for name in ("markdown-it-15.0.3", "entities", "linkify-it", "mdurl", "punycode.js", "uc.micro"):
        assert f"===== {name}" in licences
    assert b"markdown-it 15.0.3 " in FILES["vendor/markdown-it.esm.min.mjs"][:100]


def test_the_transfer_is_small(client: httpx.Client) -> None:
    """All files of the page take less than 90 kB; without compression they are the same files."""
    total = 0
    for name in FILES.keys() - {"vendor/LICENSES.txt"}:
        with client.stream("GET", f"/page/{name}", headers={"accept-encoding": "br, gzip;q=0.5"}) as answer:
            body = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(body) == FILES[name]
        total += len(body)
    assert total < 90_000
    for coding in ("identity", "gzip;q=0", "gzip; q=0.0, br", "br"):
        answer = client.get("/page/page.css", headers={"accept-encoding": coding})
        assert "content-encoding" not in answer.headers
        assert answer.content == FILES["page.css"]
        assert answer.headers["vary"] == "accept-encoding"


def test_a_file_that_did_not_change_is_not_sent_again(client: httpx.Client) -> None:
    """A client with the tag of a file gets a 304 without a body; with another tag it gets the file."""
    first = client.get("/page/page.css")
    again = client.get("/page/page.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert client.get("/page/page.js").headers["etag"] != first.headers["etag"]
    assert client.get("/page/page.css", headers={"if-none-match": 'W/"other"'}).content == FILES["page.css"]


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "vendor",
        "vendor/",
        "vendor/../page.js/x",
        "..%2fapi%2fpage.py",
        "../api/page.py",
        "%00",
        "",
        "x" * 5000,
    ],
)
def test_other_files_are_not_given(client: httpx.Client, name: str) -> None:
    """No other path gives a file."""
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"
