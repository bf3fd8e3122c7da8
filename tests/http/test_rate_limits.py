"""Requests and tokens per minute: the arithmetic, a server's limits, and OpenAI's SDK."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI, RateLimitError

from mimic.gateway import ledger
from mimic.gateway.ledger import Ledger
from mimic.gateway.rate_limits import TokenBucket, format_seconds
from mimic.testing import MimicServer
from tests.support.corpora import Dump, conversation
from tests.support.servers import ForkedMimicServer

DUMP: Dump = [conversation("a", ("human", "count"), ("gpt", "one two three four five six seven eight"))]
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "count"}]}
TOKENS = 16
"""Tokens of the prompt and the answer."""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0001, "1ms"), (0.12, "120ms"), (0.9991, "1s"), (1, "1s"), (8.64, "8.64s"), (60, "1m0s")],
)
def test_times_are_written_as_openais(seconds: float, text: str) -> None:
    """Times are rounded up to milliseconds."""
    assert format_seconds(seconds) == text
    assert format_seconds(360) == "6m0s"
    assert format_seconds(72.5) == "1m12.5s"


def test_an_allowance() -> None:
    """An allowance has the amount in a bucket, the time until there is enough, and the refusal."""
    bucket = TokenBucket("requests", 10)
    assert bucket.seconds_of(1) == 6
    assert [bucket.remaining(missing) for missing in (0, 0.1, 6, 59, 60)] == [10, 9, 9, 0, 0]
    assert bucket.wait(60, 1) == 6
    assert bucket.wait(54, 1) == 0
    assert (
        bucket.refusal(60, 1) == "Rate limit reached on requests per min (RPM): Limit 10, Used 10, Requested 1. "
        "Please try again in 6s."
    )
    tokens = TokenBucket("tokens", 100)
    assert tokens.refusal(0, 101).startswith("Request too large on tokens per min (TPM): Limit 100, Requested 101.")


def take(ledger: Ledger, bucket: bytes, seconds: float) -> tuple[bool, float]:
    """Take from a bucket, in a transaction of its own."""
    with ledger.transaction() as changes:
        return changes.take(bucket, seconds)


def count(ledger: Ledger, name: str) -> int:
    """Count, in a transaction of its own."""
    with ledger.transaction() as changes:
        return changes.count(name)


def test_a_bucket_empties_and_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket fills evenly: the amount that flows in can be taken; a request for more takes nothing."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Ledger() as buckets:
        assert [take(buckets, b"a", 20) for _ in range(4)] == [(True, 20), (True, 40), (True, 60), (False, 60)]
        assert take(buckets, b"b", 60) == (True, 60)
        assert take(buckets, b"a", 0) == (True, 60)
        now += 10
        assert take(buckets, b"a", 20) == (False, 50)
        assert take(buckets, b"a", 10) == (True, 60)
        now += 1000
        assert take(buckets, b"a", 0) == (True, 0)
        take(buckets, b"a", 60)
        buckets.reset()
        assert take(buckets, b"a", 60) == (True, 60)


def test_buckets_that_are_full_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the buckets of the last minute are kept, for any number of keys."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file = str(tmp_path / "ledger.db")
    with Ledger(file) as buckets:
        for number in range(5 * ledger.SWEEP_INTERVAL):
            now += 0.1
            take(buckets, b"%d" % number, 6)
        [kept] = buckets._require_connection().execute("SELECT count(*) FROM buckets").fetchone()
    assert kept <= ledger.SWEEP_INTERVAL + 60


def test_the_ledger_is_one(tmp_path: Path) -> None:
    """A copied ledger, and two that have opened the same file, count together."""
    file = str(tmp_path / "ledger.db")
    with Ledger(file) as one, Ledger(file) as other:
        assert deepcopy(one) is one
        assert [count(one, "a"), count(other, "a"), count(one, "b"), count(one, "a")] == [0, 1, 0, 2]
        take(one, b"a", 60)
        assert not take(other, b"a", 1)[0]
        other.reset()
        assert count(one, "a") == 0


def ask(server: MimicServer, key: str | None = None, body: dict[str, Any] = ASKED) -> httpx.Response:
    """An answer to a chat."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, headers=headers)


def test_requests_per_minute() -> None:
    """Each key has its own limit, and clients without one share one.

    Headers have the state of the limit, and the error has the time to wait.
    """
    with ForkedMimicServer(DUMP, settings={"MIMIC_RPM": "3"}) as server:
        for remaining in (2, 1, 0):
            answer = ask(server, "sk-one")
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-limit-requests"] == "3"
            assert answer.headers["x-ratelimit-remaining-requests"] == str(remaining)
            assert re.fullmatch(r"(\d+m)?[\d.]+s", answer.headers["x-ratelimit-reset-requests"])
            assert "x-ratelimit-limit-tokens" not in answer.headers
        refused = ask(server, "sk-one")
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["param"], error["code"]) == ("requests", None, "rate_limit_exceeded")
        assert error["message"].startswith(
            "Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1."
        )
        milliseconds = int(refused.headers["retry-after-ms"])
        assert 0 < milliseconds <= 20_000
        assert int(refused.headers["retry-after"]) == ceil(milliseconds / 1000)
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert ask(server, "sk-two").headers["x-ratelimit-remaining-requests"] == "2"
        assert [ask(server).status_code for _ in range(4)] == [200, 200, 200, 429]
        # Other routes do not count; a request that fails does.
        assert httpx.get(f"{server.base_url}/models").status_code == 200
        assert ask(server, "sk-two", {"model": "m"}).status_code == 400
        prompt = {"model": "m", "prompt": "count"}
        bearer = {"authorization": "Bearer sk-two"}
        assert httpx.post(f"{server.base_url}/completions", json=prompt, headers=bearer).status_code == 200
        texts = {"model": "m", "input": "count"}
        assert httpx.post(f"{server.base_url}/embeddings", json=texts, headers=bearer).status_code == 429
        server.reset()
        assert ask(server, "sk-one").headers["x-ratelimit-remaining-requests"] == "2"


