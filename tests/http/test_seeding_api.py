"""Seeding over HTTP: guarded by a secret, in a process of its own, with a public status."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mimic.corpus.corpus import Corpus
from mimic.corpus.manifest import ExitCode, Seeding
from mimic.corpus.stores import open_store
from mimic.corpus.stores.base import holder_name
from mimic.errors import StoreUnavailable
from mimic.gateway.ledger import Ledger
from mimic.server.options import SeedingOptions
from mimic.server.routes.seeding import Seeder
from tests.support.corpora import SMALL, conversation, fill, seed
from tests.support.servers import Server, children
from tests.support.timing import at_most, wait_until

SECRET = "s3cret, with spaces and \u00fcmlauts"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump that takes seconds to seed."""
    conversations = [
        conversation(str(n), ("human", f"question {n}"), ("gpt", "answer " * 200), ("human", "bye"), ("gpt", "bye"))
        for n in range(25_000)
    ]
    file = tmp_path_factory.mktemp("large") / "large.json"
    file.write_text(json.dumps(conversations))
    return file


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """The file that SEED_FILE names."""
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps(SMALL))
    return file


def authorization(secret: str, scheme: str = "Bearer ") -> dict[bytes, bytes]:
    """The header with the secret."""
    return {b"authorization": f"{scheme}{secret}".encode()}


def outcome(url: str) -> dict[str, Any]:
    """The last seeding, once it is over."""
    for _ in range(600):
        answer = httpx.get(f"{url}/conversation/seed", headers=authorization(SECRET)).json()
        if answer["state"] not in {"running", "never"}:
            return dict(answer)
        time.sleep(0.05)
    pytest.fail("it does not end")


def test_a_file_of_another_format_is_seeded(sqlite_url: str, tmp_path: Path) -> None:
    """SEED_FILE may be an export in a zip archive. The report counts left-out data, and /corpus has the SHA-256."""
    file = tmp_path / "export.zip"
    said = [{"sender": "human", "text": "hi", "files": [{}]}, {"sender": "assistant", "text": "hello"}]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("conversations.json", json.dumps([{"uuid": "u", "chat_messages": said}]))
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(file), SEED_SECRET=SECRET) as server:
        assert httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET}).status_code == 202
        report = outcome(server.url)["report"]
        assert (report["conversations"], report["left_out"]) == (1, {"attachments": 1})
        corpus = httpx.get(f"{server.url}/corpus").json()["versions"]["v3"]
        expected = {
            "name": "export.zip",
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        assert corpus["sources"] == [expected]
        assert corpus["source"] == expected
        body = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "hello"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("conversations.json", "[{")
        url = f"{server.url}/conversation/seed"  # 409 until the process of the first seeding has ended
        wait_until(lambda: httpx.post(url, json={"secret": SECRET}).status_code == 202)
        wait_until(lambda: outcome(server.url)["state"] == "failed")
        assert outcome(server.url)["error"].startswith("conversations.json: byte 2: the input ends here")


def test_without_a_secret_it_is_switched_off(sqlite_url: str, tmp_path: Path, dump: Path) -> None:
    """Without a secret every request is a 403, and nothing is seeded."""
    for unset in ({}, {"SEED_SECRET": ""}):
        with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(dump), **unset) as server:
            url = f"{server.url}/conversation/seed"
            for answer in (
                httpx.post(url, json={"secret": ""}),
                httpx.post(url),
                httpx.post(url, content="x"),
                httpx.get(url),
            ):
                assert answer.status_code == 403
                assert "SEED_SECRET" in answer.json()["error"]["message"]
            assert httpx.get(f"{server.url}/corpus").json()["versions"] == {}


