"""Pages of the web and the server: allowed origins, the policy of the documentation, and warnings in the log."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mimic.errors import SettingError
from mimic.server.host_guard import is_public
from mimic.server.listening import is_loopback
from mimic.server.routes.page import headers_of_documentation
from mimic.settings import Settings
from tests.golden.record import OPENAPI
from tests.support.browser import Browser, chromium
from tests.support.corpora import SMALL
from tests.support.servers import Server, SharedServers

KEY = "sk-one"
APP = "http://app.example:5173"
CHAT = "/v1/chat/completions"
BODY = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]}
SAID = {"messages": [{"from": "human", "value": "hi"}]}
ASKED: list[tuple[str, str, Any, dict[str, str]]] = [
    ("POST", CHAT, BODY, {}),
    ("POST", CHAT, BODY, {"x-mimic-fault": "none"}),  # by the framework
    ("POST", CHAT, BODY, {"x-mimic-fault": "status=500"}),
    ("POST", CHAT, {**BODY, "stream": True}, {}),
    ("POST", CHAT, {**BODY, "stream": True}, {"x-mimic-fault": "none"}),
    ("POST", CHAT, {"messages": 1}, {}),
    ("POST", CHAT, BODY, {"authorization": "Bearer wrong"}),
    ("POST", "/conversation/completion", SAID, {}),
    ("POST", "/conversation/completion", {"messages": [{"from": "human", "value": "never said"}]}, {}),
    ("POST", "/v1/embeddings", {"model": "mimic-embedding", "input": "hi"}, {}),
    ("GET", "/v1/models", None, {}),
    ("GET", "/nowhere", None, {}),
    ("PUT", "/health", None, {}),
    ("GET", "/", None, {}),
]


@contextmanager
def client_of(serve: SharedServers, **settings: str) -> Iterator[httpx.Client]:
    """A client of a server of the small corpus, with a key."""
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=serve(SMALL, **settings).url, headers=headers, timeout=30) as client:
        yield client


def allowed(answer: httpx.Response) -> dict[str, str]:
    """The headers of an answer about other origins. Some answers also vary with the accepted coding."""
    found = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    varied = [name for name in answer.headers.get("vary", "").split(", ") if name not in {"", "accept-encoding"}]
    return {**found, **({"vary": ", ".join(varied)} if varied else {})}


def preflight(client: httpx.Client, origin: str, path: str = CHAT, **headers: str) -> httpx.Response:
    """The preflight of a browser for a page's request."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-mimic-match"}
    return client.options(path, headers={"origin": origin, **asked, **headers})


def test_no_other_origin_may_ask_by_default(serve: SharedServers) -> None:
    """Answers have no headers for origins, not even to a preflight."""
    with client_of(serve) as client:
        for method, path, body, headers in ASKED:
            assert allowed(client.request(method, path, json=body, headers={"origin": APP, **headers})) == {}
        assert allowed(preflight(client, APP)) == {}


def test_origins_of_the_settings_may_ask(serve: SharedServers) -> None:
    """Every answer allows a listed origin; caches and browsers can distinguish other origins."""
    with client_of(serve, MIMIC_API_KEYS=KEY, MIMIC_CORS_ORIGINS=f"http://other.example, {APP}") as client:
        statuses = set()
        for method, path, body, headers in ASKED:
            answer = client.request(method, path, json=body, headers={"origin": APP, **headers})
            expected = {"vary": "Origin", "access-control-allow-origin": APP, "access-control-expose-headers": "*"}
            assert allowed(answer) == expected, path
            assert "x-request-id" in answer.headers
            for origin in ("http://app.example", "https://app.example:5173", "null", "", APP + "0"):
                answer = client.request(method, path, json=body, headers={"origin": origin, **headers})
                assert allowed(answer) == {"vary": "Origin"}
                statuses.add(answer.status_code)
        assert statuses == {200, 403, 404}
        may = preflight(client, APP)
        assert (may.status_code, may.content) == (204, b"")
        assert may.headers["access-control-allow-origin"] == APP
        assert may.headers["access-control-allow-headers"] == "authorization,x-mimic-match"
        assert "POST" in may.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in may.headers
        assert allowed(preflight(client, "http://evil.example")) == {"vary": "Origin"}


