"""Fault injection: the exact bytes of each fault; tests/clients covers the behaviour of real clients.

Timings have lower bounds only.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx
import pytest

from mimic import tokens
from mimic.errors import SettingError
from mimic.gateway.faults import Fault, draw_fault, parse_chances, parse_fault, point_of
from mimic.settings import Settings
from mimic.testing import MimicServer
from tests.support.corpora import Dump, conversation, seed
from tests.support.servers import ForkedMimicServer, Server
from tests.support.timing import EARLY, at_most

ANSWER = "one two three four five six seven eight"
PIECES = ["one", " two", " three", " four", " five", " six", " seven", " eight"]
DUMP: Dump = [
    conversation("a", ("human", "count"), ("gpt", ANSWER)),
    conversation("b", ("human", "short"), ("gpt", "yes")),
    conversation("c", ("human", "nothing"), ("gpt", "")),
]
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "count"}]}
STREAMED = {**ASKED, "stream": True}
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: mimic\r\ncontent-type: application/json\r\n"
    b"x-mimic-fault: %s\r\ncontent-length: %d\r\n\r\n"
)
RATES = "20% status=429; retry-after=1, 10% status=500, 0.05 empty"


@pytest.mark.parametrize(
    ("text", "fault", "written"),
    [
        ("status=429", Fault("status", status=429), None),
        (" status = 429 ;retry-after=2 ", Fault("status", status=429, retry_after=2), "status=429; retry-after=2"),
        ("status=503; should-retry=false", Fault("status", status=503, should_retry=False), None),
        (
            "status=400; code=a_b; type=c",
            Fault("status", status=400, code="a_b", type="c"),
            "status=400; type=c; code=a_b",
        ),
        ("disconnect", Fault("disconnect", after=0), "disconnect; after=0"),
        ("disconnect; after=5", Fault("disconnect", after=5), None),
        ("stall; seconds=0.5", Fault("stall", after=0, seconds=0.5), "stall; after=0; seconds=0.5"),
        ("stall", Fault("stall", after=0, seconds=30), "stall; after=0; seconds=30"),
        ("malformed; after=3", Fault("malformed", after=3), None),
        ("error; after=3", Fault("error", after=3), None),
        ("slow-headers", Fault("slow-headers", seconds=5), "slow-headers; seconds=5"),
        ("empty", Fault("empty"), None),
        ("break-tool-call", Fault("break-tool-call"), None),
    ],
)
def test_faults_are_written_as_headers_have_them(text: str, fault: Fault, written: str | None) -> None:
    """Faults parse from headers, and their full form with defaults parses as the same fault."""
    assert parse_fault(text) == fault
    assert str(fault) == (written or text)
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "",
            (
                "expected one of status=NNN, disconnect, stall, malformed, error, slow-headers, empty, "
                "break-tool-call, or none, not ''"
            ),
        ),
        ("hangup", "expected one of status=NNN, .*, not 'hangup'"),
        ("status", "expected one of status=NNN, .*, not 'status'"),
        ("empty=1", "expected one of status=NNN, .*, not 'empty=1'"),
        ("status=399", "expected 'status' to be a number from 400 to 599, not '399'"),
        ("status=6000", "expected 'status' to be a number from 400 to 599, not '6000'"),
        ("status=429; after=3", "expected retry-after, should-retry, type, code with 'status', not 'after=3'"),
        ("empty; after=3", "expected nothing with 'empty', not 'after=3'"),
        ("disconnect; after", "expected 'after' to be a whole number up to 1000000, not ''"),
        ("disconnect; after=1.5", "expected 'after' to be a whole number up to 1000000, not '1.5'"),
        ("disconnect; after=1000001", "expected 'after' to be a whole number up to 1000000, not '1000001'"),
        ("stall; after=1; after=1", "expected 'after' once, not twice"),
        ("stall; seconds=3601", "expected 'seconds' to be seconds up to 3600, as 2 or 0.5, not '3601'"),
        ("stall; seconds=-1", "expected 'seconds' to be seconds .*, not '-1'"),
        ("status=429; retry-after=soon", "expected 'retry-after' to be seconds .*, not 'soon'"),
        ("status=429; should-retry=maybe", "expected 'should-retry' to be true or false, not 'maybe'"),
        ("status=429; code=\r\nx: y", "expected 'code' to be a word of a-z, 0-9 and _, not "),
        ("error;", "expected after, type, code with 'error', not ''"),
    ],
)
def test_an_invalid_fault_is_an_error(text: str, problem: str) -> None:
    """The error of an invalid fault has the expected form."""
    with pytest.raises(ValueError, match=f"^{problem}"):
        parse_fault(text)


def test_faults_at_a_rate() -> None:
    """Rates are shares or percent; each fault takes up its part of the line from 0 to 1."""
    chances = parse_chances("0.05 status=429; retry-after=1, 25% disconnect; after=5")
    assert [chance.rate for chance in chances] == [0.05, 0.25]
    first, second = [chance.fault for chance in chances]
    assert (first, second) == (Fault("status", status=429, retry_after=1), Fault("disconnect", after=5))
    assert [draw_fault(chances, point) for point in (0.0, 0.049, 0.051, 0.299, 0.301, 0.999)] == [
        first,
        first,
        second,
        second,
        None,
        None,
    ]
    assert len(parse_chances(", ".join(["10% empty"] * 10))) == 10  # as floats, a little more than 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("empty", "expected a rate from 0 to 1 and a fault, as .*, not 'empty'"),
        ("1.1 empty", "expected a rate from 0 to 1 and a fault, .*, not '1.1 empty'"),
        ("101% empty", "expected a rate from 0 to 1 and a fault, .*, not '101% empty'"),
        ("5% empty,", "expected a rate from 0 to 1 and a fault, .*, not ''"),
        ("5% none", "expected one of status=NNN, .*, not 'none'"),
        ("60% empty, 50% stall", r"expected rates of at most 1 \(100%\) together, not '60% empty, 50% stall'"),
    ],
)
def test_a_setting_that_does_not_parse_is_named(text: str, problem: str) -> None:
    """The error of an invalid setting has the expected form."""
    with pytest.raises(SettingError, match=f"^MIMIC_FAULTS: {problem}"):
        Settings.from_environment({"MIMIC_FAULTS": text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIMIC_FAULT_SEED", "x"),
        ("MIMIC_FAULT_SEED", "-1"),
        ("MIMIC_RPM", "many"),
        ("MIMIC_TPM", "1.5"),
        ("MIMIC_JOURNAL", "10001"),
    ],
)
def test_numbers_that_do_not_parse_are_named(name: str, value: str) -> None:
    """The error of a bad number has its range."""
    with pytest.raises(SettingError, match=f"^{name}: expected a whole number from 0 to .*, not '{value}'$"):
        Settings.from_environment({name: value})


def test_points_are_as_if_by_chance_and_always_the_same() -> None:
    """Points are spread evenly over the line and repeat with their seed; other seeds have other points."""
    points = [point_of(1, number) for number in range(20_000)]
    assert points == [point_of(1, number) for number in range(20_000)]
    assert all(0 <= point < 1 for point in points)
    assert abs(fmean(points) - 0.5) < 0.015  # seven standard errors
    assert abs(fmean(point < 0.05 for point in points) - 0.05) < 0.01
    assert not set(points) & {point_of(2, number) for number in range(20_000)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus with an answer of eight tokens, one of one, and one of none."""
    folder = tmp_path_factory.mktemp("faults")
    url = f"sqlite:///{folder}/corpus.db"
    seed(url, DUMP, folder)
    assert (tokens.count(ANSWER), tokens.count("yes")) == (8, 1)
    return url


