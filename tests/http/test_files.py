"""``/v1/files`` through OpenAI's own SDK and over plain HTTP."""

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

MEGABYTE: Final = 1024 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the records."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def server(folder: Path, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys, and with records and files of its own."""
    settings = {
        "MIMIC_RECORDS": f"sqlite:///{folder}/records.db",
        "MIMIC_API_KEYS": "one,two",
        "MIMIC_FILES_BYTES": "1200000000",
        "MIMIC_JOURNAL": "100",
    }
    with Server(folder, MIMIC_STORE=serve.store(), **settings) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key."""
    with sdk(server) as client:
        yield client


@pytest.fixture
def plain(server: Server) -> Iterator[httpx.Client]:
    """A plain client with the first key."""
    with httpx.Client(base_url=server.url, headers={"authorization": "Bearer one"}, timeout=60) as client:
        yield client


def test_the_life_of_a_file(client: OpenAI) -> None:
    """A file is uploaded, found, read and deleted; afterwards it is a 404."""
    made = client.files.create(file=("a b/ü.jsonl", b"one\ntwo\n"), purpose="user_data")
    assert (made.bytes, made.filename, made.purpose, made.expires_at) == (8, "a b/ü.jsonl", "user_data", None)
    assert client.files.retrieve(made.id) == made
    content = client.files.content(made.id)
    assert content.read() == b"one\ntwo\n"
    assert content.response.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b%2F%C3%BC.jsonl"
    assert client.files.delete(made.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match=made.id):
            call(made.id)


def test_files_of_another_key(server: Server, client: OpenAI) -> None:
    """Another key finds none of them."""
    made = client.files.create(file=b"a", purpose="user_data")
    with sdk(server, "two") as other:
        for call in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                call(made.id)
        assert made.id not in [one.id for one in other.files.list()]
    assert client.files.retrieve(made.id) == made


def test_lists(client: OpenAI) -> None:
    """Lists are newest first, by page and by purpose."""
    for one in client.files.list():
        client.files.delete(one.id)
    made = [client.files.create(file=b"x", purpose=kind).id for kind in ("batch", "vision", "batch")]
    assert [one.id for one in client.files.list()] == made[::-1]
    assert [one.id for one in client.files.list(order="asc", limit=1)] == made
    assert [one.id for one in client.files.list(purpose="batch", limit=1)] == [made[2], made[0]]
    page = client.files.list(after=made[2], limit=1)
    assert ([one.id for one in page.data], page.has_more) == ([made[1]], True)
    assert client.files.list(limit=0).data == []
    for wrong in ({"limit": -1}, {"limit": 10_001}, {"after": "x"}):
        with pytest.raises(openai.BadRequestError):
            client.files.list(**wrong)


def test_expiry(client: OpenAI) -> None:
    """A file may expire an hour to 30 days after its creation; a batch file expires after 30 days by default."""
    made = client.files.create(file=b"a", purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600})
    assert made.expires_at == made.created_at + 3600
    assert client.files.create(file=b"a", purpose="batch").expires_at
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=b"a", purpose="batch", expires_after={"anchor": "created_at", "seconds": 3599})
    assert caught.value.param == "expires_after.seconds"


@pytest.mark.parametrize(
    ("header", "status", "body", "shown"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        (f"bytes={'1' * 5000}-", 200, b"0123456789", None),
    ],
)
def test_ranges(
    client: OpenAI, plain: httpx.Client, header: str, status: int, body: bytes | None, shown: str | None
) -> None:
    """A range has its bytes and a 206, one outside the file is a 416, and others give the whole file."""
    made = client.files.create(file=b"0123456789", purpose="vision")
    answer = plain.get(f"/v1/files/{made.id}/content", headers={"range": header})
    assert (answer.status_code, answer.headers.get("content-range")) == (status, shown)
    assert body is None or answer.content == body
    whole = plain.get(f"/v1/files/{made.id}/content", headers={"range": header, "if-range": '"x"'})
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    again = plain.get(f"/v1/files/{made.id}/content", headers={"range": header, "if-range": whole.headers["etag"]})
    assert again.status_code == status


FILE: Final = 'content-disposition: form-data; name="file"; filename="a"\r\n\r\nhello'
PURPOSE: Final = 'content-disposition: form-data; name="purpose"\r\n\r\nbatch'

ANCHOR: Final = "expires_after[anchor]"


def form(*parts: str, end: str = "--") -> bytes:
    """A form with the boundary ``b``."""
    return "".join(f"--b\r\n{part}\r\n" for part in parts).encode() + f"--b{end}\r\n".encode()


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (form(FILE), "missing_required_parameter", "purpose"),
        (form(PURPOSE), "missing_required_parameter", "file"),
        (form(FILE, PURPOSE.replace("batch", "party")), "invalid_value", "purpose"),
        (form(FILE, PURPOSE, end=""), "invalid_form", None),
        (form(FILE, FILE, PURPOSE), "invalid_form", None),
        (form("x", FILE), "invalid_form", None),
        (b"hello", "invalid_form", None),
        (b"", "invalid_form", None),
        (form(FILE, PURPOSE.replace("batch", "b" * 70_000)), "invalid_form", None),
        (form(FILE, *[PURPOSE] * 70), "invalid_form", None),
        (
            form(FILE, PURPOSE, PURPOSE.replace("purpose", "expires_after[seconds]")),
            "missing_required_parameter",
            ANCHOR,
        ),
        (form(FILE, PURPOSE).replace(b"batch", b"\xff"), "invalid_form", None),
    ],
)
def test_bad_forms(plain: httpx.Client, body: bytes, code: str, param: str | None) -> None:
    """A bad form is a 400 that names the problem, and leaves nothing."""
    answer = plain.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"]) == (400, code, param)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json"}, 400),
        ({"content-type": "multipart/form-data"}, 400),
        ({"content-type": "multipart/form-data; boundary=b", "content-encoding": "gzip"}, 415),
        ({"content-type": "multipart/form-data; boundary=b", "authorization": "Bearer wrong"}, 401),
        ({"content-type": "multipart/form-data; boundary=b", "origin": "https://foreign.example"}, 403),
    ],
)
def test_refused_uploads(plain: httpx.Client, headers: dict[str, str], status: int) -> None:
    """Another type of body, a compressed one, a wrong key and a page of another origin are refused."""
    assert plain.post("/v1/files", content=form(FILE, PURPOSE), headers=headers).status_code == status


def test_fields_may_follow_the_file(plain: httpx.Client) -> None:
    """The order of a form does not matter."""
    headers = {"content-type": 'multipart/form-data; boundary="b"'}
    for parts in ((FILE, PURPOSE), (PURPOSE, FILE)):
        answer = plain.post("/v1/files", content=form(*parts), headers=headers)
        assert (answer.status_code, answer.json()["bytes"]) == (200, 5)


def test_an_upload_that_breaks_off_leaves_nothing(server: Server, folder: Path) -> None:
    """The bytes are removed when the connection ends."""
    folder = folder / "records.db.files"
    before = set(folder.iterdir()) if folder.exists() else set()
    head = "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer one\r\ncontent-length: 9000000\r\n"
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(f"{head}content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n{FILE}".encode())
        connection.sendall(b"x" * 3 * MEGABYTE)
        _until(lambda: set(folder.iterdir()) > before if folder.exists() else False)
    _until(lambda: set(folder.iterdir()) == before)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def peak(server: Server) -> int:
    """The largest memory of the server's process so far, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


