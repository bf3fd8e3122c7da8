"""Webhooks through OpenAI's own SDK: endpoints, events of responses in the background, and their deliveries."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.webhooks import ResponseCompletedWebhookEvent

from mimic.wire.openai.webhook_secrets import new_secret
from tests.support.corpora import Dump, conversation
from tests.support.receiver import Received, Receiver, receiver
from tests.support.servers import Server, SharedServers

DUMP: Dump = [conversation("a", ("human", "hi"), ("gpt", "hello " * 40))]
SECRET = new_secret()
ALL: Any = ["response.completed", "response.failed", "response.cancelled", "response.incomplete"]
OF_BATCHES: Any = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
SLOW = {"x-mimic-ttft-ms": "60000"}


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """A receiver for all tests."""
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers, hooks: Receiver) -> Iterator[Server]:
    """A server with two API keys, with a target in its settings, and with the receiver's host allowed."""
    folder = tmp_path_factory.mktemp("webhooks")
    settings = {
        "MIMIC_RECORDS": f"sqlite:///{folder}/records.db",
        "MIMIC_API_KEYS": "one,two",
        "MIMIC_WEBHOOK_HOSTS": "127.0.0.1",
        "MIMIC_WEBHOOKS": f"{hooks.url}/ok/setting",
        "MIMIC_WEBHOOK_SECRET": SECRET,
    }
    with Server(folder, MIMIC_STORE=serve.store(DUMP), **settings) as server:
        yield server