@pytest.fixture(scope="module")
def server(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose log has no error for its injected faults."""
    with Server(tmp_path_factory.mktemp("server"), MIMIC_STORE=corpus) as server:
        yield server
    said = [json.loads(line) for line in server.log().splitlines()]
    assert {line["level"] for line in said} == {"info"}, said


def ask(server: Server, fault: str, body: dict[str, Any] = ASKED, path: str = "chat/completions") -> httpx.Response:
    """The answer to a request with a fault."""
    return httpx.post(f"{server.url}/v1/{path}", json=body, headers={"x-mimic-fault": fault}, timeout=30)


def received(server: Server, fault: str, body: dict[str, Any]) -> str:
    """Every byte until the end of the connection; the request asks to keep it, so the server has to end it."""
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"x-mimic-fault: {fault}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + content)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def frames(text: str) -> list[str]:
    """The data of a stream's events."""
    return [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame]


def pieces(events: Sequence[str]) -> list[str]:
    """The tokens in a stream's events, without the end and events without a token."""
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return [delta["content"] for delta in deltas if delta.get("content")]


@pytest.mark.parametrize(
    ("fault", "kind", "code", "headers"),
    [
        ("status=429; retry-after=2", "requests", "rate_limit_exceeded", {"retry-after": "2"}),
        ("status=429; retry-after=0.5", "requests", "rate_limit_exceeded", {"retry-after": "0.5"}),
        ("status=429; code=credit_balance_exhausted", "insufficient_quota", "credit_balance_exhausted", {}),
        ("status=429; type=tokens", "tokens", "rate_limit_exceeded", {}),
        ("status=500", "server_error", None, {}),
        ("status=502; should-retry=false", "server_error", None, {"x-should-retry": "false"}),
        ("status=503", "service_unavailable_error", "server_is_overloaded", {}),
        ("status=401", "invalid_request_error", "invalid_api_key", {}),
        ("status=418; should-retry=true", "invalid_request_error", None, {"x-should-retry": "true"}),
        ("status=599", "server_error", None, {}),
    ],
)
def test_a_status_has_openais_shape_type_and_code(
    server: Server, fault: str, kind: str, code: str | None, headers: dict[str, str]
) -> None:
    """The error has OpenAI's shape, on both routes, streamed or not; nothing else of the request is read."""
    for path, body in (("chat/completions", ASKED), ("chat/completions", STREAMED), ("completions", {"bad": 1})):
        response = ask(server, fault, body, path)
        assert response.status_code == int(fault[7:10])
        error = response.json()["error"]
        assert (error["type"], error["code"], error["param"]) == (kind, code, None)
        assert fault in error["message"]
        assert response.headers["x-mimic-fault"] == fault
        assert response.headers["x-request-id"].startswith("req_")
        retry = {name: response.headers[name] for name in ("retry-after", "x-should-retry") if name in response.headers}
        assert retry == headers


def test_a_header_that_does_not_parse_is_named(server: Server) -> None:
    """A bad header is a 400 with the expected form; ``none`` is no fault."""
    for path in ("chat/completions", "completions"):
        response = ask(server, "hangup", path=path)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["param"], error["code"]) == ("x-mimic-fault", "invalid_value")
        assert error["message"].startswith("Invalid header 'x-mimic-fault': expected one of status=NNN, ")
    sound = ask(server, "none")
    assert sound.json()["choices"][0]["message"]["content"] == ANSWER
    assert "x-mimic-fault" not in sound.headers