def test_tokens_per_minute() -> None:
    """Tokens of ``usage`` count, of prompts and answers; a request above the limit can never succeed."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_TPM": "40"}) as server:
        first = ask(server)
        assert first.json()["usage"]["total_tokens"] == TOKENS
        assert first.headers["x-ratelimit-limit-tokens"] == "40"
        assert int(first.headers["x-ratelimit-remaining-tokens"]) == 40 - TOKENS
        assert ask(server, body={**ASKED, "stream": True}).text.endswith("data: [DONE]\n\n")
        refused = ask(server)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
        assert "on tokens per min (TPM): Limit 40, " in error["message"]
        assert 1 <= int(refused.headers["retry-after"]) <= ceil(60 * TOKENS / 40)
        assert "x-mimic-source" not in refused.headers
        # A smaller request still fits, and one that needs none gets the state.
        assert ask(server, body={**ASKED, "max_tokens": 1, "messages": []}).status_code == 400
        assert int(refused.headers["x-ratelimit-remaining-tokens"]) >= 40 - 2 * TOKENS
        large = ask(server, "sk", {**ASKED, "n": 5})
        assert large.status_code == 429
        assert large.json()["error"]["message"].startswith("Request too large on tokens per min (TPM): Limit 40, ")
        assert large.headers["x-should-retry"] == "false"
        assert "retry-after" not in large.headers
        assert ask(server, "sk").status_code == 200
        bearer = {"authorization": "Bearer sk-embeds"}
        texts = {"model": "m", "input": ["one two three", "four"]}
        embedded = httpx.post(f"{server.base_url}/embeddings", json=texts, headers=bearer)
        assert embedded.headers["x-ratelimit-remaining-tokens"] == str(40 - embedded.json()["usage"]["total_tokens"])


def test_a_fault_counts_as_a_request_and_a_limit_comes_first() -> None:
    """A client over the limit gets a 429 before any fault, as at OpenAI."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_RPM": "1"}) as server:
        url, fault = f"{server.base_url}/chat/completions", {"x-mimic-fault": "status=500"}
        faulty = httpx.post(url, json=ASKED, headers=fault)
        assert faulty.status_code == 500
        assert faulty.headers["x-ratelimit-remaining-requests"] == "0"
        assert httpx.post(url, json=ASKED, headers=fault).status_code == 429


def test_wrong_keys_have_no_buckets() -> None:
    """Wrong keys get their 401 at any rate, and use up no limit."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_RPM": "1", "MIMIC_API_KEYS": "sk-one"}) as server:
        assert [ask(server, "sk-two").status_code for _ in range(3)] == [401, 401, 401]
        assert [ask(server).status_code for _ in range(3)] == [401, 401, 401]
        assert "x-ratelimit-limit-requests" not in ask(server).headers
        assert [ask(server, "sk-one").status_code for _ in range(2)] == [200, 429]


def test_limits_hold_across_worker_processes() -> None:
    """Ten requests are ten, across processes and at the same time."""
    settings = {"MIMIC_RPM": "10", "MIMIC_TPM": str(10_000), "MIMIC_WORKERS": "2"}
    with ForkedMimicServer(DUMP, settings=settings) as server, ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            server.reset()
            began = time.monotonic()
            statuses = list(pool.map(lambda _: ask(server, "sk").status_code, range(40)))
            flown_in = int((time.monotonic() - began) / 6)
            assert 10 <= statuses.count(200) <= 10 + flown_in
            assert statuses.count(200) + statuses.count(429) == 40
        assert len(server.requests()) == 40


def test_the_sdk_waits_as_long_as_the_error_says() -> None:
    """The SDK waits and gets its answer; without retries it raises its rate limit error."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_RPM": "60"}) as server:
        with OpenAI(base_url=server.base_url, api_key="sk", max_retries=0) as client:
            with pytest.raises(RateLimitError) as raised:
                for _ in range(200):
                    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "count"}])
            assert (raised.value.type, raised.value.code) == ("requests", "rate_limit_exceeded")
            answer = client.with_options(max_retries=2).chat.completions.with_raw_response.create(
                model="m", messages=[{"role": "user", "content": "count"}]
            )
            assert answer.headers["x-ratelimit-limit-requests"] == "60"
        statuses = [request.status for request in server.requests()]
        assert statuses[-1] == 200
        assert statuses.count(429) >= 1
