"""WebSockets of ``/v1/responses`` whose answers come from another service, or from its recordings."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from openai import OpenAI
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.support.corpora import conversation
from tests.support.servers import Server, SharedServers
from tests.support.upstream import HEAD, ScriptedUpstream, answer, chunked, scripted

PATH: Final = "/v1/responses"
LAST: Final = {"response.completed", "response.incomplete", "response.failed", "error"}
SKY: Final = "Why is the sky blue?"
REQUEST: Final = {"model": "m", "input": SKY, "store": False}
DUMP = [
    conversation(
        "sky", ("human", SKY), ("gpt", "Because of Rayleigh 👍🏽 scattering."), ("human", "Since?"), ("gpt", "1871.")
    )
]


@pytest.fixture(scope="module")
def service(serve: SharedServers) -> Server:
    """The real service: a Mimic with a corpus of its own."""
    return serve(DUMP, MIMIC_JOURNAL="1000")


class Pair:
    """A recorder of the service, and a server that has only its recordings."""

    def __init__(self, recorder: Server, replayer: Server, folder: Path) -> None:
        self.recorder = recorder
        self.replayer = replayer
        self.folder = folder


@pytest.fixture(scope="module")
def pair(service: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both, with one folder of recordings."""
    folder = tmp_path_factory.mktemp("sockets")
    common = {"MIMIC_STORE": f"sqlite:///{folder}/none.db", "MIMIC_RECORDINGS": str(folder / "kept")}
    asks = {"MIMIC_UPSTREAM": f"{service.url}/v1", "MIMIC_ON_MISS": "upstream", "MIMIC_RECORD": "new"}
    with Server(folder, **common, **asks) as recorder, Server(folder, **common, MIMIC_MATCH="recorded") as replayer:
        yield Pair(recorder, replayer, folder / "kept")


@pytest.fixture(scope="module")
def scripted_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScriptedUpstream, Server]]:
    """A service with a script, and a server in front of it that records nothing."""
    folder = tmp_path_factory.mktemp("scripted")
    with scripted() as upstream:
        asks = {"MIMIC_UPSTREAM": upstream.url, "MIMIC_UPSTREAM_KEY": "request", "MIMIC_ON_MISS": "upstream"}
        with Server(folder, MIMIC_STORE=f"sqlite:///{folder}/none.db", **asks) as server:
            yield upstream, server


KEY: Final = {"authorization": "Bearer my-own-key", "openai-beta": "responses_websockets=2026-02-06", "cookie": "a=b"}


def messages(server: Server, *requests: dict[str, Any]) -> Sequence[str]:
    """The messages of one connection, until each request has its last event."""
    url, found, ended = f"{server.url.replace('http', 'ws')}{PATH}", [], 0
    with connect(url, additional_headers=KEY, open_timeout=30, close_timeout=1, max_size=None) as connection:
        for request in requests:
            connection.send(json.dumps({"type": "response.create", **request}))
        while ended < len(requests):
            found.append(str(connection.recv(timeout=30)))
            ended += json.loads(found[-1])["type"] in LAST
    return found


def asked(service: Server, model: str) -> int:
    """The number of requests with a model that the service has got."""
    journal = httpx.get(f"{service.url}/mimic/requests", params={"limit": 1000}).json()
    return sum(one["model"] == model for one in journal["requests"])


def test_the_sdk_gets_the_answers_of_the_service(service: Server, pair: Pair) -> None:
    """OpenAI's SDK continues a relayed response on its connection, and the continuation is a recording too."""
    texts = []
    for server in (pair.recorder, pair.recorder, pair.replayer):
        with OpenAI(base_url=f"{server.url}/v1", api_key="any") as client, client.responses.connect() as connection:
            previous = None
            for text in (SKY, "Since?"):
                connection.response.create(model="sdk", input=text, previous_response_id=previous, store=False)
                events: list[Any] = []
                for event in connection:
                    events.append(event)
                    if event.type in LAST:
                        break
                assert events[0].type == "response.created"
                texts.append(events[-1].response.output_text)
                previous = events[-1].response.id
    assert texts == ["Because of Rayleigh 👍🏽 scattering.", "1871."] * 3
    assert asked(service, "sdk") == 2