def sdk(server: Server, key: str = "one", secret: str | None = None) -> OpenAI:
    """The SDK, with strict types, for a key."""
    return OpenAI(
        base_url=f"{server.url}/v1",
        api_key=key,
        max_retries=0,
        webhook_secret=secret,
        _strict_response_validation=True,
    )


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key."""
    with sdk(server) as client:
        yield client


def begin(client: OpenAI, **options: Any) -> str:
    """The id of a new response in the background."""
    return str(client.responses.create(model="m", input="hi", background=True, **options).id)


def unwrapped(received: Received, secret: str) -> Any:
    """The event, if its signature is valid."""
    with OpenAI(api_key="unused", webhook_secret=secret) as client:
        return client.webhooks.unwrap(received.body, received.headers)


def deliveries(server: Server, key: str = "one") -> list[dict[str, Any]]:
    """All deliveries, the newest first."""
    found: list[dict[str, Any]] = []
    while True:
        after = {"after": found[-1]["id"]} if found else {}
        headers = {"authorization": f"Bearer {key}"}
        page = httpx.get(f"{server.url}/mimic/webhook_deliveries", params=after, headers=headers).json()
        found += page["data"]
        if not page["has_more"]:
            return found


def delivery(server: Server, endpoint_id: str | None, response_id: str, *, status: str = "") -> dict[str, Any]:
    """The delivery of a response's event to an endpoint, or to the setting's target, once it has a status."""
    until = time.monotonic() + 30
    while True:
        for one in deliveries(server):
            is_wanted = (one["webhook_endpoint_id"], one["event"]["data"]["id"]) == (endpoint_id, response_id)
            if is_wanted and one["status"] == (status or one["status"]):
                return one
        assert time.monotonic() < until, deliveries(server)
        time.sleep(0.05)


# Endpoints


def test_the_life_of_an_endpoint(client: OpenAI) -> None:
    """An endpoint is created, retrieved, changed, listed and deleted; its secret is shown once."""
    made = client.webhooks.create(name="mine", url="https://app.example/hooks", event_types=["response.completed"])
    assert made.id.startswith("whe_")
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_...{made.signing_secret.rstrip('=')[-4:]}"
    found = client.webhooks.retrieve(made.id)
    assert "signing_secret" not in found.to_dict()
    assert found.to_dict() == {name: value for name, value in made.to_dict().items() if name != "signing_secret"}
    assert client.webhooks.update(made.id).to_dict() == found.to_dict()
    changed = client.webhooks.update(made.id, name="ours", event_types=["batch.failed"], url="https://other.example/")
    assert (changed.name, changed.event_types, changed.url) == ("ours", ["batch.failed"], "https://other.example/")
    others = [client.webhooks.create(name=str(n), url="https://a.example", event_types=ALL).id for n in range(3)]
    assert [one.id for one in client.webhooks.list(limit=2)] == [*reversed(others), made.id]
    for one in (*others, made.id):
        assert client.webhooks.delete(one).deleted
    assert list(client.webhooks.list()) == []
    calls: list[Callable[[str], Any]] = [
        client.webhooks.retrieve,
        client.webhooks.update,
        client.webhooks.delete,
        client.webhooks.rotate_secret,
        lambda one: client.webhooks.test(one, event_type="response.completed"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError, match=made.id):
            call(made.id)


def test_types_of_events(client: OpenAI) -> None:
    """The list has the types that Mimic sends; an unknown type is an error."""
    assert client.webhooks.event_types.list().data == [*ALL, *OF_BATCHES]
    unknown: Any = ["response.thought"]
    with pytest.raises(openai.BadRequestError, match=r"event_types\[0\]"):
        client.webhooks.create(name="a", url="https://a.example", event_types=unknown)
    with pytest.raises(openai.BadRequestError, match="event_types"):
        client.webhooks.create(name="a", url="https://a.example", event_types=[])


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/hooks",
        "https://10.0.0.1/hooks",
        "https://192.168.1.1",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:a00:1::]/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
    ],
)
def test_other_addresses_are_refused(client: OpenAI, url: str) -> None:
    """Without MIMIC_WEBHOOK_HOSTS, a target is an https URL with a public address."""
    with pytest.raises(openai.BadRequestError, match="MIMIC_WEBHOOK_HOSTS") as caught:
        client.webhooks.create(name="a", url=url, event_types=ALL)
    assert (caught.value.code, caught.value.param) == ("url_not_allowed", "url")
    made = client.webhooks.create(name="a", url="https://a.example", event_types=ALL)
    with pytest.raises(openai.BadRequestError, match="MIMIC_WEBHOOK_HOSTS"):
        client.webhooks.update(made.id, url=url)
    client.webhooks.delete(made.id)


# Events


def test_events_of_every_outcome(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """Each outcome of a response in the background is an event, to the endpoint and to the target of the setting."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/ok/outcomes", event_types=ALL)
    completed = begin(client)
    incomplete = begin(client, max_output_tokens=16)
    failed = begin(client, extra_headers={"x-mimic-fault": "error; after=1"})
    cancelled = begin(client, extra_headers=SLOW)
    client.responses.cancel(cancelled)
    expected = {
        completed: "response.completed",
        incomplete: "response.incomplete",
        failed: "response.failed",
        cancelled: "response.cancelled",
    }
    received = hooks.wait("/ok/outcomes", 4)
    events = [unwrapped(one, made.signing_secret) for one in received]
    assert {event.data.id: event.type for event in events} == expected
    assert all(event.id.startswith("evt_") and event.object == "event" for event in events)
    assert abs(events[0].created_at - time.time()) < 60
    assert {one.headers["webhook-id"] for one in received} == {delivery(server, made.id, one)["id"] for one in expected}
    for response_id, event_type in expected.items():
        event = unwrapped(hooks.wait("/ok/setting", containing=response_id)[0], SECRET)
        assert event.type == event_type
        of_endpoint = next(one for one in events if one.data.id == response_id)
        assert event.id == of_endpoint.id
    found = delivery(server, made.id, completed, status="delivered")
    assert (found["tries"], found["attempts"][0]["status_code"]) == (1, 204)
    client.webhooks.delete(made.id)


