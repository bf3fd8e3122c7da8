"""Secrets: they never leak, guesses take time, and only the settings choose the seeded file."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import httpx
import pymongo
import pytest

from mimic.errors import RequestError
from mimic.gateway.auth import MAX_WRONG_A_MINUTE, SECONDS_OF_DELAY, BruteForceGuard, Keys, _bucket_of, is_same
from mimic.gateway.ledger import IN_MEMORY, Ledger
from tests.support.corpora import SMALL, conversation, seed
from tests.support.mongod import Mongod
from tests.support.servers import Server

KEY = "sk-one-4f9a8c27d1"
OTHER_KEY = "sk-zwei-\u00fcml\u00e4ut-55e1"
SECRET = "s33d-s\u00ebcret-91c7"
PASSWORD = "pa55word/@:-\u00df-7d2e"
HOOK = "hook-t0ken-3b8f"
HOOK_SECRET = "whsec_dGhlIHNlY3JldCBvZiBhbGwgd2ViaG9va3M="
TOLD = [KEY, OTHER_KEY, SECRET, PASSWORD, quote(PASSWORD, safe=""), HOOK, HOOK_SECRET]
BODY = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]}
SAID = {"messages": [{"from": "human", "value": "hi"}]}


def forms(secret: str) -> set[str]:
    """A secret as it is, as JSON escapes it, and as a header of bytes taken for Latin-1."""
    return {secret, json.dumps(secret)[1:-1], secret.encode().decode("latin-1"), repr(secret.encode())[2:-1]}


ALL_FORMS = set().union(*map(forms, TOLD))


def bearer(key: str) -> dict[bytes, bytes]:
    """The header with a key or a secret."""
    return {b"authorization": f"Bearer {key}".encode()}


@contextmanager
def user_of(mongod: Mongod) -> Iterator[str]:
    """The URL of a database, with a user and a password."""
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        client.mimic.command("createUser", "ann", pwd=PASSWORD, roles=["readWrite"])
    yield f"mongodb://ann:{quote(PASSWORD, safe='')}@127.0.0.1:{mongod.port}/mimic?authSource=mimic"


def stored(mongod: Mongod) -> str:
    """The whole content of the database."""
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        names = client.mimic.list_collection_names()
        return "".join(str(document) for name in names for document in client.mimic[name].find())


def arguments() -> str:
    """The arguments of all processes of the machine."""
    told = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told.append(file.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue  # it has ended
    return "\n".join(told)


def ask_everything(client: httpx.Client) -> Iterator[httpx.Response]:
    """Send requests to every route, with right keys and wrong ones."""
    for key in (KEY, OTHER_KEY, KEY[:-1], SECRET):
        headers = bearer(key)
        for path in ("/v1/models", "/v1/models/x", "/mimic/requests", "/corpus", "/corpus/search?q=hi", "/ready"):
            yield client.get(path, headers=headers)
        for body in (BODY, {**BODY, "stream": True}, {**BODY, "model": 1}):
            yield client.post("/v1/chat/completions", json=body, headers=headers)
        yield client.post("/v1/chat/completions", json=BODY, headers={**headers, b"x-mimic-fault": b"status=500"})
        yield client.post("/conversation/completion", json=SAID, headers=headers)
        yield client.post("/conversation/completion", content=b'{"messages": [', headers=headers)
        yield client.get("/conversation/seed", headers=headers)
        yield client.delete("/mimic/requests", headers=headers)
    for path in ("/", "/schema", "/schema/openapi.json", "/health", "/metrics", "/nowhere"):
        yield client.get(path, headers=bearer(KEY))
    yield client.post("/conversation/seed", json={"secret": SECRET + "x"})
    yield client.put("/health", headers=bearer(KEY))
    yield client.post("/conversation/seed", json={"secret": 1})
    yield client.post("/conversation/seed", content=json.dumps({"secret": SECRET})[:-1])


@pytest.mark.parametrize("driver", ["pymongo", pytest.param("motor", marks=pytest.mark.soak)])
def test_no_secret_leaks(mongod: Mongod, tmp_path: Path, driver: str) -> None:
    """Answers, log, arguments and database have no secret after all requests and failures."""
    dump = tmp_path / "dump.json"
    answers: list[httpx.Response] = []
    with user_of(mongod) as url:
        settings = {"MIMIC_STORE": url, "MIMIC_MONGO_DRIVER": driver, "MIMIC_API_KEYS": f"{KEY},{OTHER_KEY}"}
        settings |= {"SEED_SECRET": SECRET, "SEED_FILE": str(dump), "MIMIC_JOURNAL": "1000", "MIMIC_RPM": "1000"}
        settings |= {"MIMIC_WEBHOOKS": f"http://127.0.0.1:1/{HOOK}", "MIMIC_WEBHOOK_SECRET": HOOK_SECRET}
        settings |= {"MIMIC_WEBHOOK_SECONDS": "0"}
        listed = ""
        with Server(tmp_path, "env", **settings, MIMIC_WORKERS="2") as server:  # with arguments of its own
            with httpx.Client(base_url=server.url, timeout=30) as client:
                for text in ("[", json.dumps(SMALL), json.dumps(MANY)):
                    dump.write_text(text)
                    answers += started(client)
                    listed += arguments()
                    answers += until_seeded(client)
                answers += ask_everything(client)
                answers += until_given_up(client)
                answers.append(client.get("/mimic/requests", headers=bearer(KEY)))
                kept = stored(mongod)
                mongod.kill()
                answers += [client.get(path, headers=bearer(KEY)) for path in ("/ready", "/corpus")]
                answers.append(client.post("/v1/chat/completions", json=BODY, headers=bearer(KEY)))
                answers.append(client.get("/conversation/seed", headers=bearer(SECRET)))
                answers.append(client.post("/conversation/seed", json={"secret": SECRET}))
            log = server.log()
    assert {answer.status_code for answer in answers} >= {200, 202, 400, 401, 404, 405, 500, 503}
    assert "seed --quiet" in listed
    assert "mimic serve" in listed
    assert '"state"' in kept or "'state'" in kept
    assert "store failed" in log
    assert "a webhook was not delivered" in log
    everything = {"answers": "".join(f"{answer.headers} {answer.text}" for answer in answers)}
    everything |= {"log": log, "arguments": listed, "database": kept}
    for place, told in everything.items():
        assert [secret for secret in ALL_FORMS if secret in told] == [], place


MANY = [conversation(str(n), ("human", f"question {n}"), ("gpt", "answer " * 100)) for n in range(2000)]


def started(client: httpx.Client) -> list[httpx.Response]:
    """The answer that starts a seeding; the process of the last one may still exist for a moment."""
    told: list[httpx.Response] = []
    until = time.monotonic() + 30
    while not told or told[-1].status_code == 409:
        assert time.monotonic() < until
        told.append(client.post("/conversation/seed", json={"secret": SECRET}))
    assert told[-1].status_code == 202
    return told


def until_seeded(client: httpx.Client) -> list[httpx.Response]:
    """The status of a seeding once it is over."""
    told: list[httpx.Response] = []
    until = time.monotonic() + 60
    while not told or told[-1].json()["state"] == "running":
        assert time.monotonic() < until
        told.append(client.get("/conversation/seed", headers=bearer(SECRET)))
        time.sleep(0.05)
    return told


def until_given_up(client: httpx.Client) -> list[httpx.Response]:
    """The answers about a response in the background, until its event is given up."""
    body = {"model": "mimic-v3", "input": "question 1", "background": True}
    told = [client.post("/v1/responses", json=body, headers=bearer(KEY))]
    until = time.monotonic() + 60
    while "failed" not in told[-1].text:
        assert time.monotonic() < until
        time.sleep(0.05)
        told.append(client.get("/mimic/webhook_deliveries", headers=bearer(KEY)))
    return told


@pytest.mark.parametrize(
    ("given", "secret", "same"),
    [
        (b"secret", "secret", True),
        ("\u00fc\u4f60".encode(), "\u00fc\u4f60", True),
        (b"\xff", "\udcff", True),  # as the environment holds bytes that are not UTF-8
        (b"secre", "secret", False),
        (b"secrets", "secret", False),
        (b"", "secret", False),
        ("\u00fc".encode("latin-1"), "\u00fc", False),
    ],
)
def test_secrets_are_compared_as_bytes(given: bytes, secret: str, same: bool) -> None:
    """Secrets of any length and script can be compared."""
    assert is_same(given, secret) is same


def test_guesses_wait_and_right_keys_do_not(sqlite_url: str, tmp_path: Path) -> None:
    """Wrong keys and secrets count together across workers and are delayed; right ones and missing ones are not."""
    seed(sqlite_url, SMALL, tmp_path)
    settings = {"MIMIC_STORE": sqlite_url, "MIMIC_API_KEYS": KEY, "SEED_SECRET": SECRET, "MIMIC_WORKERS": "2"}
    with Server(tmp_path, **settings) as server:

        def ask(path: str, key: str | None) -> httpx.Response:
            # A connection each, so that both workers get requests.
            return httpx.get(f"{server.url}{path}", headers=bearer(key) if key else None, timeout=30)

        for _ in range(MAX_WRONG_A_MINUTE + 5):
            assert ask("/v1/models", None).status_code == 401
        paths = ("/v1/models", "/conversation/seed", "/corpus", "/corpus/search?q=hi")
        answers = [ask(paths[n % len(paths)], f"wrong {n}") for n in range(MAX_WRONG_A_MINUTE)]
        assert {answer.status_code for answer in answers} == {200, 401}  # 200 is the corpus without its texts
        for path in paths:
            slow = (ask(path, "wrong") for _ in range(60))
            late = next(answer for answer in slow if answer.elapsed.total_seconds() > SECONDS_OF_DELAY - 0.1)
            assert late.status_code == (200 if path == "/corpus" else 401)
        right = [ask(*asked) for _ in range(20) for asked in (("/v1/models", KEY), ("/conversation/seed", SECRET))]
        assert {answer.status_code for answer in right} == {200}
        assert median(answer.elapsed.total_seconds() for answer in right) < SECONDS_OF_DELAY / 2  # others do not wait
        assert httpx.delete(f"{server.url}/mimic/requests", headers=bearer(KEY)).status_code == 204
        assert min(ask("/v1/models", "wrong").elapsed.total_seconds() for _ in range(3)) < SECONDS_OF_DELAY


def test_guesses_from_many_addresses_take_little_memory() -> None:
    """The number of buckets is bounded; an IPv6 network has one, and each IPv4 address has its own."""
    hosts = [f"10.{a}.{b}.{c}" for a in range(256) for b in range(256) for c in (1, 2)]
    buckets = {_bucket_of(host) for host in hosts}
    assert 50_000 < len(buckets) <= 65_536
    assert len({_bucket_of(f"2001:db8:1:2::{n:x}") for n in range(100)}) == 1
    assert len({_bucket_of(f"2001:db8:1:{n:x}::1") for n in range(100)}) > 90
    assert len({_bucket_of(f"192.0.2.{n}") for n in range(100)}) > 90


@pytest.mark.anyio
async def test_all_wrong_keys_wait() -> None:
    """Every wrong key waits, however many come at a time: an immediate answer would be a sign."""
    with Ledger(IN_MEMORY) as ledger:
        wrong = BruteForceGuard(ledger)

        async def guess() -> int:
            keys = Keys(["sk-right"], wrong)
            with pytest.raises(RequestError) as caught:
                await keys.check("Bearer sk-wrong", "192.0.2.1")
            return caught.value.status

        assert [await guess() for _ in range(MAX_WRONG_A_MINUTE)] == [401] * MAX_WRONG_A_MINUTE
        tasks = [asyncio.create_task(guess()) for _ in range(1000)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in tasks)
        assert await asyncio.gather(*tasks) == [401] * 1000


def test_keys_and_secrets_may_end_in_any_letter(sqlite_url: str, tmp_path: Path) -> None:
    """The last byte of these letters is white space in some encodings."""
    key, secret = "sk-voil\u00e0", "min-\u00c5"
    seed(sqlite_url, SMALL, tmp_path)
    with Server(tmp_path, MIMIC_STORE=sqlite_url, MIMIC_API_KEYS=key, SEED_SECRET=secret) as server:
        assert httpx.get(f"{server.url}/v1/models", headers=bearer(f" {key}")).status_code == 200
        assert httpx.post(f"{server.url}/conversation/completion", json=SAID, headers=bearer(key)).status_code == 200
        assert httpx.get(f"{server.url}/conversation/seed", headers=bearer(secret)).status_code == 200


def test_only_the_file_of_the_settings_is_seeded(sqlite_url: str, tmp_path: Path) -> None:
    """A request cannot name another file."""
    dump, other = tmp_path / "dump.json", tmp_path / "other.json"
    dump.write_text(json.dumps(SMALL))
    other.write_text(json.dumps(SMALL[:1]))
    with Server(tmp_path, MIMIC_STORE=sqlite_url, SEED_FILE=str(dump), SEED_SECRET=SECRET) as server:
        names = ("file", "seed_file", "SEED_FILE", "source", "name", "path", "store", "MIMIC_STORE")
        asked = {"secret": SECRET, **dict.fromkeys(names, str(other))}
        with httpx.Client(base_url=server.url, timeout=30) as client:
            headers = {f"x-{name}".replace("_", "-"): str(other) for name in names}
            answer = client.post("/conversation/seed", json=asked, params=asked, headers=headers)
            assert answer.status_code == 202
            until_seeded(client)
            versions = client.get("/corpus").json()["versions"]
    assert re.fullmatch(r"dump\.json", versions["v3"]["source"]["name"])
    assert versions["v3"]["messages"] == 21