def test_a_connection_is_cut_before_anything_is_sent(server: Server) -> None:
    """Not a byte comes, nor for a large body that is not read yet."""
    large = {**ASKED, "user": "x" * 2_000_000}
    assert received(server, "disconnect", ASKED) == received(server, "disconnect; after=0", STREAMED) == ""
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server, "disconnect", large)


@pytest.mark.parametrize(("after", "arrive"), [(1, 1), (3, 3), (7, 7), (8, 7), (1000, 7)])
def test_a_stream_is_cut_after_so_many_tokens(server: Server, after: int, arrive: int) -> None:
    """The end of the chunked body is missing. The cut comes before the last token at the latest."""
    text = received(server, f"disconnect; after={after}", STREAMED)
    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"x-mimic-fault: disconnect; after={after}" in head
    assert "transfer-encoding: chunked" in head
    assert body.count('"content":"') - 1 == arrive  # the first is empty, and comes with the role
    assert "[DONE]" not in body
    assert "0\r\n\r\n" not in body


def test_a_whole_answer_is_cut_in_the_middle(server: Server) -> None:
    """Fewer bytes arrive than announced."""
    head, _, body = received(server, "disconnect; after=5", ASKED).partition("\r\n\r\n")
    [length] = [line.split(": ")[1] for line in head.split("\r\n") if line.startswith("content-length")]
    assert 0 < len(body.encode()) < int(length)


