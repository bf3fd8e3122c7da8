"""Records of a server: no file before the first record, the command ``mimic records``, and the metrics."""

import asyncio
from pathlib import Path

import httpx
import pytest

from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.ledger import Ledger
from mimic.records.base import Draft, Records
from tests.support.corpora import SMALL, seed
from tests.support.records import BACKENDS, open_now, url_of
from tests.support.servers import Server, run_mimic


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of empty records."""
    return url_of(request.param, request)


def put(url: str, *drafts: Draft) -> None:
    """Store records."""

    async def put_all(records: Records) -> None:
        async with records:
            await records.put_all(drafts)

    asyncio.run(put_all(open_now(url)))


def test_a_server_makes_no_file_of_records(sqlite_url: str, tmp_path: Path) -> None:
    """Requests and metrics leave no file beside the corpus, and the metrics have none of records."""
    seed(sqlite_url, SMALL, tmp_path)
    before = sorted(file.name for file in tmp_path.iterdir())
    with Server(tmp_path, MIMIC_STORE=sqlite_url) as server:
        assert httpx.get(f"{server.url}/corpus").status_code == 200
        assert "mimic_records" not in httpx.get(f"{server.url}/metrics").text
    assert [name for name in sorted(file.name for file in tmp_path.iterdir()) if "record" in name] == []
    assert {name for name in before if "corpus" in name} <= {file.name for file in tmp_path.iterdir()}


def test_metrics_have_the_sizes_of_records(url: str, sqlite_url: str, tmp_path: Path) -> None:
    """Number, bytes, jobs and age of each kind; a store of the corpus that is missing does not matter."""
    put(url, Draft(kind="response", id="1", data=b"12345"), Draft(kind="response", id="2", due=0))
    with Server(tmp_path, MIMIC_STORE=sqlite_url, MIMIC_RECORDS=url) as server:
        text = httpx.get(f"{server.url}/metrics").text
    assert 'mimic_records{record="response"} 2.0' in text
    assert 'mimic_records_bytes{record="response"} 5.0' in text
    assert 'mimic_records_jobs{record="response"} 1.0' in text
    assert 'mimic_records_oldest_timestamp_seconds{record="response"} ' in text


def test_the_command_shows_and_deletes_records(url: str, sqlite_url: str) -> None:
    """Sizes, the newest records, and a deletion by kind, which asks first."""
    environment = {"MIMIC_STORE": sqlite_url, "MIMIC_RECORDS": url}
    run = run_mimic(("records", "list"), environment)
    assert (run.returncode, run.stdout, run.stderr) == (0, "Nothing is stored.\n", "")
    put(url, Draft(kind="response", id="resp_1", state="queued", due=60, data=bytes(2000)))
    put(url, Draft(kind="item", id="msg_1", lives=None), Draft(kind="item", id="msg_2"))
    lines = run_mimic(("records", "list"), environment).stdout.splitlines()
    assert lines[0].split() == ["kind", "records", "jobs", "bytes", "oldest"]
    assert [line.split()[:4] for line in lines[1:3]] == [["item", "2", "0", "0"], ["response", "1", "1", "2,000"]]
    shown = {line.split()[1]: line.split() for line in lines[5:]}
    assert shown["resp_1"][:3] == ["response", "resp_1", "queued"]
    assert shown["msg_1"][-1] == "never"
    lines = run_mimic(("records", "list", "--kind", "item", "--limit", "1"), environment).stdout.splitlines()
    assert len(lines) == 6
    assert run_mimic(("records", "clear"), environment).returncode == 1
    run = run_mimic(("records", "clear", "--kind", "item", "--yes"), environment)
    assert (run.returncode, run.stdout) == (0, "Deleted 2 records.\n")
    assert run_mimic(("records", "clear"), environment, stdin=b"y\n").stdout.endswith("Deleted 1 records.\n")
    assert run_mimic(("records", "list"), environment).stdout == "Nothing is stored.\n"


def test_the_command_deletes_the_bytes_of_files(url: str, sqlite_url: str, tmp_path: Path) -> None:
    """Beside a server, ``records clear`` deletes them at once, unless another kind is named."""
    environment = {"MIMIC_STORE": sqlite_url, "MIMIC_RECORDS": url}
    with Server(tmp_path, **environment) as server, httpx.Client(base_url=f"{server.url}/v1") as client:

        def upload() -> str:
            sent = client.post("/files", files={"file": ("a", b"hello")}, data={"purpose": "user_data"})
            return str(sent.raise_for_status().json()["id"])

        file, _ = upload(), upload()
        run = run_mimic(("records", "clear", "--kind", "response", "--yes"), environment)
        assert run.stdout == "Deleted 0 records.\n"
        assert client.get(f"/files/{file}/content").content == b"hello"
        run = run_mimic(("records", "clear", "--yes"), environment)
        assert run.stdout.endswith("Deleted the bytes of 2 files.\n")
        assert client.get(f"/files/{file}").status_code == 404
        assert client.get(f"/files/{upload()}/content").content == b"hello"


def test_the_command_reports_an_unusable_store(sqlite_url: str, tmp_path: Path) -> None:
    """Exit code 3 for a foreign file, and 2 for wrong usage."""
    file = tmp_path / "text"
    file.write_text("text" * 1000)
    run = run_mimic(("records", "list", "--records", str(file)), {"MIMIC_STORE": sqlite_url})
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr.startswith("Error: cannot use ")
    run = run_mimic(("records", "list", "--records", sqlite_url), {"MIMIC_STORE": sqlite_url})
    assert run.returncode == 2
    assert "--records: it names the file of the corpus" in run.stderr


def test_an_owner_is_a_digest_of_the_key() -> None:
    """Different keys have different owners, which do not show the key; without required keys all clients share one."""
    guard = BruteForceGuard(Ledger())
    keys = Keys(("sk-one", "sk-two"), guard)
    owners = {keys.owner_of("sk-one"), keys.owner_of("sk-two")}
    assert len(owners) == 2
    assert keys.owner_of("sk-one") in owners
    assert all(len(owner) == 32 and "sk" not in owner for owner in owners)
    assert Keys((), guard).owner_of("sk-one") == ""
