"""The pace of a model: its parsing, and its delivery by a server. Timings have lower bounds only."""

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any

import httpx
import pytest

from mimic import tokens
from mimic.gateway.pacing import INSTANT, PACES, Delay, Pace, parse_delay
from tests.support.corpora import conversation, seed
from tests.support.servers import Server
from tests.support.timing import EARLY

ANSWER = "one two three four five six seven eight"
LENGTH = 8
ASKED = {"model": "m", "messages": [{"role": "user", "content": "count"}]}


@pytest.mark.parametrize(("mean", "spread"), [(300, 100), (20, 5), (8000, 3000), (10, 20), (5, 0)])
def test_delays_have_their_mean_and_their_spread(mean: float, spread: float) -> None:
    """Delays in seconds have their mean and spread within five standard errors, and none is negative."""
    random = Random(1)
    drawn = [Delay(mean, spread).draw(random) for _ in range(20_000)]
    assert min(drawn) >= 0
    assert abs(fmean(drawn) - mean / 1000) <= 5 * spread / 1000 / len(drawn) ** 0.5
    assert stdev(drawn) == pytest.approx(spread / 1000, rel=0.05, abs=1e-9)


def test_moments_are_the_first_delay_and_then_one_after_the_other() -> None:
    """A factor multiplies all delays."""
    pace = Pace(Delay(100), Delay(10))
    assert list(islice(pace.moments(Random(1)), 4)) == pytest.approx([0.1, 0.11, 0.12, 0.13])
    assert list(islice(pace.moments(Random(1), 3), 3)) == pytest.approx([0.3, 0.33, 0.36])
    varied = list(islice(PACES["typical"].moments(Random(1)), 100))
    assert varied == sorted(varied)
    assert list(islice(INSTANT.moments(Random(1)), 2)) == [0, 0]


def test_delays_are_written_with_a_spread_or_without() -> None:
    """Delays are in milliseconds, up to ten minutes; the error of anything else has the expected form."""
    assert parse_delay("300") == Delay(300)
    assert parse_delay("12.5/2.5") == Delay(12.5, 2.5)
    assert parse_delay("0") == Delay()
    for text in ("", "-1", "1e3", "300/", "/100", "300,100", "nan", "600001", "1/600001", "\u0663", "5\n"):
        with pytest.raises(ValueError, match=r"expected milliseconds up to 600000, as 300 or 300/100, not "):
            parse_delay(text)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus with one answer of eight tokens."""
    folder = tmp_path_factory.mktemp("pacing")
    url = f"sqlite:///{folder}/corpus.db"
    seed(url, [conversation("a", ("human", "count"), ("gpt", ANSWER)), conversation("b", ("human", "b"))], folder)
    assert tokens.count(ANSWER) == LENGTH
    return url


@pytest.fixture(scope="module")
def server(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at its default pace."""
    with Server(tmp_path_factory.mktemp("server"), MIMIC_STORE=corpus) as server:
        yield server


def ask(url: str, body: dict[str, Any] = ASKED, **headers: str) -> tuple[httpx.Response, float]:
    """An answer, and its time in seconds."""
    started = time.monotonic()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, headers=given, timeout=60)
    return response, time.monotonic() - started


def test_a_stream_comes_token_by_token(server: Server) -> None:
    """The headers come with the first token, each token when it is due, and the end with the last."""
    body = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    headers = {"x-mimic-ttft-ms": "200", "x-mimic-itl-ms": "50"}
    started = time.monotonic()
    arrived: list[float] = []
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers) as response:
        begun = time.monotonic() - started
        text = ""
        for part in response.iter_text():
            arrived += [time.monotonic() - started] * part.count('"content":"')
            text += part
    assert begun >= 0.2 - EARLY
    assert len(arrived) == 1 + LENGTH  # the role comes with the first
    for number, moment in enumerate(arrived[1:]):
        assert moment >= 0.2 + 0.05 * number - EARLY
    assert len({round(moment, 2) for moment in arrived}) >= 3  # not all at the end
    assert text.endswith("data: [DONE]\n\n")