def test_other_responses_have_no_events(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """A response that is not in the background, or that is deleted while it works, sends nothing."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/ok/others", event_types=ALL)
    client.responses.create(model="m", input="hi")
    client.responses.delete(begin(client, extra_headers=SLOW))
    last = begin(client)
    hooks.wait("/ok/others")
    assert [unwrapped(one, made.signing_secret).data.id for one in hooks.all("/ok/others")] == [last]
    client.webhooks.delete(made.id)


def test_a_response_that_is_deleted_at_its_end_has_its_event(hooks: Receiver, client: OpenAI) -> None:
    """The event of an outcome that a client may have seen is not lost."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/ok/deleted", event_types=ALL)
    response_id = begin(client)
    client.responses.delete(response_id)
    [received] = hooks.wait("/ok/deleted")
    assert unwrapped(received, made.signing_secret).data.id == response_id
    client.webhooks.delete(made.id)


def test_an_endpoint_gets_its_own_events_only(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """Events of other types and of other API keys go elsewhere; a list has the deliveries of its key."""
    with sdk(server, "two") as other:
        mine = client.webhooks.create(name="a", url=f"{hooks.url}/ok/mine", event_types=["response.completed"])
        theirs = other.webhooks.create(name="b", url=f"{hooks.url}/ok/theirs", event_types=ALL)
        assert next(iter(other.webhooks.list())).id == theirs.id
        incomplete, completed = begin(client, max_output_tokens=16), begin(client)
        of_other = begin(other)
        assert unwrapped(hooks.wait("/ok/theirs")[0], theirs.signing_secret).data.id == of_other
        assert unwrapped(hooks.wait("/ok/mine")[0], mine.signing_secret).data.id == completed
        hooks.wait("/ok/setting", containing=completed)
        ids = {one["event"]["data"]["id"] for one in deliveries(server, "two")}
        assert of_other in ids
        assert not ids & {incomplete, completed}
        assert (len(hooks.all("/ok/mine")), len(hooks.all("/ok/theirs"))) == (1, 1)
        client.webhooks.delete(mine.id)
        other.webhooks.delete(theirs.id)


def test_a_secret_is_rotated(hooks: Receiver, client: OpenAI) -> None:
    """The new secret signs at once, and the old one for another day if it is kept."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/ok/rotated", event_types=ALL)
    kept = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    client.webhooks.test(made.id, event_type="response.completed")
    for secret in (made.signing_secret, kept.signing_secret):
        assert unwrapped(hooks.wait("/ok/rotated")[0], secret).type == "response.completed"
    last = client.webhooks.rotate_secret(made.id)
    client.webhooks.test(made.id, event_type="response.completed")
    received = hooks.wait("/ok/rotated", 2)[1]
    assert unwrapped(received, last.signing_secret)
    for secret in (made.signing_secret, kept.signing_secret):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            unwrapped(received, secret)
    client.webhooks.delete(made.id)


def test_a_test_shows_the_answer(hooks: Receiver, client: OpenAI) -> None:
    """The status of the answer, whatever it is; an endpoint without an answer is an error."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/status/418", event_types=ALL)
    result = client.webhooks.test(made.id, event_type="batch.completed")
    assert (result.status_code, result.event_type, result.webhook_endpoint_id) == (418, "batch.completed", made.id)
    assert unwrapped(hooks.wait("/status/418")[0], made.signing_secret).data.id.startswith("batch_")
    for path, reason in (("close", "invalid_answer"), ("text", "invalid_answer")):
        client.webhooks.update(made.id, url=f"{hooks.url}/{path}/test")
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.webhooks.test(made.id, event_type="response.completed")
        assert caught.value.code == "webhook_endpoint_unreachable"
    client.webhooks.update(made.id, url="http://127.0.0.1:1/")
    with pytest.raises(openai.BadRequestError, match="connection_failed"):
        client.webhooks.test(made.id, event_type="response.completed")
    client.webhooks.delete(made.id)


# Deliveries


