"""The Assistants API through OpenAI's own SDK: assistants, threads, messages, runs and steps."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import openai
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.support.corpora import Dump, conversation
from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

if TYPE_CHECKING:
    from openai.types.beta.threads import Message, Run

    from tests.support.run_events import Events

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

LONG = " ".join(f"word{n}" for n in range(300))
DUMP: Dump = [
    conversation("a", ("human", "hi"), ("gpt", "hello you there"), ("human", "and now?"), ("gpt", "goodbye")),
    conversation("b", ("human", "and now?"), ("gpt", "a wrong answer")),
    conversation("c", ("human", "tell me more"), ("gpt", LONG)),
]
FILE = {
    "asst_file": {
        "name": "From a file",
        "model": "mimic-v2",
        "instructions": "Be brief.",
        "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
    }
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
SLOW = {"x-mimic-ttft-ms": "100", "x-mimic-itl-ms": "250"}
V1 = {"OpenAI-Beta": "assistants=v1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys, with records of its own and with an assistant of a file."""
    folder = tmp_path_factory.mktemp("assistants")
    (folder / "assistants.json").write_text(json.dumps(FILE))
    settings = {
        "MIMIC_RECORDS": f"sqlite:///{folder}/records.db",
        "MIMIC_API_KEYS": "one,two",
        "MIMIC_ASSISTANTS": f"{folder}/assistants.json",
    }
    with Server(folder, MIMIC_STORE=serve.store(DUMP), **settings) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key."""
    with sdk(server) as client:
        yield client


@pytest.fixture
def thread(client: OpenAI) -> str:
    """A thread with a message."""
    return client.beta.threads.create(messages=[{"role": "user", "content": "hi"}]).id


def text_of(message: "Message") -> str:
    """The text of a message."""
    [block] = message.content
    assert block.type == "text"
    assert block.text.annotations == []
    return block.text.value


def texts(client: OpenAI, thread: str, **filters: Any) -> list[str]:
    """The texts of a thread, the newest first."""
    return [text_of(one) for one in client.beta.threads.messages.list(thread, limit=2, **filters)]


def ended(client: OpenAI, run: "Run") -> "Run":
    """A run that is over."""
    return client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)


# Assistants


def test_the_life_of_an_assistant(client: OpenAI) -> None:
    """An assistant is created with its fields, changed, listed and deleted; an id of Mimic's form is then unknown."""
    made = client.beta.assistants.create(
        model="gpt-4o",
        name="Guide",
        instructions="Be kind.",
        tools=[{"type": "file_search"}, WEATHER],
        tool_resources={"file_search": {"vector_stores": [{"file_ids": ["file_1"]}]}},
        metadata={"a": "b"},
        temperature=None,
        response_format={"type": "json_object"},
    )
    assert (made.name, made.description, made.temperature, made.metadata) == ("Guide", None, 1.0, {"a": "b"})
    assert [tool.type for tool in made.tools] == ["file_search", "function"]
    assert client.beta.assistants.retrieve(made.id) == made
    changed = client.beta.assistants.update(made.id, name=None, metadata={}, tools=[])
    assert (changed.name, changed.instructions, changed.metadata, changed.tools) == (None, "Be kind.", {}, [])
    other = client.beta.assistants.create(model="m")
    listed = [one.id for one in client.beta.assistants.list(limit=1)]
    assert listed.index(other.id) < listed.index(made.id)
    assert client.beta.assistants.list(before=made.id, limit=1).data == [other]
    assert client.beta.assistants.delete(made.id).deleted
    for call in (client.beta.assistants.retrieve, client.beta.assistants.delete, client.beta.assistants.update):
        with pytest.raises(NotFoundError, match=made.id):
            call(made.id)