WRITES = [
    *(
        (method.upper(), re.sub(r"\{\w+\}", "unknown_123", path))
        for path, item in json.loads(OPENAPI.read_text())["paths"].items()
        for method in item
        if method != "get"
    ),
    ("PUT", "/nowhere"),
]
"""Method and path of each route that may store, delete, spend or call out, and one that does not exist."""


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
def test_a_page_of_another_origin_changes_nothing(
    serve: SharedServers, method: str, path: str, content_type: str
) -> None:
    """A request that a browser sends for a foreign page is a 403, also without a preflight and with a key."""
    with client_of(serve, MIMIC_JOURNAL="100") as client:
        for headers in (
            {"origin": APP},
            {"origin": "null"},
            {"origin": str(client.base_url).replace("http", "https").replace("127.0.0.1", "localhost")},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "origin": str(client.base_url)},
        ):
            asked = {"content-type": content_type, **headers}
            answer = client.request(method, path, content=json.dumps(BODY), headers=asked)
            assert answer.status_code == 403
            error = answer.json()["error"]
            assert error["code"] == "origin_not_allowed"
            assert "MIMIC_CORS_ORIGINS" in error["message"]


def test_a_page_of_the_server_and_other_programs_may_ask(serve: SharedServers) -> None:
    """Pages of the same origin pass, behind a proxy as well; clients that are no browsers send no such header."""
    with client_of(serve, MIMIC_ON_MISS="any") as client:
        own = str(client.base_url).rstrip("/")
        for headers in (
            {},
            {"origin": own},
            {"origin": own, "sec-fetch-site": "same-origin"},
            {"origin": "https://proxy.example", "sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "none"},
            {"origin": "https://proxy.test", "host": "proxy.test"},
            {"origin": "https://proxy.test", "host": "proxy.test:443"},
        ):
            assert client.post(CHAT, json=BODY, headers=headers).status_code == 200, headers
        assert client.get("/v1/models", headers={"origin": APP}).status_code == 200
    with client_of(serve, MIMIC_CORS_ORIGINS=APP, MIMIC_ON_MISS="any") as client:
        for headers in ({"origin": APP}, {"origin": APP, "sec-fetch-site": "cross-site"}):
            assert client.post(CHAT, json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("network", ["private", "local"])
def test_a_listed_page_of_the_web_may_ask_this_machine(serve: SharedServers, network: str) -> None:
    """A browser also asks for private network access; the answer allows it for listed origins only."""
    asks, told = f"access-control-request-{network}-network", f"access-control-allow-{network}-network"
    with client_of(serve, MIMIC_API_KEYS=KEY, MIMIC_CORS_ORIGINS=f"http://other.example, {APP}") as client:
        assert preflight(client, APP, **{asks: "true"}).headers[told] == "true"
        for others in (preflight(client, APP), preflight(client, APP, **{asks: "false"})):
            assert others.status_code == 204
            assert "network" not in str(others.headers)
        assert allowed(preflight(client, "http://evil.example", **{asks: "true"})) == {"vary": "Origin"}
        assert told not in client.get("/health", headers={"origin": APP, asks: "true"}).headers
    with client_of(serve, MIMIC_API_KEYS=KEY, MIMIC_CORS_ORIGINS="*") as client:
        assert preflight(client, "https://any.example", **{asks: "true"}).headers[told] == "true"


def test_any_origin_may_ask(serve: SharedServers) -> None:
    """With ``*`` any origin may send requests, and keys are still required."""
    with client_of(serve, MIMIC_API_KEYS=KEY, MIMIC_CORS_ORIGINS="*") as client:
        for origin in (APP, "null", "https://evil.example"):
            assert preflight(client, origin).headers["access-control-allow-origin"] == "*"
            answer = client.post(CHAT, json=BODY, headers={"origin": origin, "authorization": "Bearer wrong"})
            assert answer.status_code == 401
            assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("text", ["http://a.example/", "a.example", "http://a.example/path", "http://*.example", ",a"])
def test_an_invalid_origin_is_refused(text: str) -> None:
    """A setting that is no origin is refused, since it would never match."""
    with pytest.raises(SettingError, match=r"^MIMIC_CORS_ORIGINS: expected origins"):
        Settings.from_environment({"MIMIC_CORS_ORIGINS": text})


@pytest.mark.parametrize(
    ("host", "is_foreign"),
    [
        ("evil.example", True),
        ("evil.example:8000", True),
        ("EVIL.Example.", True),
        ("127.0.0.1.evil.example:80", True),
        ("localhost.evil.example", True),
        ("a.b:c", True),
        ("test.example", True),
        ("evilhome.arpa", True),
        ("router.lan", True),
        ("evil.localdomain", True),
        ("evillocalhost.localdomain", True),
        ("localhost", False),
        ("localhost:8000", False),
        ("mimic:8000", False),
        ("app.localhost:8000", False),
        ("localhost.", False),
        ("localhost.:8000", False),
        ("localhost.localdomain", False),
        ("localhost.localdomain:80", False),
        ("app.test", False),
        ("App.Test.:8000", False),
        ("box.home.arpa", False),
        ("host.docker.internal:8000", False),
        ("box.local", False),
        ("mimic.internal:80", False),
        ("127.0.0.1", False),
        ("127.0.0.1:8000", False),
        ("192.168.1.7:80", False),
        ("[::1]:8000", False),
        ("[::ffff:1.2.3.4]", False),
        ("", False),
    ],
)
def test_names_of_the_public_web_are_recognized(host: str, is_foreign: bool) -> None:
    """Names of the public web are those that anyone can point at this machine."""
    assert is_public(host.encode()) is is_foreign


def test_loopback_is_known() -> None:
    """Loopback is known by address and by name."""
    assert [host for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost") if not is_loopback(host)] == []
    assert [host for host in ("0.0.0.0", "::", "192.168.1.7", "example.com", "") if is_loopback(host)] == []


def test_a_name_of_the_web_does_not_lead_to_loopback(serve: SharedServers) -> None:
    """The host guard is off with keys, with any origin, or on other addresses."""
    host = {"host": "evil.example:8000"}
    asked = [("GET", "/", None), ("GET", "/corpus", None), ("POST", CHAT, BODY), ("GET", "/metrics", None)]
    with client_of(serve) as client:
        for method, path, body in asked:
            refused = client.request(method, path, json=body, headers=host)
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "host_not_allowed"
            assert client.request(method, path, json=body).status_code == 200
    for settings in ({"MIMIC_API_KEYS": KEY}, {"MIMIC_CORS_ORIGINS": "*"}, {"MIMIC_HOST": "0.0.0.0"}):
        with client_of(serve, **settings) as client:
            assert client.post(CHAT, json=BODY, headers=host).status_code == 200


def test_hosts_of_the_settings_lead_to_loopback(serve: SharedServers) -> None:
    """Hosts of a tunnel pass with any port, and subdomains of a wildcard; the refusal of others names the setting."""
    with client_of(serve, MIMIC_HOSTS="Mimic.Example, *.ngrok.app, .loca.lt") as client:
        for host in ("mimic.example", "MIMIC.example.:8443", "a1.ngrok.app", "a.b.ngrok.app:443", "x.loca.lt"):
            assert client.post(CHAT, json=BODY, headers={"host": host}).status_code == 200, host
        for host in ("evil.example", "a.mimic.example", "ngrok.app", "evilngrok.app", "ngrok.app.evil.example"):
            refused = client.post(CHAT, json=BODY, headers={"host": host})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "host_not_allowed"), host
            assert "MIMIC_HOSTS" in refused.json()["error"]["message"]
        refused = client.get("/health", headers={"host": "x." * 10_000 + "example"})
        assert (refused.status_code, len(refused.content) < 600) == (403, True)


@pytest.mark.parametrize("text", ["*", "https://a.example", "a.example:80", "a b.example", "*.*.example", "a..b", "*."])
def test_an_invalid_host_is_refused(text: str) -> None:
    """A setting that is no host is refused, since it would match nothing or everything."""
    with pytest.raises(SettingError, match=r"^MIMIC_HOSTS: expected names without"):
        Settings.from_environment({"MIMIC_HOSTS": text})


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ({}, []),
        ({"MIMIC_HOST": "localhost"}, []),
        ({"SEED_SECRET": "short"}, []),
        ({"MIMIC_HOST": "0.0.0.0"}, ["every client that can reach"]),
        ({"MIMIC_HOST": "0.0.0.0", "MIMIC_API_KEYS": KEY}, []),
        ({"MIMIC_HOST": "0.0.0.0", "MIMIC_API_KEYS": KEY, "SEED_SECRET": "x" * 15}, ["SEED_SECRET is too short"]),
        ({"MIMIC_HOST": "0.0.0.0", "MIMIC_API_KEYS": KEY, "SEED_SECRET": "x" * 16}, []),
    ],
)
def test_open_servers_are_warned_of(tmp_path: Path, settings: dict[str, str], warnings: list[str]) -> None:
    """The log warns if other machines can reach an open server."""
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/none.db", **settings) as server:
        lines = [json.loads(line) for line in server.log().splitlines()]
    told = [line["event"] for line in lines if line["level"] == "warning" and "not ready" not in line["event"]]
    assert len(told) == len(warnings)
    assert all(event.startswith(warning) for event, warning in zip(told, warnings, strict=True))


