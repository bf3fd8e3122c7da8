"""The WebSocket mode of ``/v1/responses``: OpenAI's own SDK, and a client that sends what the SDK never would."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from mimic.testing.processes import resident_bytes
from tests.support.corpora import Dump, conversation
from tests.support.servers import Server, SharedServers

LAST: Final = {"response.completed", "response.incomplete", "response.failed", "error"}
"""Events after which a client asks again."""
ADVICE = "Use a list. Sort it with sorted(). Lists are changed in place, tuples are not."
LONG = "All work and no play makes a dull text. " * 1250
DUMP: Dump = [
    conversation("a", ("human", "hi"), ("gpt", "hello"), ("human", "and now?"), ("gpt", "goodbye\u2028")),
    conversation("b", ("human", "and now?"), ("gpt", "a wrong answer")),
    conversation("c", ("human", "How do I sort a list?"), ("gpt", ADVICE)),
    conversation("d", ("human", "Write a long text"), ("gpt", LONG)),
]
SLOW: Final = {"x-mimic-ttft-ms": "400"}


@pytest.fixture(scope="module")
def server(serve: SharedServers) -> Server:
    """A server with a journal."""
    return serve(DUMP, MIMIC_JOURNAL="1000")


@contextmanager
def opened(server: Server, **headers: str) -> Iterator[Connection]:
    """A connection with headers of its own."""
    url = f"{server.url.replace('http', 'ws')}/v1/responses"
    with connect(url, additional_headers=headers, max_size=None, open_timeout=30, close_timeout=1) as connection:
        yield connection


def create(connection: Connection, message: Any = "hi", **fields: Any) -> None:
    """Send a request."""
    connection.send(json.dumps({"type": "response.create", "model": "m", "input": message, **fields}))


def received(connection: Connection) -> Any:
    """The next event."""
    return json.loads(connection.recv(timeout=30))


def rest(connection: Connection) -> list[Any]:
    """The events of one answer."""
    events = [received(connection)]
    while events[-1]["type"] not in LAST:
        events.append(received(connection))
    return events


def ask(connection: Connection, message: Any = "hi", **fields: Any) -> Any:
    """The last event of an answer."""
    create(connection, message, **fields)
    return rest(connection)[-1]


def text_of(event: Any) -> str:
    """The text of a complete response."""
    [message] = event["response"]["output"]
    return str(message["content"][0]["text"])


def code_of(event: Any) -> tuple[int, str]:
    """Status and code of an error."""
    assert event["type"] == "error"
    return event["status"], event["error"]["code"]


def journal(server: Server) -> list[Any]:
    """The entries of messages."""
    entries = httpx.get(f"{server.url}/mimic/requests").json()["requests"]
    return [entry for entry in entries if entry["method"] == "WEBSOCKET"]


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # in the SDK
def test_several_turns_through_the_sdk(server: Server) -> None:
    """The events are those of a stream over HTTP; a response can be followed although it is not stored."""
    url = f"{server.url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        with client.responses.create(model="m", input="hi", stream=True) as stream:
            expected = [(event.type, event.sequence_number) for event in stream]
        with client.responses.connect() as connection:
            previous = None
            for given, answer in (("hi", "hello"), ("and now?", "goodbye\u2028"), ("hi", "hello")):
                connection.response.create(model="m", input=given, previous_response_id=previous, store=False)
                events: list[Any] = []
                for event in connection:
                    events.append(event)
                    if event.type in LAST:
                        break
                assert [(event.type, event.sequence_number) for event in events][:4] == expected[:4]
                response = events[-1].response
                assert (response.output_text, response.status, response.store) == (answer, "completed", False)
                previous = response.id
        with pytest.raises(Exception, match="404"):
            client.responses.retrieve(str(previous))


def test_a_stored_response_outlives_its_connection(server: Server) -> None:
    """By default a response is stored, also one without output, which only makes its input known."""
    with opened(server) as connection:
        prepared = ask(connection, generate=False)["response"]
        assert (prepared["status"], prepared["output"], prepared["usage"]["output_tokens"]) == ("completed", [], 0)
        assert prepared["usage"]["input_tokens"] > 0
        first = ask(connection)["response"]
    stored = httpx.get(f"{server.url}/v1/responses/{prepared['id']}").json()
    assert (stored["output"], stored["usage"]) == ([], prepared["usage"])
    with opened(server) as connection:
        assert text_of(ask(connection, "and now?", previous_response_id=first["id"])) == "goodbye\u2028"
        after = ask(connection, "hi", previous_response_id=prepared["id"])
        assert text_of(after) == "hello"
        assert after["response"]["usage"]["input_tokens"] > first["usage"]["input_tokens"]


BAD_MESSAGES: Final[dict[str, tuple[Any, str, str | None]]] = {
    "binary": (b'{"type":"response.create"}', "invalid_message", None),
    "no JSON": ("{", "invalid_json", None),
    "no object": ("[]", "invalid_type", None),
    "nothing": ("", "invalid_json", None),
    "deep": ('{"type":"response.create","moderation":' + "[" * 100_000, "invalid_json", None),
    "no type": ('{"input":"hi"}', "missing_required_parameter", "type"),
    "unknown type": ('{"type":"session.update"}', "invalid_value", "type"),
    "no text": ('{"type":"response.create","input":5}', "invalid_type", "input"),
    "background": ('{"type":"response.create","input":"hi","background":true}', "unsupported_parameter", "background"),
    "a lane with a space": ('{"type":"response.create","stream_id":"a b"}', "invalid_stream_id", "stream_id"),
    "a lane without a name": ('{"type":"response.create","stream_id":""}', "invalid_stream_id", "stream_id"),
    "a number for a lane": ('{"type":"response.create","stream_id":5}', "invalid_stream_id", "stream_id"),
    "a list for a lane": ('{"type":"response.create","stream_id":[]}', "invalid_stream_id", "stream_id"),
    "unknown response": (
        '{"type":"response.create","input":"hi","previous_response_id":"resp_0"}',
        "previous_response_not_found",
        "previous_response_id",
    ),
}


def test_a_bad_message_gets_an_error_event(server: Server) -> None:
    """The error names the field, its headers have an id, and the connection goes on; a miss is an error as well."""
    with opened(server) as connection:
        for message, code, param in BAD_MESSAGES.values():
            connection.send(message)
            event = received(connection)
            assert (code_of(event), event["error"]["param"]) == ((400, code), param)
            assert event["error"]["headers"]["x-request-id"].startswith("req_")
        assert code_of(ask(connection, "never said")) == (404, "completion_not_found")
        assert text_of(ask(connection)) == "hello"


def test_steering_fails(server: Server) -> None:
    """An input that would steer a response comes back."""
    with opened(server) as connection:
        connection.send(json.dumps({"type": "response.steer", "previous_response_id": "resp_1", "input": "faster"}))
        event = received(connection)
        assert (event["type"], event["error"]["code"]) == ("response.steer.failed", "steering_not_supported")
        assert event["steer"] == {"previous_response_id": "resp_1", "input": "faster"}


def test_a_message_beyond_the_limit_closes_the_connection(server: Server) -> None:
    """The client learns the reason, although it was still sending."""
    with opened(server) as connection:
        with pytest.raises(ConnectionClosedError) as closed:
            ask(connection, metadata={"a": "x" * 20_000_000})
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1009


def test_lanes(server: Server) -> None:
    """Requests of one lane wait for each other; other lanes do not, may fork a response, and name their events."""
    with opened(server) as fast, opened(server, **SLOW) as connection:
        assert text_of(ask(fast)) == "hello"
        began = time.monotonic()
        create(connection, "How do I sort a list?", stream_id="a", store=False)
        create(connection, "hi", stream_id="a")
        create(connection, "hi", stream_id="b-1.x_")
        create(connection, "hi")
        ends: list[tuple[str | None, str]] = []
        while len(ends) < 4:
            event = received(connection)
            if event["type"] in LAST:
                ends.append((event.get("stream_id"), text_of(event)))
                parent = event["response"]["id"]
        assert 0.8 <= time.monotonic() - began < 1.6
        assert sorted(ends[:3], key=str) == [("a", ADVICE), ("b-1.x_", "hello"), (None, "hello")]
        assert ends[3] == ("a", "hello")
        forked = ask(connection, "and now?", previous_response_id=parent, stream_id="fork")
        assert (forked["stream_id"], text_of(forked)) == ("fork", "goodbye\u2028")


def test_a_connection_has_bounds(server: Server) -> None:
    """Too many names of lanes, and too many waiting requests, are errors; the others get their answers."""
    with opened(server, **SLOW) as connection:
        for number in range(32):
            create(connection, stream_id=f"lane-{number}")
        create(connection, stream_id="one-more")
        for _ in range(60):
            create(connection, stream_id="lane-0")
        ends: dict[str, int] = {}
        for _ in range(93):
            event = rest(connection)[-1]
            kind = event["error"]["code"] if event["type"] == "error" else "completed"
            ends[kind] = ends.get(kind, 0) + 1
            if len(ends) == 3:
                break
        assert ends.keys() == {"completed", "websocket_stream_limit_reached", "websocket_queue_full"}


def test_a_failed_turn_forgets_its_parent(server: Server) -> None:
    """As at OpenAI, a response that is not stored is gone after a failure on its lane, but not on another one."""
    with opened(server) as connection:
        first = ask(connection, store=False)["response"]["id"]
        fork = {"previous_response_id": first, "stream_id": "fork"}
        assert code_of(ask(connection, "never said", **fork)) == (404, "completion_not_found")
        assert text_of(ask(connection, "and now?", **fork)) == "goodbye\u2028"
        assert code_of(ask(connection, "hi", temperature=9, previous_response_id=first))[0] == 400
        again = ask(connection, "and now?", previous_response_id=first)
        assert code_of(again) == (400, "previous_response_not_found")


def test_items_of_the_connection_can_be_referred_to(server: Server) -> None:
    """A reference finds an item of a response that is not stored."""
    with opened(server) as connection:
        create(connection, store=False)
        item = next(event["item"]["id"] for event in rest(connection) if event["type"] == "response.output_item.done")
        given = [
            {"role": "user", "content": "hi"},
            {"type": "item_reference", "id": item},
            {"role": "user", "content": "and now?"},
        ]
        assert text_of(ask(connection, given)) == "goodbye\u2028"
    with opened(server) as other:
        assert code_of(ask(other, given))[0] == 404


def test_keys_origins_and_hosts(serve: SharedServers) -> None:
    """A handshake needs a key, and no page of another origin opens one; each key has its own responses."""
    server = serve(DUMP, MIMIC_API_KEYS="one,two")
    one, two = {"Authorization": "Bearer one"}, {"Authorization": "Bearer two"}
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer three"}, 401),
        ({**one, "Origin": "https://x.y"}, 403),
    ):
        with pytest.raises(InvalidStatus) as refused, opened(server, **headers):
            pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body or b"")["error"]["message"]
    with opened(server, **one) as connection:
        first = ask(connection)["response"]["id"]
    with opened(server, **one) as connection:
        assert text_of(ask(connection, "and now?", previous_response_id=first)) == "goodbye\u2028"
    with opened(server, **two) as connection:
        asked = ask(connection, "and now?", previous_response_id=first)
        assert code_of(asked) == (400, "previous_response_not_found")


def test_rate_limits(serve: SharedServers) -> None:
    """Each message counts; the error has the headers of the limit."""
    server = serve(DUMP, MIMIC_RPM="2")
    with opened(server) as connection:
        assert [ask(connection)["type"] for _ in range(2)] == ["response.completed"] * 2
        event = ask(connection)
    assert code_of(event) == (429, "rate_limit_exceeded")
    headers = event["error"]["headers"]
    assert (headers["x-ratelimit-limit-requests"], int(headers["retry-after"]) > 0) == ("2", True)


def test_faults_of_a_handshake(server: Server) -> None:
    """The choices in the headers of a handshake hold for each message."""
    with opened(server, **{"x-mimic-fault": "status=503; retry-after=7"}) as connection:
        for _ in range(2):
            event = ask(connection)
            assert event["status"] == 503
            assert event["error"]["headers"]["retry-after"] == "7"
    with opened(server, **{"x-mimic-fault": "error; after=2"}) as connection:
        create(connection, "How do I sort a list?", store=False)
        *_, error = rest(connection)
        failed = received(connection)
        assert (error["type"], failed["type"], failed["response"]["status"]) == ("error", "response.failed", "failed")
        asked = ask(connection, previous_response_id=failed["response"]["id"])
        assert code_of(asked) == (400, "previous_response_not_found")
        create(connection, generate=False)
        assert [event["type"] for event in rest(connection)][-1] == "error"
        assert received(connection)["type"] == "response.failed"
    with opened(server, **{"x-mimic-fault": "malformed; after=1"}) as connection:
        create(connection)
        with pytest.raises(json.JSONDecodeError):
            rest(connection)
    for after in ("0", "3"):
        with opened(server, **{"x-mimic-fault": f"disconnect; after={after}"}) as connection:
            create(connection, "How do I sort a list?")
            with pytest.raises(ConnectionClosed) as closed:
                rest(connection)
            assert closed.value.rcvd is None  # cut, without a closing message
    faults = [entry["fault"] for entry in journal(server)[-2:]]
    assert faults == ["disconnect; after=0", "disconnect; after=3"]


def test_metrics_and_journal(server: Server) -> None:
    """Each message is in both, before the client has its last event."""
    with opened(server) as connection:
        ask(connection)
        ask(connection, "never said")
        hit, miss = journal(server)[-2:]
        assert (hit["status"], hit["match"], hit["completion_tokens"], hit["streamed"]) == (200, "last", 1, True)
        assert (miss["status"], miss["route"], miss["client_left"]) == (404, "/v1/responses", False)
        assert hit["last_byte_ms"] is not None
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'mimic_requests_total{method="WEBSOCKET",route="/v1/responses",status="404"}' in metrics


def test_a_client_that_leaves_gives_its_place_back(serve: SharedServers) -> None:
    """The stream of the client ends at once, so that the next request need not wait; the journal says so."""
    server = serve(DUMP, MIMIC_MOST_IN_FLIGHT="1", MIMIC_JOURNAL="100")
    slow = {"x-mimic-itl-ms": "60000"}
    with opened(server, **slow) as connection:
        create(connection, "How do I sort a list?")
        create(connection, "hi", stream_id="waits")
        assert received(connection)["type"] == "response.created"
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.socket.shutdown(socket.SHUT_RDWR)
    began = time.monotonic()
    with opened(server) as connection:
        assert text_of(ask(connection)) == "hello"
    assert time.monotonic() - began < 20
    until = time.monotonic() + 20
    while [entry["client_left"] for entry in journal(server)] != [True, True, False]:
        assert time.monotonic() < until


def test_a_slow_client_does_not_fill_the_memory(server: Server) -> None:
    """Events are made when the client reads."""
    with opened(server) as connection:
        assert text_of(ask(connection, "Write a long text", store=False)) == LONG
        before = resident_bytes(server.process.pid)
        for lane in range(30):  # each answer is 3 MB of events
            create(connection, "Write a long text", stream_id=f"lane-{lane}", store=False)
        time.sleep(1)
        assert resident_bytes(server.process.pid) - before < 50_000_000


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS: Final = ("input", "stream_id", "previous_response_id", "generate", "store", "include", "tools", "reasoning")
MESSAGES: Final = st.text() | st.dictionaries(st.sampled_from(FIELDS), VALUES).map(
    lambda fields: json.dumps({"type": "response.create", **fields})
)


@pytest.mark.parametrize("number", [30, pytest.param(300, marks=pytest.mark.soak)])
def test_no_message_ends_the_connection(server: Server, number: int) -> None:
    """A client gets an answer to any message, and the next request gets its own."""

    @settings(max_examples=number)
    @given(message=MESSAGES)
    def run(message: str) -> None:
        with opened(server) as connection:
            connection.send(message.encode("utf-8", "replace").decode())
            assert rest(connection)[-1]["type"] in LAST
            assert text_of(ask(connection)) == "hello"
        assert "Traceback" not in server.log()

    run()


def test_a_long_chain_ends(server: Server) -> None:
    """More than 1 MB before an input is an error, also for responses that are not stored."""
    large = [{"role": "user", "content": "hi"}, {"role": "user", "content": "x" * 1_000_000}]
    with opened(server, **{"x-mimic-match": "last"}) as connection:
        create(connection, [*large, {"role": "user", "content": "hi"}], store=False)
        last = rest(connection)[-1]["response"]
        asked = ask(connection, "and now?", previous_response_id=last["id"])
        assert code_of(asked) == (400, "context_length_exceeded")


def test_without_records(serve: SharedServers) -> None:
    """Responses of the connection can be followed although the server stores nothing."""
    with opened(serve(DUMP, MIMIC_RECORDS="off")) as connection:
        first = ask(connection)["response"]
        assert first["store"] is False
        assert text_of(ask(connection, "and now?", previous_response_id=first["id"])) == "goodbye\u2028"
        assert code_of(ask(connection, conversation="conv_0"))[0] in {400, 404}