def test_a_whole_answer_takes_the_time_of_its_stream(server: Server) -> None:
    """A whole answer takes the time of its stream, a cut one less, and an error none; several answers share it."""
    pace: dict[str, Any] = {"x_mimic_ttft_ms": "100", "x_mimic_itl_ms": "50"}
    response, seconds = ask(server.url, **pace)
    assert response.json()["choices"][0]["message"]["content"] == ANSWER
    assert seconds >= 0.1 + 0.05 * (LENGTH - 1) - EARLY
    assert ask(server.url, {**ASKED, "max_tokens": 2}, **pace)[1] >= 0.15 - EARLY
    assert ask(server.url, {**ASKED, "n": 5}, **pace)[1] < 5 * (0.1 + 0.05 * (LENGTH - 1))
    never = {"model": "m", "messages": [{"role": "user", "content": "never said"}]}
    assert ask(server.url, never, x_mimic_ttft_ms="60000")[0].status_code == 404
    prompt = {"model": "m", "prompt": "count"}
    started = time.monotonic()
    headers = {"x-mimic-ttft-ms": "200"}
    assert httpx.post(f"{server.url}/v1/completions", json=prompt, headers=headers).status_code == 200
    assert time.monotonic() - started >= 0.2 - EARLY


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-mimic-pace", "hurried"), ("x-mimic-ttft-ms", "soon"), ("x-mimic-itl-ms", "-5"), ("x-mimic-itl-ms", "")],
)
def test_a_header_that_does_not_parse_is_named(server: Server, header: str, value: str) -> None:
    """The error of a bad header has the expected form."""
    response = httpx.post(f"{server.url}/v1/chat/completions", json=ASKED, headers={header: value})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (header, "invalid_value")
    assert "expected" in error["message"]


def test_a_slash_at_the_end_is_the_same_route(server: Server) -> None:
    """A path with a final slash has the same pace. A delay of 0 is valid."""
    started = time.monotonic()
    for path, pace in (("/v1/chat/completions/", {"x-mimic-ttft-ms": "200"}), ("/v1/chat/completions/", {})):
        response = httpx.post(f"{server.url}{path}", json=ASKED, headers=pace)
        assert response.status_code == 200, response.text
    assert time.monotonic() - started >= 0.2 - EARLY
    none: dict[str, Any] = {"x_mimic_pace": "slow-reasoning", "x_mimic_ttft_ms": "0", "x_mimic_itl_ms": "0"}
    assert ask(server.url, **none)[1] < 1


def test_settings_set_the_pace_and_headers_win(corpus: str, tmp_path: Path) -> None:
    """A preset can be changed in parts; a request may set any pace."""
    settings = {"MIMIC_PACE": "slow-reasoning", "MIMIC_TTFT_MS": "300/0", "MIMIC_ITL_MS": "1"}
    with Server(tmp_path, MIMIC_STORE=corpus, **settings) as server:
        assert ask(server.url)[1] >= 0.3 - EARLY
        assert ask(server.url, x_mimic_ttft_ms="600")[1] >= 0.6 - EARLY
        quick = min(ask(server.url, x_mimic_pace="instant")[1] for _ in range(5))
        assert quick < 0.3
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_load_stretches_and_a_limit_makes_requests_queue(corpus: str, tmp_path: Path) -> None:
    """With a factor of 1, the fourth concurrent request takes four times as long; two at a time, four take two."""

    def at_once(server: Server, number: int) -> list[float]:
        """The seconds until each of several concurrent answers was there."""
        seconds: list[float] = []
        started = time.monotonic()

        def one() -> None:
            ask(server.url, x_mimic_ttft_ms="500")
            seconds.append(time.monotonic() - started)

        threads = [threading.Thread(target=one) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(seconds)

    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_LOAD_FACTOR="1") as server:
        ask(server.url)
        for number, took in enumerate(at_once(server, 4), 1):
            assert took >= 0.5 * number - EARLY
        assert ask(server.url, x_mimic_ttft_ms="250")[1] >= 0.25 - EARLY
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_MOST_IN_FLIGHT="2") as server:
        ask(server.url)
        assert at_once(server, 4)[2] >= 2 * (0.5 - EARLY)
        # Others do not wait.
        slow = threading.Thread(target=at_once, args=(server, 6))
        slow.start()
        assert httpx.get(f"{server.url}/health", timeout=5).status_code == 200
        slow.join()


def test_a_client_that_leaves_frees_its_place(corpus: str, tmp_path: Path) -> None:
    """A client that leaves frees its place, before a whole answer, before the first token, or within a stream."""
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_MOST_IN_FLIGHT="1") as server:
        for body, pace in (
            (ASKED, {"x-mimic-ttft-ms": "60000"}),
            ({**ASKED, "stream": True}, {"x-mimic-ttft-ms": "60000"}),
        ):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=pace, timeout=0.5)
            assert ask(server.url)[0].status_code == 200
        body, pace = {**ASKED, "stream": True}, {"x-mimic-itl-ms": "60000"}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=pace) as response:
            next(response.iter_raw(10))
        assert ask(server.url)[0].status_code == 200
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'route="/v1/chat/completions",status="499"} 2.0' in metrics
    assert "Traceback" not in server.log()