def test_unknown_assistants_are_accepted_like_models(client: OpenAI, thread: str) -> None:
    """An id of another service gives an assistant without instructions; a file gives ids their fields."""
    unknown = client.beta.assistants.retrieve("asst_abc123")
    assert (unknown.model, unknown.instructions, unknown.tools) == ("mimic-v3", None, [])
    known = client.beta.assistants.retrieve("asst_file")
    assert (known.name, known.model, known.instructions) == ("From a file", "mimic-v2", "Be brief.")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="asst_file")
    assert (run.status, run.assistant_id, run.model, run.instructions) == (
        "completed",
        "asst_file",
        "mimic-v2",
        "Be brief.",
    )
    assert [tool.type for tool in run.tools] == ["function"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "model"),
        ({"model": "m", "tools": [{"type": "other"}]}, "expected one of code_interpreter, file_search, function"),
        ({"model": "m", "tools": [{}]}, r"tools\[0\].type"),
        ({"model": "m", "tools": [{"type": "function"}]}, r"tools\[0\].name"),
        ({"model": "m", "tools": [WEATHER, WEATHER]}, "used twice"),
        ({"model": "m", "temperature": 3}, "temperature"),
        ({"model": "m", "metadata": {"a": "x" * 513}}, "metadata"),
    ],
)
def test_invalid_assistants(client: OpenAI, fields: Any, message: str) -> None:
    """A missing model, unknown tools and values out of range are a 400 that names the field."""
    with pytest.raises(BadRequestError, match=message):
        client.post("/assistants", body=fields, cast_to=httpx.Response, options={"headers": V1})


# Threads and messages


def test_the_life_of_a_thread(client: OpenAI) -> None:
    """A thread is created with messages, changed, and deleted with its messages."""
    made = client.beta.threads.create(
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
        metadata={"a": "b"},
        tool_resources={"code_interpreter": {"file_ids": ["file_1"]}},
    )
    assert made.id.startswith("thread_")
    assert made.tool_resources
    assert made.tool_resources.code_interpreter
    assert made.tool_resources.code_interpreter.file_ids == ["file_1"]
    assert client.beta.threads.retrieve(made.id) == made
    changed = client.beta.threads.update(made.id, metadata={"c": "d"})
    assert (changed.metadata, changed.tool_resources) == ({"c": "d"}, made.tool_resources)
    assert texts(client, made.id) == ["hello", "hi"]
    assert client.beta.threads.delete(made.id).deleted
    calls: list[Callable[[str], object]] = [client.beta.threads.retrieve, client.beta.threads.messages.list]
    for call in [*calls, client.beta.threads.delete, client.beta.threads.runs.list]:
        with pytest.raises(NotFoundError, match=f"No thread found with id '{made.id}'"):
            call(made.id)
    assert client.beta.threads.create().metadata == {}


def test_messages(client: OpenAI, thread: str) -> None:
    """Messages are listed the newest first, a page at a time in both directions, changed and deleted."""
    image: Any = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    parts: Any = [{"type": "text", "text": "look"}, image]
    attachments: Any = [{"file_id": "file_1", "tools": [{"type": "file_search"}]}]
    made = client.beta.threads.messages.create(thread, role="user", content=parts, attachments=attachments)
    assert [block.type for block in made.content] == ["text", "image_url"]
    assert made.attachments
    assert (made.attachments[0].file_id, made.thread_id, made.run_id) == ("file_1", thread, None)
    assert client.beta.threads.messages.retrieve(made.id, thread_id=thread) == made
    for number in range(3):
        client.beta.threads.messages.create(thread, role="user", content=f"number {number}")
    newest = client.beta.threads.messages.list(thread, limit=2)
    assert ([text_of(one) for one in newest.data], newest.has_more) == (["number 2", "number 1"], True)
    older = client.beta.threads.messages.list(thread, after=newest.data[-1].id, order="desc")
    assert [text_of(one) for one in older.data if one.id != made.id] == ["number 0", "hi"]
    assert client.beta.threads.messages.list(thread, before=older.data[0].id, limit=2).data == newest.data
    oldest = client.beta.threads.messages.list(thread, order="asc", limit=1)
    assert [text_of(one) for one in oldest.data] == ["hi"]
    changed = client.beta.threads.messages.update(made.id, thread_id=thread, metadata={"a": "b"})
    assert changed == made.model_copy(update={"metadata": {"a": "b"}})
    assert client.beta.threads.messages.delete(made.id, thread_id=thread).deleted
    with pytest.raises(NotFoundError, match=f"No message found with id '{made.id}'"):
        client.beta.threads.messages.retrieve(made.id, thread_id=thread)
    with pytest.raises(BadRequestError, match="content"):
        client.beta.threads.messages.create(thread, role="user", content=[{"type": "text"}])  # type: ignore[list-item]