def test_an_error_ends_a_stream(server: Server) -> None:
    """After the tokens a frame in OpenAI's shape is the last one; a whole answer is that error, with a 500."""
    streamed = ask(server, "error; after=3; code=overloaded", STREAMED)
    *before, last = frames(streamed.text)
    assert streamed.status_code == 200
    assert pieces(before) == PIECES[:3]
    error = json.loads(last)["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, "overloaded")
    whole = ask(server, "error; after=3; code=overloaded")
    assert whole.status_code == 500
    assert whole.json()["error"] == error


def test_a_malformed_frame_is_not_json(server: Server) -> None:
    """The stream continues after the frame to its end; a whole answer is no valid JSON, with a right length."""
    events = frames(ask(server, "malformed; after=3", STREAMED).text)
    broken = [event for event in events if not event.endswith(("}", "[DONE]"))]
    assert len(broken) == 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken[0])
    place = events.index(broken[0])
    assert pieces(events[:place]) == PIECES[:3]
    assert pieces(events[place + 1 : -1]) == PIECES[3:]
    assert events[-1] == "[DONE]"
    whole = ask(server, "malformed")
    assert whole.status_code == 200
    assert whole.headers["content-type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        whole.json()


def test_a_stall_holds_up_a_stream_and_then_it_goes_on(server: Server) -> None:
    """The stall comes after the given tokens; at a pace all later tokens are delayed by it."""
    headers = {"x-mimic-fault": "stall; after=3; seconds=1"}
    for pace in ({}, {"x-mimic-ttft-ms": "100", "x-mimic-itl-ms": "20"}):
        began, arrived, text = time.monotonic(), [], ""
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=STREAMED, headers={**headers, **pace}) as response:
            for part in response.iter_text():
                arrived += [time.monotonic() - began] * part.count('"content":"')
                text += part
        assert pieces(frames(text)[:-1]) == PIECES
        assert arrived[4] >= 1 + (0.16 if pace else 0) - EARLY
        assert arrived[4] - arrived[3] >= 0.5  # a reader may be late with the one before
        if pace:
            assert arrived[8] >= 1 + 0.1 + 0.14 - EARLY


def test_a_stall_holds_up_a_whole_answer(server: Server) -> None:
    """The stall comes in the middle of the answer, after the headers."""
    began = time.monotonic()
    headers = {"x-mimic-fault": "stall; seconds=0.5"}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=ASKED, headers=headers) as response:
        parts = list(response.iter_text())
    assert time.monotonic() - began >= 0.5 - EARLY
    assert len(parts) == 2
    assert json.loads("".join(parts))["choices"][0]["message"]["content"] == ANSWER


def test_headers_are_slow(server: Server) -> None:
    """Slow headers are followed by a valid answer, whole or streamed, at its pace; an error comes at once."""
    for body, pace, least in ((ASKED, {}, 0.5), (STREAMED, {}, 0.5), (ASKED, {"x-mimic-ttft-ms": "300"}, 0.8)):
        began = time.monotonic()
        headers = {"x-mimic-fault": "slow-headers; seconds=0.5", **pace}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers) as response:
            assert time.monotonic() - began >= least - EARLY
            response.read()
        assert response.text.count("eight") == 1
        assert response.headers["x-mimic-fault"] == "slow-headers; seconds=0.5"
    never = {"model": "m", "messages": [{"role": "user", "content": "never said"}]}
    missed = ask(server, "slow-headers; seconds=3600", never)
    assert missed.status_code == 404
    assert "x-mimic-fault" not in missed.headers


def test_an_answer_is_empty(server: Server) -> None:
    """The answer has no content and no tokens of it, a normal end, and a true source."""
    whole = ask(server, "empty", {**ASKED, "n": 2}).json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["", ""]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "stop"]
    assert whole["usage"]["completion_tokens"] == 0
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] > 0
    streamed = ask(server, "empty", STREAMED)
    *events, done = frames(streamed.text)
    assert done == "[DONE]"
    assert pieces(events) == []
    assert [json.loads(event)["choices"][0]["finish_reason"] for event in events] == [None, "stop"]
    assert streamed.headers["x-mimic-source"] == "a#1"
    prompt = ask(server, "empty", {"model": "m", "prompt": "count"}, "completions")
    assert prompt.json()["choices"][0]["text"] == ""


