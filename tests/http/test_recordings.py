"""Record and replay over HTTP: a real Mimic is the upstream, or a scripted one for what a Mimic never does."""

import gzip
import json
import re
import socket
import string
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from mimic.recordings.tape import MOST_KEPT
from tests.support.corpora import conversation, seed
from tests.support.servers import Server, SharedServers, run_mimic
from tests.support.timing import wait_until
from tests.support.upstream import HEAD, ScriptedUpstream, answer, chunked, scripted

CHAT, PROMPT, RESPONSE = "/v1/chat/completions", "/v1/completions", "/v1/responses"
DUMP = [
    conversation("sky", ("human", "Why is the sky blue?"), ("gpt", "Because of Rayleigh 👍🏽 scattering, they say.")),
    conversation("book", ("human", "A book"), ("gpt", "word " * 300)),
]
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
WEATHER = {"messages": [{"role": "user", "content": "Call get_weather for Paris"}]}
SKY = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}
FORMS: list[tuple[str, dict[str, Any]]] = [
    (CHAT, SKY),
    (CHAT, {**SKY, "n": 2, "logprobs": True}),
    (CHAT, {**WEATHER, "tools": [{"type": "function", "function": TOOL}], "tool_choice": "required"}),
    (PROMPT, {"prompt": ["Why is the sky blue?", "A book"]}),
    (RESPONSE, {"input": "Why is the sky blue?", "store": False}),
]
KEY = "canary-key-0123456789"


def posted(url: str, path: str, body: object, **headers: str) -> httpx.Response:
    """The answer to a request with the key of the tests."""
    fields = {"authorization": f"Bearer {KEY}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(f"{url}{path}", json=body, headers=fields, timeout=60)


class Recorder:
    """A recording Mimic and the folder of its recordings."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.url = server.url
        self.folder = folder
        self.server = server

    def files(self) -> Sequence[str]:
        """The texts of all files."""
        return [file.read_text() for file in sorted(self.folder.glob("*.json"))]

    def recordings(self) -> list[dict[str, Any]]:
        """All recordings."""
        return [one for text in self.files() for one in json.loads(text)["recordings"]]


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Any]:
    """Start Mimics that record, one for each call; they share a folder with recordings."""
    with ExitStack() as stack:

        def start(upstream: str, **settings: str) -> Recorder:
            folder = tmp_path / "kept"
            given = {"MIMIC_ON_MISS": "upstream", "MIMIC_RECORD": "new", **settings}
            store = f"sqlite:///{tmp_path}/empty.db"
            server = Server(
                tmp_path, **{"MIMIC_STORE": store, "MIMIC_RECORDINGS": str(folder), "MIMIC_UPSTREAM": upstream, **given}
            )
            return Recorder(stack.enter_context(server), folder)

        yield start


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real service: a Mimic with a corpus of its own."""
    folder = tmp_path_factory.mktemp("real")
    url = f"sqlite:///{folder}/corpus.db"
    seed(url, DUMP, folder)
    with Server(folder, MIMIC_STORE=url, MIMIC_JOURNAL="1000") as server:
        yield server


@pytest.fixture(scope="module")
def pair(real: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorder, Server]]:
    """A recorder of the real service, and a Mimic that has only its recordings."""
    folder = tmp_path_factory.mktemp("recorder")
    common = {"MIMIC_STORE": f"sqlite:///{folder}/empty.db", "MIMIC_RECORDINGS": str(folder / "kept")}
    asks = {"MIMIC_UPSTREAM": f"{real.url}/v1", "MIMIC_ON_MISS": "upstream", "MIMIC_RECORD": "new"}
    with Server(folder, **common, **asks) as recorder, Server(folder, **common, MIMIC_MATCH="recorded") as replayer:
        yield Recorder(recorder, folder / "kept"), replayer


def without_ids(text: str) -> str:
    """A body without ids and times."""
    text = re.sub(r'"(created|created_at|completed_at)":\d+', '"at":0', text)
    return re.sub(r"(chatcmpl|cmpl|resp|msg|call|fc)[-_][0-9a-f]{20,}", "id", text)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("path", "fields"), FORMS, ids=["chat", "logprobs", "tool", "prompts", "response"])
def test_a_recording_is_the_answer_again(
    real: Server, pair: tuple[Recorder, Server], path: str, fields: dict[str, Any], *, stream: bool
) -> None:
    """Byte for byte, by another server without an upstream; and it is that of the service but for ids and times."""
    recorder, replayer = pair
    body = {"model": f"gpt{path}-{stream}", **fields, "stream": stream}
    direct, first, again = (posted(url, path, body) for url in (real.url, recorder.url, replayer.url))
    assert (direct.status_code, first.status_code, again.status_code) == (200, 200, 200)
    assert first.headers["x-mimic-match"].startswith("upstream")
    assert again.headers["x-mimic-match"].startswith("recorded")
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert without_ids(first.text) == without_ids(direct.text)