# Runs


def test_a_run_is_polled_in_a_tight_loop(client: OpenAI, thread: str) -> None:
    """A run begins queued, and its message is in the thread once it is completed; later turns see the earlier ones."""
    run = client.beta.threads.runs.create(thread_id=thread, assistant_id="a", instructions="x", metadata={"a": "b"})
    assert (run.status, run.usage, run.completed_at) == ("queued", None, None)
    assert run.expires_at == run.created_at + 600
    while run.status in {"queued", "in_progress"}:
        run = client.beta.threads.runs.retrieve(run.id, thread_id=thread)
    assert (run.status, run.metadata, run.instructions, run.expires_at) == ("completed", {"a": "b"}, "x", None)
    assert run.usage
    assert run.usage.completion_tokens == 3
    newest = client.beta.threads.messages.list(thread, limit=1).data[0]
    assert (text_of(newest), newest.role, newest.run_id, newest.assistant_id) == (
        "hello you there",
        "assistant",
        run.id,
        "a",
    )
    client.beta.threads.messages.create(thread, role="user", content="and now?")
    second = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="a")
    assert texts(client, thread) == ["goodbye", "and now?", "hello you there", "hi"]
    assert texts(client, thread, run_id=second.id) == ["goodbye"]
    assert [one.id for one in client.beta.threads.runs.list(thread, limit=1)] == [second.id, run.id]
    changed = client.beta.threads.runs.update(run.id, thread_id=thread, metadata={"c": "d"})
    assert (changed.metadata, changed.status) == ({"c": "d"}, "completed")
    with pytest.raises(NotFoundError, match="No run found"):
        client.beta.threads.runs.retrieve("run_unknown", thread_id=thread)


def test_steps(client: OpenAI, thread: str) -> None:
    """A completed run has a step that names its message, with its usage."""
    run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="a")
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert (step.status, step.type, step.run_id) == ("completed", "message_creation", run.id)
    assert step.step_details.type == "message_creation"
    message = client.beta.threads.messages.list(thread, limit=1).data[0]
    assert step.step_details.message_creation.message_id == message.id
    assert step.usage
    assert run.usage
    assert step.usage.model_dump() == run.usage.model_dump()
    assert client.beta.threads.runs.steps.retrieve(step.id, thread_id=thread, run_id=run.id) == step
    with pytest.raises(NotFoundError, match="No run step found"):
        client.beta.threads.runs.steps.retrieve("step_1", thread_id=thread, run_id=run.id)


def test_additional_messages_and_instructions(client: OpenAI, thread: str) -> None:
    """A run may add messages to its thread, and instructions to those of its assistant."""
    assistant = client.beta.assistants.create(model="m", instructions="Be kind.")
    more: Any = [{"role": "assistant", "content": "hello you there"}, {"role": "user", "content": "and now?"}]
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread, assistant_id=assistant.id, additional_instructions="Be brief.", additional_messages=more
    )
    assert run.instructions == "Be kind.\nBe brief."
    assert texts(client, thread) == ["goodbye", "and now?", "hello you there", "hi"]