def test_the_documentation_may_run_its_own_scripts_only(serve: SharedServers) -> None:
    """The inline script runs by its digest, and no page may frame the documentation."""
    with client_of(serve) as client:
        page = client.get("/schema")
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
        assert policy["script-src"].count("'sha256-") == 1
        assert "unsafe" not in policy["script-src"]
        assert page.headers["referrer-policy"] == "no-referrer"
        types = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
        for path, kind in {f"/schema-assets/{name}": kind for name, kind in types.items()}.items():
            assert client.get(path).headers["content-type"].startswith(kind)
        for path in ("/schema", "/schema/openapi.json", *(f"/schema-assets/{name}" for name in types)):
            assert client.get(path).headers["x-content-type-options"] == "nosniff"
    known = b"<script>alert(1)</script>"  # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    headers = headers_of_documentation(b"<script src='a.js'></script>" + known)
    assert "'self' 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in headers["content-security-policy"]


class Page(BaseHTTPRequestHandler):
    """A web application on an origin of its own."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>app</title>")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The origin of a foreign page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)  # a browser connects once more than it asks
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://app.localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for which evil.example is this machine, as with a hostile name server."""
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with chromium(tmp_path_factory.mktemp("chromium"), rules) as browser:
        yield browser


FETCH = """
const [url, body, key, done] = arguments;
const headers = {"content-type": "application/json", authorization: `Bearer ${key}`};
fetch(url, body ? {method: "POST", headers, body} : {})
  .then(async (answer) => done([answer.status, Object.fromEntries(answer.headers), await answer.text()]))
  .catch((error) => done([String(error)]));
"""