def test_whole_and_streamed_share_a_recording(pair: tuple[Recorder, Server]) -> None:
    """A whole recording is streamed in chunks, and a streamed one is sent whole; over another format too."""
    recorder, replayer = pair
    asked = {"model": "shared", **SKY}
    text = posted(recorder.url, CHAT, asked).json()["choices"][0]["message"]["content"]
    with openai.OpenAI(base_url=f"{replayer.url}/v1", api_key=KEY) as client:
        with client.chat.completions.create(**asked, stream=True) as stream:  # type: ignore[call-overload]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text
        response = client.responses.create(model="shared", input="Why is the sky blue?")
        assert response.output_text == text
        assert client.responses.retrieve(response.id).output_text == text


def test_what_is_not_recorded_is_a_miss_that_says_why(pair: tuple[Recorder, Server]) -> None:
    """The error has the places that differ from the nearest recording."""
    recorder, replayer = pair
    posted(recorder.url, CHAT, {"model": "mine", **SKY, "temperature": 0.5})
    missed = posted(replayer.url, CHAT, {"model": "mine", **SKY, "temperature": 0.25})
    assert (missed.status_code, missed.json()["error"]["code"]) == (404, "not_recorded")
    assert "sampling.temperature: 0.25, recorded 0.5" in missed.json()["error"]["message"]


def test_keys_stay_out_of_recordings(starting: Any, real: Server) -> None:
    """The key of a request, in its header, its text or an unknown field, is nowhere on the disk and in no log."""
    recorder = starting(f"{real.url}/v1", MIMIC_UPSTREAM_KEY="upstream-key-9876543210")
    body = {"model": "m", "messages": [{"role": "user", "content": f"echo {KEY}"}], "api_key": f"{KEY}-b"}
    for stream in (False, True):
        response = posted(recorder.url, f"{CHAT}?key={KEY}", {**body, "stream": stream}, cookie=f"a={KEY}")
        assert response.status_code == 404
    kept = {**SKY, "model": "m", "user": KEY, "metadata": {"key": KEY}}
    assert posted(recorder.url, CHAT, kept).status_code == 200
    asked = [{"role": "system", "content": f"Use {KEY}."}, *SKY["messages"]]
    assert posted(recorder.url, CHAT, {"model": "m", "messages": asked}).status_code == 200
    assert len(recorder.recordings()) == 2
    for file in recorder.folder.parent.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert KEY.encode() not in content, file
            assert b"upstream-key-9876543210" not in content, file


def test_recording_anew_changes_no_file(starting: Any, real: Server) -> None:
    """Ids and times differ, but a repository has nothing to commit, although each answer was asked for again."""
    settings = {"MIMIC_RECORD": "all", "MIMIC_ON_MISS": "404"}
    found = []
    for _ in range(2):
        recorder = starting(f"{real.url}/v1", **settings)
        for stream in (False, True):
            for path, fields in FORMS:
                response = posted(recorder.url, path, {"model": "anew", **fields, "stream": stream})
                assert response.headers["x-mimic-match"].startswith("upstream")
        found.append({file.name: file.read_bytes() for file in recorder.folder.iterdir()})
    assert found[0] == found[1]
    assert len(recorder.recordings()) == 2 * len(FORMS)


def test_a_hook_changes_what_is_recorded(starting: Any, real: Server) -> None:
    """Request and answer alike: the client gets the answer of the service first, and then the changed one."""
    recorder = starting(f"{real.url}/v1", MIMIC_RECORDINGS_REDACT="string:capwords")
    live, again = (posted(recorder.url, CHAT, {"model": "m", **SKY}) for _ in range(2))
    texts = [response.json()["choices"][0]["message"]["content"] for response in (live, again)]
    assert texts[1] == string.capwords(texts[0]) != texts[0]
    [kept] = recorder.recordings()
    assert kept["request"]["messages"][0]["text"] == "Why Is The Sky Blue?"
    assert "chunks" not in kept


def test_a_secret_in_an_answer_leaves_its_bytes_out(starting: Any) -> None:
    """The recording has the text without the secret, also if the service sent the secret in two pieces."""
    pieces = [chat_chunk("The key is sk-abcdefgh"), chat_chunk("ijklmnopqrstuvwx!"), chat_chunk(None, "stop")]
    with scripted([HEAD + chunked(b"".join(pieces) + b"data: [DONE]\n\n")]) as upstream:
        recorder = starting(upstream.url)
        body = {"model": "m", **SKY, "stream": True}
        assert b"sk-abcdefgh" in posted(recorder.url, CHAT, body).content
        [kept] = recorder.recordings()
        assert "chunks" not in kept
        assert kept["answer"]["choices"][0]["text"] == "The key is <removed>!"
        assert "ijklmnop" not in recorder.files()[0]
        again = posted(recorder.url, CHAT, body)
        assert again.headers["x-mimic-match"] == "recorded"
        assert len(upstream.requests) == 1