def test_truncation(client: OpenAI) -> None:
    """With ``last_messages`` a run reads the last messages only."""
    messages: Any = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello you there"},
        {"role": "user", "content": "and now?"},
    ]
    thread = client.beta.threads.create(messages=messages).id
    answers = set()
    while "a wrong answer" not in answers:
        last: Any = {"type": "last_messages", "last_messages": 1}
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread, assistant_id="a", model="mimic-v2", truncation_strategy=last
        )
        [answer] = texts(client, thread, run_id=run.id)
        answers.add(answer)
        client.beta.threads.messages.create(thread, role="user", content="and now?")
    assert answers <= {"goodbye", "a wrong answer"}
    with pytest.raises(BadRequestError, match=r"truncation_strategy\.last_messages"):
        client.beta.threads.runs.create(
            thread_id=thread, assistant_id="a", truncation_strategy={"type": "last_messages"}
        )


def test_limits_of_tokens_make_a_run_incomplete(client: OpenAI) -> None:
    """A cut answer is an incomplete message, and a prompt that is too long has no answer."""
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "tell me more"}]).id
    run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="a", max_completion_tokens=256)
    assert run.incomplete_details
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    message = client.beta.threads.messages.list(thread, limit=1).data[0]
    assert message.incomplete_details
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "max_tokens")
    assert LONG.startswith(text_of(message))
    client.beta.threads.messages.create(thread, role="user", content="hi")
    short = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="a", max_prompt_tokens=256)
    assert (short.status, texts(client, thread, run_id=short.id)) == ("completed", ["hello you there"])
    client.beta.threads.messages.create(thread, role="user", content=LONG)
    over = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="a", max_prompt_tokens=256)
    assert over.incomplete_details
    assert (over.status, over.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert texts(client, thread, run_id=over.id) == []
    assert client.beta.threads.runs.steps.list(over.id, thread_id=thread).data == []
    with pytest.raises(BadRequestError, match="max_prompt_tokens"):
        client.beta.threads.runs.create(thread_id=thread, assistant_id="a", max_prompt_tokens=255)


def test_an_answer_by_schema(client: OpenAI, thread: str) -> None:
    """A run has an answer in the form that it asks for, and repeats the form."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id="a", response_format=form)
    assert isinstance(json.loads(texts(client, thread, run_id=run.id)[0])["n"], int)
    assert run.response_format != "auto"
    with pytest.raises(BadRequestError, match="must contain the word 'json'"):
        client.beta.threads.runs.create(thread_id=thread, assistant_id="a", response_format={"type": "json_object"})


def test_tool_outputs(client: OpenAI) -> None:
    """A run waits for the outputs of its calls, and then goes on. Its thread is locked meanwhile."""
    assistant = client.beta.assistants.create(model="m", tools=[WEATHER, {"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Get the weather of the city Paris"}]).id
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread,
        assistant_id=assistant.id,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    assert run.required_action
    assert (run.status, run.usage) == ("requires_action", None)
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, "city" in json.loads(call.function.arguments)) == ("get_weather", True)
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert (step.status, step.type) == ("in_progress", "tool_calls")
    with pytest.raises(BadRequestError, match=f"Can't add messages to {thread} while a run {run.id} is active"):
        client.beta.threads.messages.create(thread, role="user", content="and now?")
    with pytest.raises(BadRequestError, match=f"Thread {thread} already has an active run {run.id}"):
        client.beta.threads.runs.create(thread_id=thread, assistant_id="a")
    with pytest.raises(BadRequestError, match=rf"Expected tool outputs for call_ids \['{call.id}'\], got \['x'\]"):
        client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread, tool_outputs=[{"tool_call_id": "x", "output": "y"}]
        )
    outputs: Any = [{"tool_call_id": call.id, "output": "It is sunny."}]
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread, tool_outputs=outputs)
    assert (done.status, done.required_action) == ("completed", None)
    assert done.usage
    first, second = client.beta.threads.runs.steps.list(run.id, thread_id=thread, order="asc").data
    assert first.step_details.type == "tool_calls"
    assert (first.status, first.step_details.tool_calls[0].to_dict()["function"]["output"]) == (  # type: ignore[index]
        "completed",
        "It is sunny.",
    )
    assert first.usage
    assert second.usage
    assert done.usage.total_tokens == first.usage.total_tokens + second.usage.total_tokens
    assert len(texts(client, thread, run_id=run.id)) == 1
    with pytest.raises(BadRequestError, match='Runs in status "completed" do not accept tool outputs'):
        client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread, tool_outputs=outputs)


def test_tools_that_are_not_run_are_named(client: OpenAI, thread: str) -> None:
    """The header ``x-mimic-ignored`` names the tools of OpenAI, whole and streamed."""
    for stream in (False, True):
        raw = client.beta.threads.runs.with_raw_response.create(
            thread_id=thread, assistant_id="a", tools=[{"type": "code_interpreter"}], stream=stream
        )
        assert raw.headers["x-mimic-ignored"] == "tools.code_interpreter"
        raw.http_response.read()


def test_outputs_count_once(client: OpenAI, thread: str) -> None:
    """Of several identical submissions one continues the run, and the others are a 400."""
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread, assistant_id="a", tools=[WEATHER], tool_choice="required"
    )
    assert run.required_action
    [call] = run.required_action.submit_tool_outputs.tool_calls

    def submit(_: int) -> int:
        path = f"/v1/threads/{thread}/runs/{run.id}/submit_tool_outputs"
        headers = {"authorization": "Bearer one", "openai-beta": "assistants=v2"}
        body = {"tool_outputs": [{"tool_call_id": call.id, "output": "sunny"}]}
        return httpx.post(str(client.base_url.join(path)), json=body, headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(submit, range(4))) == [200, 400, 400, 400]
    assert ended(client, run).status == "completed"
    assert len(client.beta.threads.runs.steps.list(run.id, thread_id=thread).data) == 2


def test_one_run_at_a_time(client: OpenAI, thread: str) -> None:
    """Of several runs that begin together one is accepted, and the others leave nothing."""

    def begin(_: int) -> str:
        try:
            return client.beta.threads.runs.create(thread_id=thread, assistant_id="a", extra_headers=SLOW).id
        except BadRequestError as exc:
            return exc.message

    with ThreadPoolExecutor(4) as pool:
        begun, *refused = sorted(pool.map(begin, range(4)), key=len)
    assert all(f"already has an active run {begun}" in text for text in refused)
    assert [run.id for run in client.beta.threads.runs.list(thread)] == [begun]
    assert client.beta.threads.runs.cancel(begun, thread_id=thread).status == "cancelling"


def test_cancel(client: OpenAI, thread: str) -> None:
    """A cancelled run leaves an incomplete message with its text until then, and its thread is free."""
    run = client.beta.threads.runs.create(thread_id=thread, assistant_id="a", extra_headers=SLOW)
    raw = client.beta.threads.runs.with_raw_response.retrieve(run.id, thread_id=thread)
    assert 10 <= int(raw.headers["openai-poll-after-ms"]) <= 1000
    while client.beta.threads.runs.retrieve(run.id, thread_id=thread).status == "queued":
        time.sleep(0.02)
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread).status == "cancelling"
    cancelled = client.beta.threads.runs.retrieve(run.id, thread_id=thread)
    assert (cancelled.status, bool(cancelled.cancelled_at)) == ("cancelled", True)
    message = client.beta.threads.messages.list(thread, limit=1).data[0]
    assert message.incomplete_details
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "run_cancelled")
    assert text_of(message) in {"hello", "hello you"}
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert step.status == "cancelled"
    with pytest.raises(BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        client.beta.threads.runs.cancel(run.id, thread_id=thread)
    client.beta.threads.messages.create(thread, role="user", content="hi")


def test_a_fault_makes_a_run_fail(client: OpenAI, thread: str) -> None:
    """The fault ``error`` is a failed run with its error, and with the text before it."""
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread, assistant_id="a", extra_headers={"x-mimic-fault": "error; after=2"}
    )
    assert run.last_error
    assert (run.status, run.last_error.code, bool(run.failed_at)) == ("failed", "server_error", True)
    assert texts(client, thread, run_id=run.id) == ["hello you"]
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread).data
    assert (step.status, step.last_error is None) == ("failed", False)
    with pytest.raises(openai.RateLimitError):
        client.beta.threads.runs.create(
            thread_id=thread, assistant_id="a", extra_headers={"x-mimic-fault": "status=429"}
        )


# Streams


def new_events() -> "Events":
    """A handler of events. OpenAI's models of them take a quarter of a second to load: only tests that stream do it."""
    from tests.support.run_events import Events  # noqa: PLC0415

    return Events()


BEGIN = ["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"]
MESSAGE = ["message.created", "message.in_progress"]


@pytest.mark.parametrize("pace", [{}, {"x-mimic-itl-ms": "550"}])
def test_a_stream(client: OpenAI, thread: str, pace: dict[str, str]) -> None:
    """A streamed run has the events of OpenAI, a piece for each token; its message is then in the thread."""
    with client.beta.threads.runs.stream(
        thread_id=thread, assistant_id="a", event_handler=new_events(), extra_headers=pace
    ) as stream:
        stream.until_done()
    client.beta.threads.messages.create(thread, role="user", content="and now?")
    assert stream.names == [*BEGIN, *MESSAGE, "message.completed", "run.step.completed", "run.completed"]
    assert "".join(stream.pieces) == "hello you there"
    assert len(stream.pieces) == 3
    run, [message], [step] = stream.get_final_run(), stream.get_final_messages(), stream.get_final_run_steps()
    assert ended(client, run) == run
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread) == message
    assert client.beta.threads.runs.steps.retrieve(step.id, thread_id=thread, run_id=run.id).status == "completed"