def test_a_tool_call_is_broken(server: Server) -> None:
    """The arguments of a call are not JSON, whole and streamed; all else of the answer is as without the fault."""
    function = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    }
    tools = [{"type": "function", "function": function}, {"type": "function", "function": {"name": "ping"}}]
    for text, arguments in (("What is the weather in Paris?", '{"location":"Paris"}'), ("ping", "{}")):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "tools": tools}
        sound = ask(server, "none", body).json()
        broken = ask(server, "break-tool-call", {**body, "n": 2})
        assert broken.headers["x-mimic-fault"] == "break-tool-call"
        [sound_call] = sound["choices"][0]["message"]["tool_calls"]
        assert sound_call["function"]["arguments"] == arguments
        for choice in broken.json()["choices"]:
            assert choice["finish_reason"] == "tool_calls"
            [call] = choice["message"]["tool_calls"]
            assert (call["id"], call["function"]["name"]) == (sound_call["id"], sound_call["function"]["name"])
            cut = call["function"]["arguments"]
            assert 0 < len(cut) < len(arguments)
            assert arguments.startswith(cut)
            with pytest.raises(json.JSONDecodeError):
                json.loads(cut)
        assert broken.json()["usage"]["completion_tokens"] == 2 * tokens.count(cut)
        *events, done = frames(ask(server, "break-tool-call", {**body, "stream": True}).text)
        assert done == "[DONE]"
        choices = [json.loads(event)["choices"][0] for event in events]
        deltas = [call["function"] for one in choices for call in one["delta"].get("tool_calls", ())]
        assert "".join(delta["arguments"] for delta in deltas) == cut
        assert choices[-1]["finish_reason"] == "tool_calls"


def test_without_a_call_to_break_there_is_no_fault(server: Server) -> None:
    """A text and the call of a custom tool, whose input is no JSON, come as without the fault."""
    text = ask(server, "break-tool-call")
    assert text.json()["choices"][0]["message"]["content"] == ANSWER
    note = {"type": "custom", "custom": {"name": "note"}}
    custom = ask(server, "break-tool-call", {**ASKED, "tools": [note], "tool_choice": "required"})
    assert custom.json()["choices"][0]["message"]["tool_calls"][0]["custom"]["input"] == "count"
    assert "x-mimic-fault" not in text.headers
    assert "x-mimic-fault" not in custom.headers


@pytest.mark.parametrize("question", ["short", "nothing"])
def test_the_shortest_answers_are_not_spared(server: Server, question: str) -> None:
    """With one token or none, the fault comes before the end."""
    body = {"model": "m", "messages": [{"role": "user", "content": question}], "stream": True}
    for fault in ("error; after=5", "error"):
        *before, last = frames(ask(server, fault, body).text)
        assert pieces(before) == []
        assert "error" in json.loads(last)
    assert '"finish_reason":"stop"' not in received(server, "disconnect; after=1", body)


def test_several_answers_and_the_older_route(server: Server) -> None:
    """Tokens are counted in each of the answers streamed side by side."""
    text = ask(server, "error; after=2", {**STREAMED, "n": 3}).text
    assert pieces(frames(text)[:-1]) == ["one", "one", "one", " two", " two", " two"]
    prompt = {"model": "m", "prompt": "count", "stream": True}
    *events, last = frames(ask(server, "error; after=2", prompt, "completions").text)
    assert [json.loads(event)["choices"][0]["text"] for event in events] == ["one", " two"]
    assert "error" in json.loads(last)


def test_faults_are_counted_by_kind(server: Server) -> None:
    """Metrics count faults by kind, without those that a request did not reach."""
    ask(server, "status=500")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server, "disconnect")
    metrics = httpx.get(f"{server.url}/metrics").text
    counted = {line.split('"')[1]: line.split()[1] for line in metrics.splitlines() if "faults_total{" in line}
    before = float(counted["empty"]) if "empty" in counted else 0
    assert float(counted["status"]) >= 1
    assert float(counted["disconnect"]) >= 1
    ask(server, "empty", {"model": "m", "messages": [{"role": "user", "content": "never said"}]})
    ask(server, "empty")
    assert f'mimic_faults_total{{kind="empty"}} {before + 1}' in httpx.get(f"{server.url}/metrics").text