def fetch(browser: Browser, url: str, body: Any = None, key: str = KEY) -> list[Any]:
    """The result of a page's request: status, headers and text; or an error."""
    text = body and json.dumps(body)
    return list(browser.driver.execute_async_script(FETCH, url, text, key))


def test_a_page_of_an_allowed_origin_asks_in_a_real_browser(browser: Browser, app: str, serve: SharedServers) -> None:
    """An allowed page sends a key, and reads answers, streams, errors and their headers."""
    server = serve(MIMIC_API_KEYS=KEY, MIMIC_CORS_ORIGINS=app)
    browser.driver.get(app)
    url = f"{server.url}{CHAT}"
    status, headers, text = fetch(browser, url, BODY)
    assert (status, json.loads(text)["object"]) == (200, "chat.completion")
    assert {"x-mimic-match", "x-mimic-source", "x-request-id"} <= set(headers)
    status, headers, text = fetch(browser, url, {**BODY, "stream": True})
    assert (status, text.endswith("data: [DONE]\n\n")) == (200, True)
    assert "x-mimic-match" in headers
    status, headers, text = fetch(browser, url, {"messages": 1})
    assert (status, json.loads(text)["error"]["param"]) == (400, "messages")
    assert "x-request-id" in headers
    assert fetch(browser, url, BODY, key="wrong")[0] == 401
    assert fetch(browser, f"{server.url}/conversation/completion", SAID)[0] == 200