def test_a_stream_with_tool_outputs(client: OpenAI) -> None:
    """A stream ends when calls wait for outputs; the stream of the outputs goes on from there."""
    ask: Any = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}}
    with client.beta.threads.create_and_run_stream(
        thread=ask, assistant_id="a", tools=[WEATHER], tool_choice="required", event_handler=new_events()
    ) as stream:
        stream.until_done()
    assert stream.names == ["created", *BEGIN, "run.requires_action"]
    run, [step] = stream.get_final_run(), stream.get_final_run_steps()
    assert run.required_action
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert step.step_details.type == "tool_calls"
    [streamed] = step.step_details.tool_calls
    assert streamed.type == "function"
    assert (streamed.id, streamed.function.arguments) == (call.id, call.function.arguments)
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id,
        thread_id=run.thread_id,
        tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}],
        event_handler=new_events(),
    ) as rest:
        rest.until_done()
    begin = ["run.step.completed", *BEGIN[1:], *MESSAGE]
    assert rest.names == [*begin, "message.completed", "run.step.completed", "run.completed"]
    assert client.beta.threads.retrieve(run.thread_id).metadata == {"a": "b"}
    assert texts(client, run.thread_id) == ["".join(rest.pieces), "hi"]


@pytest.mark.parametrize(
    ("fault", "last"),
    [
        ("error; after=1", ["message.incomplete", "run.step.failed", "run.failed"]),
        ("stall; after=1; seconds=0.1", ["message.completed", "run.step.completed", "run.completed"]),
    ],
)
def test_faults_in_a_stream(client: OpenAI, thread: str, fault: str, last: list[str]) -> None:
    """A failed run ends its stream with events of the failure; a stalled one goes on."""
    with client.beta.threads.runs.stream(
        thread_id=thread, assistant_id="a", event_handler=new_events(), extra_headers={"x-mimic-fault": fault}
    ) as stream:
        stream.until_done()
    assert stream.names == [*BEGIN, *MESSAGE, *last]
    assert ended(client, stream.get_final_run()) == stream.get_final_run()