def test_faults_limits_and_the_journal_are_documented(server: Server) -> None:
    """The OpenAPI document has the header of requests, those of answers, the 429, the journal and its reset."""
    paths = httpx.get(f"{server.url}/schema/openapi.json").json()["paths"]
    for route in ("/v1/chat/completions", "/v1/completions"):
        operation = paths[route]["post"]
        assert [parameter["name"] for parameter in operation["parameters"]] == ["x-mimic-fault"]
        told = operation["responses"]["200"]["headers"]
        assert {"x-mimic-fault", "x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens"} <= set(told)
    assert "429" in paths["/v1/chat/completions"]["post"]["responses"]
    assert "429" in paths["/v1/embeddings"]["post"]["responses"]
    assert set(paths["/mimic/requests"]) == {"get", "delete"}


def test_a_client_that_leaves_in_a_stall_frees_its_place(corpus: str, tmp_path: Path) -> None:
    """A client that leaves frees its place, in a stream, a whole answer, or before the headers."""
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_MOST_IN_FLIGHT="1", MIMIC_CLIENT_TIMEOUT="8") as server:
        url = f"{server.url}/v1/chat/completions"
        for body in (ASKED, STREAMED):
            for fault in ("stall; after=2; seconds=3000", "slow-headers; seconds=3000"):
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(url, json=body, headers={"x-mimic-fault": fault}, timeout=0.5)
                assert ask(server, "none").status_code == 200
        for fault in ("disconnect", "disconnect; after=2"):
            with pytest.raises(httpx.RemoteProtocolError):
                ask(server, fault, STREAMED)
            assert ask(server, "none").status_code == 200
        for fault in ("disconnect; after=2", "stall; after=2; seconds=3000"):  # with another request after it
            sent = json.dumps(STREAMED).encode()
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                connection.sendall(b"".join(HEAD % (asked, len(sent)) + sent for asked in (fault.encode(), b"none")))
                said = b""
                while b" two" not in said:  # all that comes: a failed write would show the end as well
                    said += (more := connection.recv(10_000))
                    assert more, said
                assert said.startswith(b"HTTP/1.1 200")
            assert ask(server, "none").status_code == 200
        slow = threading.Thread(target=ask, args=(server, "stall; seconds=5"))
        slow.start()
        time.sleep(0.3)
        assert ask(server, "status=429").elapsed.total_seconds() < at_most(3)
        slow.join()
    assert '"error"' not in server.log()


def test_a_key_is_asked_for_first(corpus: str, tmp_path: Path) -> None:
    """With API keys, a fault needs a key."""
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_API_KEYS="sk-one") as server:
        for fault in ("status=500", "disconnect", "hangup"):
            assert ask(server, fault).status_code == 401
        headers = {"x-mimic-fault": "status=500", "authorization": "Bearer sk-one"}
        assert httpx.post(f"{server.url}/v1/chat/completions", json=ASKED, headers=headers).status_code == 500


def faults_of(server: MimicServer, number: int) -> list[str | None]:
    """The faults of several requests, one after the other."""
    url = f"{server.base_url}/chat/completions"
    with httpx.Client() as client:
        return [client.post(url, json=ASKED).headers.get("x-mimic-fault") for _ in range(number)]


def test_rates_are_kept_and_a_seed_repeats_them() -> None:
    """The same faults come in the same order from one process or two, and after a reset; without a seed they differ."""
    settings = {"MIMIC_FAULTS": RATES, "MIMIC_FAULT_SEED": "7"}
    number = 300
    with ForkedMimicServer(DUMP, settings=settings) as one:
        first = faults_of(one, number)
        one.reset()
        assert faults_of(one, 50) == first[:50]
        url = f"{one.base_url}/chat/completions"
        for fault, status in (("none", 200), ("status=418", 418)):  # the header wins, and is not counted
            responses = [httpx.post(url, json=ASKED, headers={"x-mimic-fault": fault}) for _ in range(20)]
            assert {response.status_code for response in responses} == {status}
        assert faults_of(one, 50) == first[50:100]
    with ForkedMimicServer(DUMP, settings={**settings, "MIMIC_WORKERS": "2"}) as two:
        assert faults_of(two, 100) == first[:100]
    share = {fault: first.count(fault) / number for fault in set(first)}
    for fault, rate in (("status=429; retry-after=1", 0.2), ("status=500", 0.1), ("empty", 0.05)):
        assert abs(share[fault] - rate) < 4 * (rate * (1 - rate) / number) ** 0.5
    with ForkedMimicServer(DUMP, settings={"MIMIC_FAULTS": RATES}) as other:
        assert faults_of(other, 100) != first[:100]