def test_a_wrong_secret_starts_nothing(sqlite_url: str, tmp_path: Path, dump: Path) -> None:
    """A wrong, missing or nearly right secret is a 401; the secret is checked before the file."""
    for file in (dump, tmp_path / "missing.json"):
        with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(file), SEED_SECRET=SECRET) as server:
            url = f"{server.url}/conversation/seed"
            for given in ({}, {"secret": ""}, {"secret": SECRET[:-1]}, {"secret": SECRET + "x"}, {"secret": "\u00e9"}):
                answer = httpx.post(url, json=given)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_secret"
            assert httpx.post(url).status_code == 401
            for headers in (None, authorization("wrong"), authorization(SECRET, "")):
                assert httpx.get(url, headers=headers).status_code == 401
            assert httpx.get(url, headers=authorization(SECRET)).json() == {"state": "never"}
            assert httpx.post(url, json={"secret": 1}).status_code == 400
        assert SECRET not in server.log()


def test_it_seeds_and_reports(store_url: str, tmp_path: Path, dump: Path) -> None:
    """A 202 has the URL of the status; then come the report and, in each worker, answers from the new corpus."""
    settings = {"MIMIC_STORE": store_url, "SEED_FILE": str(dump), "SEED_SECRET": SECRET, "MIMIC_WORKERS": "2"}
    with Server(tmp_path, **settings) as server:
        started = httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET}, timeout=30)
        assert started.status_code == 202
        assert started.headers["location"] == "/conversation/seed"
        assert started.json() == {"state": "running", "status_url": "/conversation/seed"}
        seeding = outcome(server.url)
        assert seeding["state"] == "done"
        assert seeding["error"] is None
        assert seeding["report"]["messages"] == 21
        assert set(seeding["report"]["versions"]) == {"v1", "v2", "v3"}
        time.sleep(1.1)
        asked = {"messages": [{"from": "human", "value": "hi"}]}
        for _ in range(8):
            answer = httpx.post(f"{server.url}/conversation/completion", json=asked)
            assert len(answer.json()["choices"]) == 4
    assert SECRET not in server.log()


def test_a_missing_file_is_a_conflict_that_names_the_setting(sqlite_url: str, tmp_path: Path) -> None:
    """A missing file is a 409 that names SEED_FILE."""
    missing = str(tmp_path / "missing.json")
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=missing, SEED_SECRET=SECRET) as server:
        answer = httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET})
        assert answer.status_code == 409
        assert "SEED_FILE" in answer.json()["error"]["message"]
        assert missing in answer.json()["error"]["message"]


def test_a_broken_file_is_reported(sqlite_url: str, tmp_path: Path, dump: Path) -> None:
    """The seeding starts, and the status has the failure with its byte."""
    dump.write_text(json.dumps(SMALL)[:-1])
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(dump), SEED_SECRET=SECRET) as server:
        answer = httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET}, timeout=30)
        assert answer.status_code == 202
        seeding = outcome(server.url)
        assert seeding["state"] == "failed"
        assert seeding["error"].startswith(f"byte {len(dump.read_text())}: the input ends here")
        assert httpx.get(f"{server.url}/corpus").json()["versions"] == {}
    assert [file.name for file in tmp_path.glob("corpus.db*")] == []


def test_every_worker_reports_a_seeding_that_left_no_files(sqlite_url: str, tmp_path: Path, dump: Path) -> None:
    """Every worker reports the failure until the next seeding, and its success then."""
    settings = {"MIMIC_STORE": sqlite_url, "SEED_FILE": str(dump), "SEED_SECRET": SECRET, "MIMIC_WORKERS": "2"}
    with Server(tmp_path, **settings) as server:
        url = f"{server.url}/conversation/seed"
        for content, error in (("<html>", "the file is a web page"), ("[NaN]", "byte 1: expected a JSON value")):
            dump.write_text(content)
            assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
            assert outcome(server.url)["error"].startswith(error)
            for _ in range(8):
                told = httpx.get(url, headers=authorization(SECRET)).json()
                assert (told["state"], told["error"][:10]) == ("failed", error[:10])
            assert list(tmp_path.glob("corpus.db*")) == []
        dump.write_text(json.dumps(SMALL))
        assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
        assert outcome(server.url)["state"] == "done"