def test_a_socket_and_http_share_a_recording(service: Server, pair: Pair) -> None:
    """The events are the same, byte for byte, if one was recorded and the other is asked."""
    body = {"model": "both", "input": SKY, "store": False}
    streams = [httpx.post(f"{pair.recorder.url}{PATH}", json={**body, "stream": True}, timeout=60).text]
    sockets = [messages(server, body) for server in (pair.recorder, pair.replayer)]
    other = {**body, "model": "other"}
    sockets += [messages(server, other) for server in (pair.recorder, pair.replayer)]
    streams.append(httpx.post(f"{pair.replayer.url}{PATH}", json={**other, "stream": True}, timeout=60).text)
    data = [
        [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")] for text in streams
    ]
    assert sockets == [data[0], data[0], data[1], data[1]]
    assert asked(service, "both") == asked(service, "other") == 1


def test_lanes_are_named_in_relayed_events(pair: Pair) -> None:
    """Two lanes are answered at the same time, and each event has the name of its lane."""
    found = [json.loads(one) for one in messages(pair.recorder, *({**REQUEST, "stream_id": name} for name in "ab"))]
    texts = {name: "".join(one.get("delta", "") for one in found if one["stream_id"] == name) for name in "ab"}
    assert texts == dict.fromkeys("ab", "Because of Rayleigh 👍🏽 scattering.")


def test_a_request_without_output_is_answered_here(service: Server, pair: Pair) -> None:
    """A request without output and the next one are joined: the service gets both inputs, no field of the message."""
    [_, _, prepared] = messages(pair.recorder, {**REQUEST, "model": "prepared", "generate": False})
    assert json.loads(prepared)["response"]["output"] == []
    assert asked(service, "prepared") == 0


def test_what_is_not_recorded_is_an_error(pair: Pair) -> None:
    """The error shows the differences from the nearest recording."""
    messages(pair.recorder, {**REQUEST, "model": "known"})
    [error] = messages(pair.replayer, {**REQUEST, "model": "unknown"})
    assert (json.loads(error)["status"], json.loads(error)["error"]["code"]) == (404, "not_recorded")


def test_the_service_gets_a_request_over_http(scripted_pair: tuple[ScriptedUpstream, Server]) -> None:
    """Without the fields and the headers of the WebSocket mode; its line ends and its end mark do no harm."""
    upstream, server = scripted_pair
    response = {"id": "resp_1", "status": "completed", "output": []}
    event = json.dumps({"type": "response.completed", "response": response})
    stream = f": a comment\r\n\r\ndata: {event}\r\n\r\ndata: [DONE]\r\n\r\n".encode()
    upstream.script = [HEAD + b"".join(b"1\r\n%c\r\n" % byte for byte in stream) + b"0\r\n\r\n"]
    assert messages(server, {**REQUEST, "stream_id": "x"}) == [f'{{"stream_id":"x",{event[1:]}']
    head, _, body = upstream.requests[-1].partition(b"\r\n\r\n")
    assert json.loads(body) == {**REQUEST, "stream": True}
    assert b"authorization: bearer my-own-key" in head.lower()
    for absent in (b"upgrade", b"sec-websocket", b"openai-beta", b"cookie"):
        assert absent not in head.lower()


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        (answer(b'{"error": {"message": "slow down", "type": "requests"}}', "429 X"), 429, "slow down"),
        (answer(b"<h1>Bad gateway</h1>", "502 X", "content-type: text/html\r\n"), 502, "<h1>Bad gateway</h1>"),
        (answer(b"", "503 X"), 503, "An error with the status 503."),
    ],
    ids=["json", "html", "empty"],
)
def test_errors_of_the_service_are_passed_on(
    scripted_pair: tuple[ScriptedUpstream, Server], script: bytes, status: int, error: str
) -> None:
    """As an event with the status; the connection stays open for the next request."""
    upstream, server = scripted_pair
    upstream.script = [script]
    for message in messages(server, REQUEST, REQUEST):
        event = json.loads(message)
        assert (event["type"], event["status"], event["error"]["message"]) == ("error", status, error)


def test_a_cut_stream_cuts_the_connection(scripted_pair: tuple[ScriptedUpstream, Server]) -> None:
    """A client must not take the beginning of an answer for the whole one."""
    upstream, server = scripted_pair
    event = b'event: response.created\ndata: {"type": "response.created"}\n\n'
    upstream.script = [HEAD + chunked(event)[: -len(b"0\r\n\r\n")]]
    with pytest.raises(ConnectionClosedError):
        messages(server, REQUEST)