class Zeros(io.RawIOBase):
    """A file of zeros."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        size = min(len(buffer), self._left)
        buffer[:size] = bytes(size)
        self._left -= size
        return size

    def readable(self) -> bool:
        """A file to read."""
        return True


@pytest.mark.parametrize("megabytes", [50, pytest.param(500, marks=pytest.mark.soak)])
def test_a_large_file_takes_little_memory(plain: httpx.Client, server: Server, megabytes: int) -> None:
    """Upload and download take at most 64 MB more, whatever the size."""
    before, size = peak(server), megabytes * MEGABYTE
    data: Any = Zeros(size)
    answer = plain.post("/v1/files", files={"file": ("a", data)}, data={"purpose": "user_data"})
    assert answer.json()["bytes"] == size
    received = 0
    with plain.stream("GET", f"/v1/files/{answer.json()['id']}/content") as content:
        for piece in content.iter_raw():
            received += len(piece)
    assert received == size
    assert peak(server) - before < 64 * MEGABYTE
    assert plain.delete(f"/v1/files/{answer.json()['id']}").status_code == 200


def test_uploads_are_in_the_journal_and_metrics(plain: httpx.Client) -> None:
    """Requests have their routes' templates."""
    plain.get("/v1/files/file-x/content")
    [entry] = [one for one in plain.get("/mimic/requests").json()["requests"] if one["path"].endswith("x/content")]
    assert (entry["route"], entry["status"]) == ("/v1/files/{file_id}/content", 404)
    assert 'route="/v1/files/{file_id}/content"' in plain.get("/metrics").text


def test_a_file_beyond_the_bound(serve: SharedServers, tmp_path: Path) -> None:
    """A file that is larger than all files may be is a 413, with its length or without; records that are off a 400."""
    with Server(
        tmp_path,
        MIMIC_STORE=serve.store(),
        MIMIC_RECORDS=f"sqlite:///{tmp_path}/r.db",
        MIMIC_FILES_BYTES="1000000",
    ) as server:
        for data in (b"x" * 1_000_001, b"x" * 3_000_000):
            answer = httpx.post(f"{server.url}/v1/files", files={"file": ("a", data)}, data={"purpose": "batch"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert not list((tmp_path / "r.db.files").rglob("*.incomplete"))
    url = serve(MIMIC_RECORDS="off").url
    answer = httpx.post(f"{url}/v1/files", files={"file": ("a", b"x")}, data={"purpose": "batch"})
    assert answer.status_code == 400


def test_a_full_disk(serve: SharedServers, tmp_path: Path) -> None:
    """A file that does not fit on the disk is a 503, leaves nothing, and the server goes on."""
    settings = {"MIMIC_STORE": serve.store(), "MIMIC_RECORDS": f"sqlite:///{tmp_path}/r.db"}
    with Server(tmp_path, "prlimit", "--fsize=3000000", **settings) as server:
        for size, status in ((5_000_000, 503), (100, 200)):
            data = {"file": ("a", bytes(size))}
            answer = httpx.post(f"{server.url}/v1/files", files=data, data={"purpose": "batch"})
            assert answer.status_code == status
            assert status == 200 or "no space left" in answer.json()["error"]["message"]
    assert [path.stat().st_size for path in (tmp_path / "r.db.files").rglob("whole*")] == [100]