def chat_chunk(text: str | None, reason: str | None = None) -> bytes:
    """An event of a stream of OpenAI's."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'id': 'chatcmpl-1', 'choices': [choice]})}\n\n".encode()


def test_only_some_headers_pass(starting: Any) -> None:
    """Headers that change the answer pass; keys, cookies and those of Mimic do not, either way."""
    headers = "content-type: application/json\r\nset-cookie: a=b\r\nx-mimic-score: 9\r\nretry-after: 7\r\n"
    error = b'{"error": {"message": "slow down", "type": "requests"}}'
    with scripted([answer(error, "429 Too Many Requests", headers)]) as upstream:
        recorder = starting(upstream.url, MIMIC_UPSTREAM_KEY="real-key-123456")
        sent = {"cookie": "c=d", "x_api_key": "k", "api_key": "k", "openai_beta": "x=1", "x_mimic_tools": "never"}
        response = posted(recorder.url, CHAT, {"model": "m", **SKY}, **sent)
    assert (response.status_code, response.content, response.headers["retry-after"]) == (429, error, "7")
    assert "set-cookie" not in response.headers
    assert "x-mimic-score" not in response.headers
    head = upstream.requests[0].lower()
    assert b"authorization: bearer real-key-123456" in head
    assert b"openai-beta: x=1" in head
    for absent in (b"cookie:", b"x-api-key:", b"\napi-key:", b"x-mimic-", KEY.encode()):
        assert absent not in head
    assert recorder.files() == []


def test_the_key_of_a_request_is_passed_on_if_asked(starting: Any) -> None:
    """``request`` passes on the key of each client; without a setting none is sent."""
    for setting, expected in (("request", True), ("", False)):
        with scripted([answer(b"{}", "500 X")]) as upstream:
            recorder = starting(upstream.url, MIMIC_UPSTREAM_KEY=setting)
            posted(recorder.url, CHAT, {"model": "m", **SKY})
            assert (f"authorization: bearer {KEY}".encode() in upstream.requests[0].lower()) is expected


STREAM = b"".join([chat_chunk("Hello"), chat_chunk(" 👍🏽"), chat_chunk(None, "stop"), b"data: [DONE]\n\n"])


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_a_cut_stream_is_never_recorded(starting: Any, step: int) -> None:
    """Wherever the service cuts it: the client is cut as well, and nothing is kept as a whole answer."""
    body = {"model": "m", **SKY, "stream": True}
    with scripted() as upstream:
        recorder = starting(upstream.url)
        with httpx.Client(base_url=recorder.url, timeout=30) as client:
            for length in sorted({*range(0, len(STREAM), step), *range(len(STREAM) - 20, len(STREAM))}):
                upstream.script = [HEAD + b"%x\r\n" % len(STREAM) + STREAM[:length]]
                with pytest.raises(httpx.TransportError):
                    client.post(CHAT, json=body)
                assert recorder.files() == [], length
            upstream.script = [HEAD + chunked(STREAM)]
            assert client.post(CHAT, json=body).content == STREAM
    assert len(recorder.recordings()) == 1


def test_a_cut_answer_is_an_error(starting: Any) -> None:
    """A whole answer that ends early is a 502, and is not kept."""
    whole = answer(b'{"id": "a", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}')
    with scripted([whole[:-9]]) as upstream:
        recorder = starting(upstream.url)
        response = posted(recorder.url, CHAT, {"model": "m", **SKY})
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unavailable")
        assert recorder.files() == []


def test_a_coding_that_ends_early_is_an_error(starting: Any) -> None:
    """The head of such an answer counts its bytes, so that only the decoded text shows the cut."""
    headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n"
    with scripted([answer(gzip.compress(WHOLE)[:-12], headers=headers)]) as upstream:
        recorder = starting(upstream.url)
        response = posted(recorder.url, CHAT, {"model": "m", **SKY})
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unavailable")
        assert "its answer is not valid JSON" in response.json()["error"]["message"]
        assert recorder.files() == []


def test_an_endless_answer_is_an_error(starting: Any) -> None:
    """Only a part of it would fit into memory."""
    with scripted([answer(b" " * (MOST_KEPT + 1))]) as upstream:
        response = posted(starting(upstream.url).url, CHAT, {"model": "m", **SKY})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unavailable")
    assert f"its answer is longer than {MOST_KEPT} bytes" in response.json()["error"]["message"]


def test_a_client_that_leaves_does_not_lose_the_recording(starting: Any) -> None:
    """The rest of the stream is read for it."""
    pieces = [chat_chunk("Hello"), chat_chunk(" you"), chat_chunk(None, "stop") + b"data: [DONE]\n\n"]
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    with scripted([HEAD + chunks[0], *chunks[1:], b"0\r\n\r\n"]) as upstream:
        upstream.go_on.clear()
        recorder = starting(upstream.url)
        body = {"model": "m", **SKY, "stream": True}
        with httpx.stream("POST", f"{recorder.url}{CHAT}", json=body, timeout=30) as response:
            assert next(response.iter_raw())
        time.sleep(0.1)
        upstream.go_on.set()
        deadline = time.monotonic() + 20
        while not recorder.files() and time.monotonic() < deadline:
            time.sleep(0.02)
    [kept] = recorder.recordings()
    assert kept["answer"]["choices"][0]["text"] == "Hello you"


def test_a_client_that_leaves_before_the_answer_does_not_lose_it(starting: Any) -> None:
    """The service has not even begun to answer when the client leaves."""
    with scripted([b"", HEAD + chunked(STREAM)]) as upstream:
        upstream.go_on.clear()
        recorder = starting(upstream.url)
        body = json.dumps({"model": "m", **SKY, "stream": True}).encode()
        address = ("127.0.0.1", recorder.server.port)
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\n" % CHAT.encode())
            client.sendall(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            wait_until(lambda: bool(upstream.requests))
        time.sleep(0.1)  # the recorder sees that its client has left
        upstream.go_on.set()
        wait_until(lambda: bool(recorder.files()))
    assert recorder.recordings()[0]["answer"]["choices"][0]["text"] == "Hello 👍🏽"


def test_a_stream_is_passed_on_as_it_comes(starting: Any) -> None:
    """The first piece arrives while the service still works on the second one."""
    pieces = [chat_chunk("Hello"), chat_chunk(None, "stop") + b"data: [DONE]\n\n"]
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    with scripted([HEAD + chunks[0], chunks[1] + b"0\r\n\r\n"]) as upstream:
        upstream.go_on.clear()
        recorder = starting(upstream.url)
        body = {"model": "m", **SKY, "stream": True}
        with httpx.stream("POST", f"{recorder.url}{CHAT}", json=body, timeout=30) as response:
            parts = response.iter_raw()
            assert next(parts) == pieces[0]
            upstream.go_on.set()
            assert b"".join(parts) == pieces[1]


def test_a_redirect_is_not_followed(starting: Any) -> None:
    """A redirect could lead keys and prompts elsewhere."""
    with scripted([answer(b"", "307 X", "location: http://127.0.0.1:1/\r\n")]) as upstream:
        response = posted(starting(upstream.url).url, CHAT, {"model": "m", **SKY})
        assert response.status_code == 502
        assert "redirect (307)" in response.json()["error"]["message"]


def test_an_upstream_that_is_away_is_left_alone(starting: Any) -> None:
    """Each failure is tried twice and is a 502; after five of them the stated fallback answers for a while."""
    with scripted() as upstream:
        url = upstream.url
    recorder = starting(url, MIMIC_ON_MISS="upstream,Nobody is there.")
    answers = [posted(recorder.url, CHAT, {"model": "m", **SKY}) for _ in range(6)]
    assert [one.status_code for one in answers] == [502] * 5 + [200]
    assert "cannot be reached (ClientConnectorError)" in answers[0].json()["error"]["message"]
    assert answers[5].json()["choices"][0]["message"]["content"] == "Nobody is there."
    assert "mimic_upstream_paused 1.0" in httpx.get(f"{recorder.url}/metrics").text
    assert posted(recorder.url, CHAT, {"model": "m", **SKY}).headers["x-mimic-match"] == "none"


def test_a_pause_without_a_fallback_is_an_error(starting: Any) -> None:
    """The error says how long to wait, so that clients try again."""
    with scripted() as upstream:
        url = upstream.url
    recorder = starting(url)
    for _ in range(5):
        posted(recorder.url, CHAT, {"model": "m", **SKY})
    paused = posted(recorder.url, CHAT, {"model": "m", **SKY})
    assert (paused.status_code, paused.json()["error"]["code"]) == (502, "upstream_unavailable")
    assert "after 5 failures it gets no requests" in paused.json()["error"]["message"]
    assert 5 <= int(paused.headers["retry-after"]) <= 10


WHOLE = b'{"id": "a", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}'


def test_a_long_request_is_recorded(starting: Any) -> None:
    """A chat of 300 kB is found again, and its secrets are removed."""
    messages = [{"role": "user", "content": f"{'word ' * 60_000} {KEY}"}]
    with scripted([answer(WHOLE)]) as upstream:
        recorder = starting(upstream.url)
        for source in ("upstream", "recorded"):
            assert posted(recorder.url, CHAT, {"model": "m", "messages": messages}).headers["x-mimic-match"] == source
    assert KEY not in recorder.files()[0]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_coded_answer_is_decoded(starting: Any, *, stream: bool) -> None:
    """Some services compress although the request does not accept it."""
    body = STREAM if stream else WHOLE
    kind = "text/event-stream" if stream else "application/json"
    headers = f"content-type: {kind}\r\ncontent-encoding: gzip\r\n"
    with scripted([answer(gzip.compress(body), headers=headers)]) as upstream:
        recorder = starting(upstream.url)
        for source in ("upstream", "recorded"):
            response = posted(recorder.url, CHAT, {"model": "m", **SKY, "stream": stream})
            assert (response.content, response.headers["x-mimic-match"].partition(",")[0]) == (body, source)
            assert "content-encoding" not in response.headers


def test_an_unknown_coding_is_an_error(starting: Any) -> None:
    """The bytes of such an answer cannot be decoded."""
    headers = "content-type: application/json\r\ncontent-encoding: rot13\r\n"
    with scripted([answer(WHOLE, headers=headers)]) as upstream:
        response = posted(starting(upstream.url).url, CHAT, {"model": "m", **SKY})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unavailable")
    assert "the coding 'rot13'" in response.json()["error"]["message"]


@pytest.mark.parametrize("fault", ["disconnect; after=2", "malformed; after=2", "error; after=2", "empty"])
def test_a_fault_of_ours_breaks_an_answer_of_the_service(pair: tuple[Recorder, Server], fault: str) -> None:
    """Live as recorded: the client gets the fault, and the recording is whole."""
    recorder, replayer = pair
    body, found = {"model": fault, **SKY, "stream": True}, []
    for url in (recorder.url, replayer.url):
        try:
            found.append(without_ids(posted(url, CHAT, body, x_mimic_fault=fault).text))
        except httpx.TransportError:
            found.append("cut")
    assert found[0] == found[1]
    whole = posted(replayer.url, CHAT, body)
    assert whole.headers["x-mimic-match"] == "recorded"
    assert "scattering" in whole.text
    assert without_ids(whole.text) != found[0]


def test_a_pace_of_ours_holds_for_the_service(pair: tuple[Recorder, Server]) -> None:
    """A stream with a pace has its tokens at the times of the pace."""
    recorder, _ = pair
    began = time.monotonic()
    streamed = posted(recorder.url, CHAT, {"model": "slow", **SKY, "stream": True}, x_mimic_itl_ms="50")
    assert time.monotonic() - began > 0.5
    assert "scattering" in streamed.text


def test_an_upstream_that_comes_back_in_time_answers(starting: Any) -> None:
    """A connection that fails is tried once more."""

    class Shy(ScriptedUpstream):
        refused = False

        def verify_request(self, request: Any, client_address: Any) -> bool:
            self.refused, was = True, self.refused
            return was

    whole = b'{"id": "a", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}'
    with Shy([answer(whole)]) as upstream:
        threading.Thread(target=upstream.serve_forever, args=(0.01,), daemon=True).start()
        response = posted(starting(upstream.url).url, CHAT, {"model": "m", **SKY})
        upstream.shutdown()
    assert response.content == whole


def test_recordings_take_turns(starting: Any) -> None:
    """Several recordings of a request come one after the other, from the first one again after a reset."""
    wholes = [
        answer(json.dumps({"id": text, "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode())
        for text in ("one", "two")
    ]
    with scripted() as upstream:
        recorder = starting(upstream.url, MIMIC_RECORD="all", MIMIC_ON_MISS="404")
        for whole in (*wholes, wholes[0]):
            upstream.script = [whole]
            posted(recorder.url, CHAT, {"model": "m", **SKY})
        files = recorder.files()
        assert len(recorder.recordings()) == 2
        posted(recorder.url, CHAT, {"model": "m", **SKY})
        assert recorder.files() == files
        turns = starting(upstream.url, MIMIC_RECORD="off", MIMIC_RECORDINGS_ORDER="turn")
        newest = starting(upstream.url, MIMIC_RECORD="off")
        ids = [posted(turns.url, CHAT, {"model": "m", **SKY}).json()["id"] for _ in range(3)]
        assert httpx.delete(f"{turns.url}/mimic/requests").is_success
        ids.append(posted(turns.url, CHAT, {"model": "m", **SKY}).json()["id"])
        assert ids == ["one", "two", "one", "one"]
        assert posted(newest.url, CHAT, {"model": "m", **SKY}).json()["id"] == "two"


def test_a_recorded_pace_and_faults(pair: tuple[Recorder, Server]) -> None:
    """A recording comes at once, at its own pace if asked, and breaks like every other answer."""
    recorder, replayer = pair
    body = {"model": "paced", **SKY, "stream": True}
    first = posted(recorder.url, CHAT, body)
    assert posted(replayer.url, CHAT, body, x_mimic_pace="recorded").content == first.content
    with pytest.raises(httpx.TransportError):
        posted(replayer.url, CHAT, body, x_mimic_fault="disconnect;after=2")
    assert posted(replayer.url, CHAT, body, x_mimic_fault="status=503").status_code == 503


LOOK, ARGUMENTS = "Let me look.", '{"city": "Paris"}'
FUNCTION = {"name": "get_weather", "arguments": ARGUMENTS}
MESSAGE = {
    "role": "assistant",
    "content": LOOK,
    "tool_calls": [{"id": "call_1", "type": "function", "function": FUNCTION}],
}
ITEMS = [
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": LOOK}]},
    {"type": "function_call", "call_id": "call_1", **FUNCTION},
]
CALLED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    CHAT: (
        {"messages": WEATHER["messages"], "tools": [{"type": "function", "function": TOOL}]},
        {"id": "a", "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"}]},
    ),
    RESPONSE: (
        {"input": WEATHER["messages"], "tools": [{"type": "function", **TOOL, "strict": False}], "store": False},
        {"id": "resp_1", "status": "completed", "output": ITEMS},
    ),
}
"""A request and its answer, with a text before a tool call, in each format."""


@pytest.mark.parametrize("recorded", [CHAT, RESPONSE])
def test_a_text_beside_a_call_is_in_every_format(starting: Any, recorded: str) -> None:
    """An answer with both is recorded once, and given whole and streamed by both formats."""
    with scripted([answer(json.dumps(CALLED[recorded][1]).encode())]) as upstream:
        url = starting(upstream.url).url
        assert posted(url, recorded, {"model": "m", **CALLED[recorded][0]}).status_code == 200
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
            chat: dict[str, Any] = {"model": "m", **CALLED[CHAT][0]}
            response: dict[str, Any] = {"model": "m", **CALLED[RESPONSE][0]}
            with client.chat.completions.stream(**chat) as stream:
                streamed = stream.get_final_completion()
            for completion in (client.chat.completions.create(**chat), streamed):
                [choice] = completion.choices
                assert (choice.message.content, choice.finish_reason) == (LOOK, "tool_calls")
                assert [call.function.arguments for call in choice.message.tool_calls or ()] == [ARGUMENTS]
            with client.responses.stream(**response) as events:
                final = events.get_final_response()
            for one in (client.responses.create(**response), final):
                assert one.output_text == LOOK
                assert [item.type for item in one.output] == ["message", "function_call"]
                assert one.output[1].arguments == ARGUMENTS  # type: ignore[union-attr]
        assert len(upstream.requests) == 1


def test_a_chat_goes_on_in_the_other_format(starting: Any) -> None:
    """A text and its call are one message in a chat, and two items in a response: both are the same request."""
    whole = b'{"id": "a", "choices": [{"index": 0, "message": {"content": "Sunny."}, "finish_reason": "stop"}]}'
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sun"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "sun"}
    with scripted([answer(whole)]) as upstream:
        url = starting(upstream.url).url
        posted(url, CHAT, {"model": "m", "messages": [*WEATHER["messages"], MESSAGE, result]})
        again = posted(url, RESPONSE, {"model": "m", "input": [*WEATHER["messages"], *ITEMS, output], "store": False})
        assert again.json()["output"][0]["content"][0]["text"] == "Sunny."
        assert len(upstream.requests) == 1


def test_a_response_that_was_passed_on_is_known(real: Server, pair: tuple[Recorder, Server]) -> None:
    """The response can be retrieved here, and the next one may follow it, live or recorded."""
    recorder, _ = pair
    with openai.OpenAI(base_url=f"{recorder.url}/v1", api_key=KEY) as client:
        for _ in ("live", "recorded"):
            events = list(client.responses.create(model="kept", input="Why is the sky blue?", stream=True))
            last = events[-1]
            assert last.type == "response.completed"
            assert client.responses.retrieve(last.response.id).output_text == last.response.output_text
            later = client.responses.create(model="kept", input="A book", previous_response_id=last.response.id)
            assert later.output_text.startswith("word word")


def test_the_corpus_comes_before_the_upstream(starting: Any, serve: SharedServers, real: Server) -> None:
    """A plain chat that the corpus knows needs no service; with MIMIC_MATCH=recorded the corpus is left out."""
    store = serve.store([conversation("own", ("human", "Why is the sky blue?"), ("gpt", "My own answer."))])
    both = starting(f"{real.url}/v1", MIMIC_STORE=store, MIMIC_RECORD="off")
    assert posted(both.url, CHAT, {"model": "m", **SKY}).headers["x-mimic-match"] == "last"
    asked = {"model": "m", "messages": [{"role": "user", "content": "A book"}]}
    assert posted(both.url, CHAT, asked).headers["x-mimic-match"] == "upstream"
    only = starting(f"{real.url}/v1", MIMIC_STORE=store, MIMIC_MATCH="recorded", MIMIC_RECORD="off")
    assert posted(only.url, CHAT, {"model": "m", **SKY}).headers["x-mimic-match"] == "upstream"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"MIMIC_RECORD": "new"}, "MIMIC_RECORD: needs MIMIC_UPSTREAM"),
        ({"MIMIC_UPSTREAM_KEY": "k"}, "MIMIC_UPSTREAM_KEY: needs MIMIC_UPSTREAM"),
        ({"MIMIC_ON_MISS": "upstream"}, "MIMIC_ON_MISS: upstream needs MIMIC_UPSTREAM"),
        ({"MIMIC_UPSTREAM": "https://api.openai.com/v1"}, "MIMIC_UPSTREAM: is never asked without"),
        ({"MIMIC_UPSTREAM": "http://api.openai.com/v1"}, "http is accepted for local and private hosts only"),
        ({"MIMIC_RECORDINGS_IGNORE": "everything"}, "expected /an expression/ or one of"),
        ({"MIMIC_RECORDINGS_REDACT": "nothing:at_all"}, "cannot be imported"),
        (
            {"MIMIC_UPSTREAM": "https://x/v1", "MIMIC_ON_MISS": "upstream", "MIMIC_UPSTREAM_KEY": "request"}
            | {"MIMIC_API_KEYS": "k"},
            "MIMIC_API_KEYS are not for the upstream",
        ),
        (
            {"MIMIC_UPSTREAM": "https://x/v1", "MIMIC_ON_MISS": "upstream", "MIMIC_UPSTREAM_KEY": "real-key"}
            | {"MIMIC_HOST": "0.0.0.0"},
            "could spend this key: set MIMIC_API_KEYS",
        ),
    ],
)
def test_settings_that_would_do_harm_or_nothing(settings: dict[str, str], problem: str) -> None:
    """The server does not start, and says what to do."""
    ran = run_mimic(["serve", "--port", "0"], settings)
    assert ran.returncode == 2
    assert problem in " ".join(ran.stderr.split())


def test_the_command_line(starting: Any, real: Server, tmp_path: Path) -> None:
    """List, show, export, promote and delete."""
    recorder = starting(f"{real.url}/v1", MIMIC_RECORDINGS="records")
    posted(recorder.url, CHAT, {"model": "gpt-4o", **SKY})
    where = {"MIMIC_STORE": f"sqlite:///{tmp_path}/empty.db"}

    def run(*arguments: str) -> str:
        ran = run_mimic(["recordings", *arguments], where)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    line = run("list")
    assert re.fullmatch(r"[0-9a-f]{24}  gpt-4o  /v1/chat/completions  Why is the sky blue\?\n", line)
    key = line.split()[0]
    assert json.loads(run("show", key[:6]))[0]["key"] == key
    assert run("export", str(tmp_path / "copied")) == f"Wrote 1 recordings to {tmp_path / 'copied'}.\n"
    assert run("export", str(tmp_path / "copied")) == f"Wrote 0 recordings to {tmp_path / 'copied'}.\n"
    assert run("list", "--recordings", str(tmp_path / "copied")) == line
    dump = json.loads(run("promote"))
    assert [one["value"] for one in dump[0]["conversations"]] == [one["value"] for one in DUMP[0]["conversations"]]
    assert run("delete", key) == "Deleted 1 recordings.\n"
    assert run("list") == "Nothing is recorded.\n"
    assert run_mimic(["recordings", "delete", key], where).returncode == 1
    assert run_mimic(["recordings", "show", key], where).returncode == 1


def test_a_budget_is_kept(starting: Any, real: Server) -> None:
    """Tokens are reserved before a request and settled after it; what does not fit is refused, without a retry."""
    recorder = starting(f"{real.url}/v1", MIMIC_RECORD="off", MIMIC_UPSTREAM_TOKENS_PER_DAY="1100")
    body = {"model": "m", **SKY}
    used = posted(recorder.url, CHAT, body).json()["usage"]["total_tokens"]
    missing = {"model": "m", "messages": [{"role": "user", "content": "xyzzy"}]}
    assert posted(recorder.url, CHAT, missing).status_code == 404  # settled with nothing
    assert posted(recorder.url, CHAT, {**body, "stream": True}).status_code == 200
    refused = posted(recorder.url, CHAT, {**body, "max_tokens": 1100 - 2 * used})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "upstream_budget_spent")
    assert refused.headers["x-should-retry"] == "false"
    assert f"has {1100 - 2 * used:,} left" in refused.json()["error"]["message"]
    assert posted(recorder.url, CHAT, {**body, "max_tokens": 20}).status_code == 200


def test_the_state_is_shown(starting: Any, real: Server) -> None:
    """A server without a corpus is ready; metrics count what was passed on; the start says where answers come from."""
    recorder = starting(f"{real.url}/v1")
    assert httpx.get(f"{recorder.url}/ready").json() == {"versions": [], "status": "ready"}
    posted(recorder.url, CHAT, {"model": "m", **SKY})
    posted(recorder.url, CHAT, {"model": "m", "messages": [{"role": "user", "content": "xyzzy"}]})
    metrics = httpx.get(f"{recorder.url}/metrics").text
    assert 'mimic_upstream_requests_total{outcome="answered"} 1.0' in metrics
    assert 'mimic_upstream_requests_total{outcome="error"} 1.0' in metrics
    assert "mimic_upstream_paused 0.0" in metrics


def test_errors_are_recorded_if_asked(starting: Any) -> None:
    """A service that was busy and then answered does so again, in turn, whole or streamed."""
    busy = b'{"error": {"message": "busy", "type": "requests", "code": "rate_limit_exceeded"}}'
    good = b'{"id": "a", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}'
    body = {"model": "m", **SKY}
    with scripted() as upstream:
        recorder = starting(upstream.url, MIMIC_RECORD="all", MIMIC_ON_MISS="404", MIMIC_RECORD_ERRORS="on")
        for script in (answer(busy, "429 X"), answer(busy, "429 X"), answer(good)):
            upstream.script = [script]
            posted(recorder.url, CHAT, body)
        turns = {"MIMIC_MATCH": "recorded", "MIMIC_RECORDINGS_ORDER": "turn", "MIMIC_ON_MISS": "404"}
        replayer = starting("", MIMIC_RECORD="off", **turns)
        answers = [posted(replayer.url, CHAT, body) for _ in range(3)]
    assert [(one.status_code, one.content) for one in answers] == [(429, busy), (200, good), (429, busy)]
    assert {one.headers["x-mimic-match"] for one in answers} == {"recorded"}
    assert len(recorder.recordings()) == 2


@pytest.mark.parametrize(
    ("fault", "is_recorded"),
    [
        ("disconnect; after=2", False),
        ("malformed; after=2", False),
        ("error; after=2", False),
        ("status=500", False),
        ("stall; after=1; seconds=0.2", True),
        ("slow-headers; seconds=0.2", True),
    ],
)
def test_a_faulty_service(starting: Any, serve: SharedServers, fault: str, *, is_recorded: bool) -> None:
    """Faults of a real Mimic behind the recorder arrive as they are, and only whole answers are kept."""
    service = serve(DUMP, MIMIC_FAULTS=f"100% {fault}")
    recorder = starting(f"{service.url}/v1")
    body = {"model": "m", **SKY, "stream": True}
    found = []
    for url in (service.url, recorder.url):
        try:
            response = posted(url, CHAT, body)
            found.append((response.status_code, without_ids(response.text)))
        except httpx.RemoteProtocolError as exc:
            found.append((0, str(exc)))
    assert found[0] == found[1]
    assert bool(recorder.recordings()) is is_recorded


def test_a_stream_that_cannot_be_stored_is_sent_whole(starting: Any, tmp_path: Path) -> None:
    """The records cannot be written, and the client has its answer all the same."""
    response = {"id": "resp_1", "status": "completed", "output": []}
    event = json.dumps({"type": "response.completed", "response": response}).encode()
    stream = b"event: response.completed\ndata: " + event + b"\n\n"
    (tmp_path / "records.db").mkdir()
    with scripted([HEAD + chunked(stream)]) as upstream:
        recorder = starting(upstream.url, MIMIC_RECORDS=f"sqlite:///{tmp_path}/records.db")
        body = {"model": "m", "input": "Why is the sky blue?", "stream": True}
        assert posted(recorder.url, RESPONSE, body).content == stream
    assert "a relayed stream could not be stored" in recorder.server.log()