def test_a_cut_stream_leaves_a_run(client: OpenAI, thread: str) -> None:
    """A stream that breaks off does not end its run: the answer is in the thread in its time."""
    headers = {"x-mimic-fault": "disconnect; after=1"}
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.beta.threads.runs.stream(
            thread_id=thread, assistant_id="a", event_handler=new_events(), extra_headers=headers
        ) as stream,
    ):
        stream.until_done()
    [run] = client.beta.threads.runs.list(thread).data
    assert ended(client, run).status == "completed"
    assert texts(client, thread) == ["hello you there", "hi"]


def test_a_cancelled_stream_ends(client: OpenAI, thread: str) -> None:
    """A stream whose run another request cancels ends with the cancellation."""
    headers = {"x-mimic-itl-ms": "700"}
    with client.beta.threads.runs.stream(
        thread_id=thread, assistant_id="a", event_handler=new_events(), extra_headers=headers
    ) as stream:
        for event in stream:
            if event.event == "thread.run.created":
                client.beta.threads.runs.cancel(event.data.id, thread_id=thread)
    assert stream.names[-4:] == ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled"]


# Versions of the API


def test_the_header_is_required(server: Server, thread: str) -> None:
    """Without the header every route is a 400 with OpenAI's code, after the check of the key."""
    for method, path in (
        ("GET", "/v1/assistants"),
        ("POST", "/v1/threads"),
        ("POST", f"/v1/threads/{thread}/runs"),
        ("POST", "/v1/threads/runs"),
        ("POST", f"/v1/threads/{thread}/runs/run_1/submit_tool_outputs"),
        ("DELETE", f"/v1/threads/{thread}"),
    ):
        for headers in ({}, {"openai-beta": "realtime=v1"}):
            sent = {"authorization": "Bearer one", **headers}
            answer = httpx.request(method, server.url + path, headers=sent, json={})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_beta"), (path, answer.text)
        assert httpx.request(method, server.url + path, json={}).status_code == 401
    sent = {"authorization": "Bearer one", "openai-beta": "assistants=v3"}
    error = httpx.get(f"{server.url}/v1/assistants", headers=sent).json()["error"]
    assert "Unknown version 'assistants=v3'" in error["message"]