def test_a_seeding_that_is_stopped_leaves_nothing(sqlite_url: str, tmp_path: Path, large: Path) -> None:
    """A signal ends the process, and the status is ``interrupted``."""
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(large), SEED_SECRET=SECRET) as server:
        url = f"{server.url}/conversation/seed"
        assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
        holder = httpx.get(url, headers=authorization(SECRET)).json()["holder"]
        os.kill(int(holder.split()[1]), signal.SIGTERM)
        told = outcome(server.url)
        assert (told["state"], told["error"]) == ("interrupted", "the seeding was stopped")
    assert list(tmp_path.glob("corpus.db*")) == []


def test_only_one_at_a_time_and_the_server_answers_meanwhile(store_url: str, tmp_path: Path, large: Path) -> None:
    """A second seeding is a 409; the status has the progress; requests stay fast; SIGTERM interrupts the seeding."""
    seed(store_url, SMALL, tmp_path)
    settings = {"MIMIC_STORE": store_url, "SEED_FILE": str(large), "SEED_SECRET": SECRET}
    settings["MIMIC_MATCH"] = "previous"  # processes for an index would work until the first progress
    with Server(tmp_path, **settings) as server:
        url = f"{server.url}/conversation/seed"
        assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
        second = httpx.post(url, json={"secret": SECRET}, timeout=30)
        assert second.status_code == 409
        assert "held by process" in second.json()["error"]["message"]
        told: list[dict[str, Any]] = []
        slowest = 0.0
        while not told or told[-1]["progress"]["messages"] < 1000:
            started = time.monotonic()
            assert httpx.get(f"{server.url}/health").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
            told.append(httpx.get(url, headers=authorization(SECRET)).json())
            assert told[-1]["state"] == "running"
            time.sleep(0.05)
        assert slowest < at_most(1)
        assert 0 < told[-1]["progress"]["bytes"] <= told[-1]["progress"]["total_bytes"] == large.stat().st_size
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=20)
    with Server(tmp_path, **settings) as server:
        seeding = httpx.get(f"{server.url}/conversation/seed", headers=authorization(SECRET)).json()
        assert seeding["state"] == "interrupted"
        assert seeding["error"] == "the seeding was stopped"
        assert httpx.get(f"{server.url}/corpus").json()["versions"]["v3"]["messages"] == 21


@pytest.mark.parametrize("store_url", ["sqlite", pytest.param("mongodb", marks=pytest.mark.soak)], indirect=True)
@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_server_that_ends_takes_its_seeding_with_it(
    store_url: str, tmp_path: Path, large: Path, number: signal.Signals, *, everybody: bool
) -> None:
    """SIGTERM to the server, or Ctrl-C to all: the old corpus stays, the record says so, and no process is left."""
    seed(store_url, SMALL, tmp_path)
    settings = {"MIMIC_STORE": store_url, "SEED_FILE": str(large), "SEED_SECRET": SECRET, "MIMIC_WORKERS": "2"}
    with Server(tmp_path, **settings) as server:
        url = f"{server.url}/conversation/seed"
        assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
        seeder = int(httpx.get(url, headers=authorization(SECRET)).json()["holder"].split()[1])
        while not (indexers := children(seeder)):
            time.sleep(0.01)
        processes = {seeder, *indexers, *children(server.process.pid)}
        for process in {server.process.pid, *(processes if everybody else ())}:
            os.kill(process, number)
        assert server.process.wait(timeout=20) == 0
        # Multiprocessing's own process takes a moment to notice.
        wait_until(lambda: not [process for process in processes if Path(f"/proc/{process}").exists()])
    with Server(tmp_path, **{**settings, "MIMIC_WORKERS": "1"}) as server:
        seeding = httpx.get(f"{server.url}/conversation/seed", headers=authorization(SECRET)).json()
        assert (seeding["state"], seeding["error"]) == ("interrupted", "the seeding was stopped")
        assert httpx.get(f"{server.url}/corpus").json()["versions"]["v3"]["messages"] == 21
        asked = {"messages": [{"from": "human", "value": "hi"}]}
        assert len(httpx.post(f"{server.url}/conversation/completion", json=asked).json()["choices"]) == 4


