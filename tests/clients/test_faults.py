"""Faults through OpenAI's SDK for Python: its errors, and its number of tries by the server's journal."""

from collections.abc import Iterator, Sequence

import openai
import pytest
from openai import OpenAI

from mimic.gateway.journal import Entry
from mimic.testing import MimicServer
from tests.clients.chats import CORPUS, RED, user

BEFORE: dict[str, tuple[type[Exception], int]] = {
    "status=429": (openai.RateLimitError, 2),
    "status=429; code=credit_balance_exhausted": (openai.RateLimitError, 2),
    "status=408": (openai.APIStatusError, 2),
    "status=409": (openai.ConflictError, 2),
    "status=500": (openai.InternalServerError, 2),
    "status=503": (openai.InternalServerError, 2),
    "status=599": (openai.InternalServerError, 2),
    "status=400": (openai.BadRequestError, 1),
    "status=401": (openai.AuthenticationError, 1),
    "status=403": (openai.PermissionDeniedError, 1),
    "status=404": (openai.NotFoundError, 1),
    "status=418": (openai.APIStatusError, 1),
    "status=400; should-retry=true": (openai.BadRequestError, 2),
    "status=500; should-retry=false": (openai.InternalServerError, 1),
    "status=503; retry-after=121": (openai.InternalServerError, 1),
    "disconnect": (openai.APIConnectionError, 2),
    "slow-headers; seconds=4": (openai.APITimeoutError, 2),
}
"""The SDK's error and number of tries with one retry, for whole and streamed answers."""

IN_A_STREAM: dict[str, tuple[type[Exception], int]] = {
    "disconnect; after=2": (openai.APIConnectionError, 1),
    "stall; after=2; seconds=4": (openai.APITimeoutError, 1),
    "malformed; after=2": (ValueError, 1),
    "error; after=2": (openai.APIError, 1),
}
IN_A_WHOLE_ANSWER: dict[str, tuple[type[Exception], int]] = {
    "disconnect; after=2": (openai.APIConnectionError, 2),
    "stall; after=2; seconds=4": (openai.APITimeoutError, 2),
    "malformed": (ValueError, 1),
    "error": (openai.InternalServerError, 2),
}


@pytest.fixture(scope="module")
def server() -> Iterator[MimicServer]:
    """A server with its journal."""
    with MimicServer(CORPUS) as server:
        yield server


@pytest.fixture
def client(server: MimicServer) -> Iterator[OpenAI]:
    """A client that tries twice, and waits a second for a byte."""
    server.reset()
    with OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=1, timeout=1) as client:
        yield client


def ask(client: OpenAI, fault: str, *, stream: bool = False) -> Iterator[str]:
    """The pieces of an answer."""
    asked = [user("Name three colours")]
    headers = {"x-mimic-fault": fault}
    if not stream:
        completion = client.chat.completions.create(model="mimic-v3", messages=asked, extra_headers=headers)
        yield completion.choices[0].message.content or ""
        return
    with client.chat.completions.create(model="mimic-v3", messages=asked, extra_headers=headers, stream=True) as chunks:
        for chunk in chunks:
            yield chunk.choices[0].delta.content or ""


def raised(client: OpenAI, fault: str, *, stream: bool) -> tuple[str, Exception]:
    """The pieces of an answer, and the error after them."""
    pieces: list[str] = []
    with pytest.raises((openai.OpenAIError, ValueError)) as info:
        pieces.extend(ask(client, fault, stream=stream))
    return "".join(pieces), info.value


def tried(server: MimicServer, fault: str) -> Sequence[Entry]:
    """The tries of the journal, each of which must have a fault."""
    requests = server.requests()
    assert {request.fault for request in requests} == {fault}
    return requests


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", BEFORE)
def test_faults_before_an_answer(server: MimicServer, client: OpenAI, fault: str, stream: bool) -> None:
    """The SDK tries again after 408, 409, 429, 5xx and no answer at all, unless ``x-should-retry`` says otherwise."""
    kind, tries = BEFORE[fault]
    text, error = raised(client, fault, stream=stream)
    assert text == ""
    assert type(error) is kind
    written = fault if fault != "disconnect" else "disconnect; after=0"
    assert len(tried(server, written)) == tries


@pytest.mark.parametrize("fault", IN_A_STREAM)
def test_faults_in_a_stream(server: MimicServer, client: OpenAI, fault: str) -> None:
    """The SDK yields all pieces before the fault, and does not try again."""
    kind, tries = IN_A_STREAM[fault]
    pieces = []
    with pytest.raises(kind) as info:
        for piece in ask(client, fault, stream=True):
            pieces.append(piece)  # noqa: PERF402 - the pieces before the error count
    assert "".join(pieces) == "red\n"
    if kind is not ValueError:
        assert type(info.value) is kind
    assert len(tried(server, fault)) == tries


@pytest.mark.parametrize("fault", IN_A_WHOLE_ANSWER)
def test_faults_in_a_whole_answer(server: MimicServer, client: OpenAI, fault: str) -> None:
    """The SDK tries again after a cut or stalled answer, but not after one that is not JSON."""
    kind, tries = IN_A_WHOLE_ANSWER[fault]
    _, error = raised(client, fault, stream=False)
    assert isinstance(error, kind)
    written = fault if "after" in fault else f"{fault}; after=0"
    requests = tried(server, written)
    assert len(requests) == tries
    assert all(request.client_left == fault.startswith("stall") for request in requests)


def test_faults_that_a_client_accepts(server: MimicServer, client: OpenAI) -> None:
    """The SDK accepts an empty answer, and waits for slow headers and a short stall."""
    for stream in (False, True):
        assert "".join(ask(client, "empty", stream=stream)) == ""
        for fault in ("slow-headers; seconds=0.4", "stall; after=1; seconds=0.4", "none"):
            assert "".join(ask(client, fault, stream=stream)) == RED
    assert len(server.requests()) == 8


def test_retry_after_is_honoured(server: MimicServer, client: OpenAI) -> None:
    """The SDK waits the second of Retry-After instead of its own half second."""
    _, error = raised(client, "status=429; retry-after=1", stream=False)
    assert isinstance(error, openai.RateLimitError)
    assert error.response.headers["retry-after"] == "1"
    assert (error.type, error.code) == ("requests", "rate_limit_exceeded")
    first, second = tried(server, "status=429; retry-after=1")
    assert (second.at - first.at).total_seconds() >= 1


def test_an_error_in_a_stream_has_its_details(client: OpenAI) -> None:
    """The SDK's error has the type, the code and the text."""
    _, error = raised(client, "error; after=1; type=overloaded_error; code=overloaded", stream=True)
    assert isinstance(error, openai.APIError)
    assert (error.type, error.code, error.param) == ("overloaded_error", "overloaded", None)
    assert "an injected fault" in error.message
    assert not isinstance(error, openai.APIStatusError)


def test_retries_get_through_random_faults() -> None:
    """With enough retries every request gets an answer, and the journal has one success for each."""
    settings = {
        "MIMIC_FAULTS": "20% status=429; retry-after=0, 20% status=500, 10% disconnect",
        "MIMIC_FAULT_SEED": "1",
    }
    with MimicServer(CORPUS, settings=settings) as server:
        with OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=9) as client:
            for _ in range(5):
                completion = client.chat.completions.create(model="m", messages=[user("Name three colours")])
                assert completion.choices[0].message.content == RED
        requests = server.requests()
        assert [request.status for request in requests].count(200) == 5
        assert len(requests) > 5
        assert all((request.fault is None) == (request.status == 200) for request in requests)