def test_the_first_version(server: Server) -> None:
    """With ``assistants=v1`` objects have ``file_ids``, and the search in files is called ``retrieval``."""
    with httpx.Client(base_url=f"{server.url}/v1", headers={"authorization": "Bearer one", **V1}) as client:

        def post(path: str, **body: Any) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        assistant = post("/assistants", model="m", tools=[{"type": "retrieval"}], file_ids=["file_1"])
        assert (assistant["tools"], assistant["file_ids"]) == ([{"type": "retrieval"}], ["file_1"])
        assert "tool_resources" not in assistant
        thread = post("/threads")
        assert "tool_resources" not in thread
        message = post(f"/threads/{thread['id']}/messages", role="user", content="hi", file_ids=["file_2"])
        assert (message["file_ids"], "attachments" in message) == (["file_2"], False)
        run = post(f"/threads/{thread['id']}/runs", assistant_id=assistant["id"])
        assert (run["tools"], run["file_ids"], run["status"]) == ([{"type": "retrieval"}], [], "queued")
        newest = client.get(f"/threads/{thread['id']}/messages").json()["data"][0]
        assert newest["content"] == [{"type": "text", "text": {"value": "hello you there", "annotations": []}}]
        assert newest["file_ids"] == []
    second = {"authorization": "Bearer one", "openai-beta": "assistants=v2"}
    found = httpx.get(f"{server.url}/v1/assistants/{assistant['id']}", headers=second).json()
    assert (found["tools"], found["tool_resources"]) == (
        [{"type": "file_search"}],
        {"code_interpreter": {"file_ids": ["file_1"]}},
    )


def test_another_key_finds_nothing(server: Server, client: OpenAI, thread: str) -> None:
    """Another key cannot run a thread or use an assistant, and its lists are empty."""
    assistant = client.beta.assistants.create(model="m").id
    with sdk(server, "two") as other:
        own = other.beta.threads.create().id
        for used, by in ((thread, "a"), (own, assistant)):
            with pytest.raises(NotFoundError):
                other.beta.threads.runs.create(thread_id=used, assistant_id=by)
        assert other.beta.assistants.list().data == []
        assert other.beta.threads.runs.list(own).data == []