def test_a_page_of_another_origin_gets_nothing_in_a_real_browser(
    browser: Browser, app: str, serve: SharedServers
) -> None:
    """Neither a request nor a name that points at this machine works; its error explains why."""
    server = serve()
    browser.driver.get(app)
    assert fetch(browser, f"{server.url}{CHAT}", BODY) == ["TypeError: Failed to fetch"]
    assert fetch(browser, f"{server.url}/corpus") == ["TypeError: Failed to fetch"]
    rebound = f"http://evil.example:{urlsplit(server.url).port}"
    browser.driver.get(rebound)
    assert "host_not_allowed" in browser.driver.page_source
    assert fetch(browser, f"{rebound}/corpus")[0] == 403
    assert fetch(browser, f"{rebound}{CHAT}", BODY)[0] == 403


SIMPLE = """
const [url, paths, done] = arguments;
const bodies = ["{}", new URLSearchParams({a: "b"}), new FormData()];
const sent = paths.flatMap((path) => bodies.map((body) => fetch(url + path, {method: "POST", mode: "no-cors", body})));
Promise.allSettled(sent).then((all) => done(all.length));
"""
"""Requests that a browser sends without a preflight."""
SOCKET = """
const [url, done] = arguments;
const socket = new WebSocket(url.replace("http", "ws"));
socket.onopen = () => done("open");
socket.onerror = () => done("error");
"""
"""The opening of a WebSocket."""


def records_in(client: httpx.Client) -> list[str]:
    """The numbers of stored records by kind, which servers of the same corpus share."""
    return re.findall(r"^mimic_records\{.*$", client.get("/metrics").text, re.MULTILINE)


def test_a_page_of_another_origin_writes_nothing_in_a_real_browser(
    browser: Browser, app: str, serve: SharedServers
) -> None:
    """Requests without a preflight and WebSockets are a 403 on every route; the browser stops other methods."""
    with client_of(serve, MIMIC_JOURNAL="501") as client:
        before = records_in(client)
        browser.driver.get(app)
        url = str(client.base_url).rstrip("/")
        paths = sorted({path for method, path in WRITES if method == "POST"})
        assert browser.driver.execute_async_script(SIMPLE, url, paths) == 3 * len(paths)
        assert browser.driver.execute_async_script(SOCKET, f"{url}/v1/responses") == "error"
        requests = client.get("/mimic/requests").json()["requests"]
        assert len(requests) == 3 * len(paths) + 1
        assert {request["status"] for request in requests} == {403}
        assert fetch(browser, f"{url}{CHAT}", BODY) == ["TypeError: Failed to fetch"]
        deletions = [path for method, path in WRITES if method == "DELETE"]
        script = "const [url, path, done] = arguments; fetch(url + path, {method: 'DELETE'}).catch((e) => done(e.name))"
        assert {browser.driver.execute_async_script(script, url, path) for path in deletions} == {"TypeError"}
        assert records_in(client) == before


def test_the_documentation_works_under_its_policy_in_a_real_browser(browser: Browser, serve: SharedServers) -> None:
    """Every route is shown, one is tried out, and the policy refuses nothing."""
    server = serve()
    browser.logged()
    browser.driver.get(f"{server.url}/schema")
    browser.find(".opblock")
    browser.click("#operations-Status-HealthHealth button")
    browser.click(".try-out button")
    browser.click("button.execute")
    assert '"ok"' in browser.find(".live-responses-table .microlight").text
    assert browser.logged() == []