def test_a_failed_attempt_is_repeated(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """A second attempt follows after a pause, with the same id and a signature of its own time, and then no other."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/fail/1", event_types=ALL)
    response_id = begin(client)
    received = hooks.wait("/fail/1", 2)
    assert len({(one.headers["webhook-id"], one.body) for one in received}) == 1
    assert received[1].at - received[0].at >= 0.9
    for one in received:
        assert unwrapped(one, made.signing_secret).data.id == response_id
    found = delivery(server, made.id, response_id, status="delivered")
    assert [one["status_code"] for one in found["attempts"]] == [500, 200]
    client.webhooks.delete(made.id)


def test_answers_that_are_no_acknowledgement(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """A redirect is not followed; closed connections and other protocols are failures. A removed endpoint ends them."""
    made = {
        path: client.webhooks.create(name=path, url=f"{hooks.url}/{path}/a", event_types=ALL)
        for path in ("redirect", "close", "text")
    }
    response_id = begin(client)
    for path, endpoint in made.items():
        hooks.wait(f"/{path}/a")
        while not (found := delivery(server, endpoint.id, response_id))["tries"]:
            time.sleep(0.05)
        first = found["attempts"][0]
        expected = (302, None) if path == "redirect" else (None, "invalid_answer")
        assert (found["status"], first["status_code"], first["error"]) == ("pending", *expected)
    for endpoint in made.values():
        client.webhooks.delete(endpoint.id)
    for endpoint in made.values():
        found = delivery(server, endpoint.id, response_id, status="failed")
        assert found["attempts"][-1]["error"] == "target_removed"
    assert hooks.all("/ok/redirected") == []


def test_large_and_endless_answers(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """The status is enough: a body of 10 MB and one without end are not read."""
    made = [
        client.webhooks.create(name="a", url=f"{hooks.url}/{path}/a", event_types=ALL) for path in ("large", "open")
    ]
    response_id = begin(client)
    for one in made:
        assert delivery(server, one.id, response_id, status="delivered")["tries"] == 1
        client.webhooks.delete(one.id)


def test_a_receiver_that_hangs_delays_no_other(server: Server, hooks: Receiver, client: OpenAI) -> None:
    """While an attempt waits, responses are finished, and their events go to other receivers."""
    made = client.webhooks.create(name="a", url=f"{hooks.url}/hang/a", event_types=ALL)
    first = begin(client)
    hooks.wait("/hang/a")
    second = begin(client)
    hooks.wait("/ok/setting", containing=second)
    assert delivery(server, made.id, first)["tries"] == 0
    client.webhooks.delete(made.id)
    hooks.release()


def test_a_killed_server_delivers_after_a_restart(serve: SharedServers, tmp_path: Path) -> None:
    """An event whose attempt died with its server arrives with the same id, from another server."""
    with receiver() as hooks:
        settings = {
            "MIMIC_STORE": serve.store(DUMP),
            "MIMIC_RECORDS": f"sqlite:///{tmp_path}/records.db",
            "MIMIC_WEBHOOKS": f"{hooks.url}/hang/a,{hooks.url}/ok/b",
            "MIMIC_WEBHOOK_SECRET": SECRET,
        }
        with Server(tmp_path, **settings) as server, sdk(server) as client:
            response_id = begin(client)
            [first] = hooks.wait("/hang/a")
            while [one["status"] for one in deliveries(server)].count("delivered") < 1:
                time.sleep(0.01)
            server.process.kill()
            server.process.wait()
        hooks.release()
        with Server(tmp_path, **settings):
            again = hooks.wait("/hang/a", 2)[1]
        assert (again.headers["webhook-id"], again.body) == (first.headers["webhook-id"], first.body)
        assert unwrapped(again, SECRET).data.id == response_id
        assert isinstance(unwrapped(again, SECRET), ResponseCompletedWebhookEvent)
        assert len(hooks.all("/ok/b")) == 1


def test_the_end_of_a_batch_is_an_event(server: Server, client: OpenAI, hooks: Receiver) -> None:
    """The targets of the settings get the event of a batch, with the id of the batch."""
    file = client.files.create(file=b"{", purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    event = unwrapped(hooks.wait("/ok/setting", containing=batch.id)[0], SECRET)
    assert (event.type, event.data.id) == ("batch.failed", batch.id)
    assert event.created_at == client.batches.retrieve(batch.id).failed_at