def test_a_seeding_process_that_is_killed_is_reported(sqlite_url: str, tmp_path: Path, dump: Path, large: Path) -> None:
    """A seeding ended by SIGKILL is detected by its free lock. The next one succeeds."""
    dump.unlink()
    dump.hardlink_to(large)
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(dump), SEED_SECRET=SECRET) as server:
        url = f"{server.url}/conversation/seed"
        assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
        holder = httpx.get(url, headers=authorization(SECRET)).json()["holder"]
        os.kill(int(holder.split()[1]), signal.SIGKILL)
        seeding = outcome(server.url)
        assert (seeding["state"], seeding["error"]) == ("interrupted", "the seeding process died")
        dump.unlink()
        dump.write_text(json.dumps(SMALL))
        assert httpx.post(url, json={"secret": SECRET}, timeout=30).status_code == 202
        assert outcome(server.url)["state"] == "done"
    assert not list(tmp_path.glob("*.new"))


def test_the_secret_and_the_store_are_not_among_the_arguments(sqlite_url: str, tmp_path: Path, large: Path) -> None:
    """Arguments of processes, which other users can see, have neither secret nor store."""
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(large), SEED_SECRET=SECRET) as server:
        httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET}, timeout=30)
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "seed --quiet" in listed
        assert SECRET not in listed
        assert sqlite_url not in listed


def test_a_file_that_breaks_off_at_once_is_reported(sqlite_url: str, tmp_path: Path) -> None:
    """A file with the first two bytes of gzip data only is reported as broken."""
    dump = tmp_path / "dump.json"
    dump.write_bytes(b"\x1f\x8b")
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(dump), SEED_SECRET=SECRET) as server:
        assert httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET}, timeout=30).status_code == 202
        seeding = outcome(server.url)
        assert (seeding["state"], seeding["error"][:7]) == ("failed", "byte 0:")


def test_what_lies_in_the_current_folder_is_not_run(sqlite_url: str, tmp_path: Path, dump: Path) -> None:
    """A seed.py in the current folder is not run in place of Mimic's package."""
    (tmp_path / "seed.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(dump), SEED_SECRET=SECRET) as server:
        assert httpx.post(f"{server.url}/conversation/seed", json={"secret": SECRET}, timeout=30).status_code == 202
        assert outcome(server.url)["state"] == "done"
    assert not (tmp_path / "executed").exists()


@pytest.mark.anyio
async def test_a_record_of_a_process_with_the_same_number_is_not_taken_for_ours(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Numbers of processes repeat, as after the restart of a container: such a record is not ours."""
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", f"exit({ExitCode.STORE_UNREACHABLE})")
    await ended.wait()
    async with open_store(sqlite_url) as store:
        await fill(store, SMALL, tmp_path)
        record = tmp_path / "corpus.db.seeding"
        told = msgspec.structs.replace(
            msgspec.json.decode(record.read_bytes(), type=Seeding), holder=holder_name(ended.pid)
        )
        record.write_bytes(msgspec.json.encode(told))
        seeder = Seeder(SeedingOptions(store=sqlite_url), Corpus(store), Ledger())
        await seeder._wait_for_claim(ended, before=None)
        with pytest.raises(StoreUnavailable, match="could not use the store"):
            await seeder._wait_for_claim(ended, before=told.id)


def test_of_many_at_once_one_starts(sqlite_url: str, tmp_path: Path, large: Path) -> None:
    """The other requests get the holder of the store; the end of the server ends the running seeding."""
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(large), SEED_SECRET=SECRET) as server:
        url = f"{server.url}/conversation/seed"
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: httpx.post(url, json={"secret": SECRET}, timeout=30), range(4)))
        assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
        for answer in answers:
            assert answer.status_code == 202 or "held by process" in answer.json()["error"]["message"]
        holder = int(httpx.get(url, headers=authorization(SECRET)).json()["holder"].split()[1])
    assert not Path(f"/proc/{holder}").exists()
