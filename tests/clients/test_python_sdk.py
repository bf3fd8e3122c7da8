"""OpenAI's own SDK for Python."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from math import hypot
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiktoken
from openai import (
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    Omit,
    OpenAI,
    PermissionDeniedError,
)
from openai.types.chat import (
    ChatCompletionMessageParam,
)

from tests.clients.chats import HELLO, HI, KEY, LINES, RED, SEA, came_from, only, pieces, prompt_tokens, user
from tests.support.servers import Server


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[OpenAI]:
    """The official client, whose strict types check every answer; it does not try again."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture(scope="module")
def lenient(base_url: str) -> Iterator[OpenAI]:
    """The official client by default, for the two answers of OpenAI's that its own types do not allow."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(base_url: str) -> AsyncIterator[AsyncOpenAI]:
    """The strict client, asynchronous."""
    async with AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_a_completion_is_a_true_next_message(client: OpenAI) -> None:
    """A completion fits the SDK's own types, and echoes the model's name."""
    for model in ("mimic-v1", "mimic-v2", "mimic-v3", "gpt-4o-mini", "org/any-name"):
        completion = client.chat.completions.create(model=model, messages=[user("hi")])
        assert only(completion) in HI
        assert (completion.model, completion.object) == (model, "chat.completion")
        assert completion.id.startswith("chatcmpl-")
        assert completion.choices[0].finish_reason == "stop"
        assert completion.choices[0].message.role == "assistant"


def test_a_client_needs_nothing_but_its_environment(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged application works with OPENAI_BASE_URL and any OPENAI_API_KEY."""
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAI() as client:
        completion = client.chat.completions.create(model="gpt-4o-mini", messages=[user("Name three colours")])
    assert only(completion) == RED


def test_usage_is_exact(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """Usage of prompt and completion equals a count by OpenAI's tokenizer, and has the details."""
    chat: list[ChatCompletionMessageParam] = [
        user("Tell me about the sea"),
        {"role": "assistant", "content": "naïve 🌊"},
        user("thanks"),
    ]
    cases = ([user("Name three colours")], RED), ([user("Tell me about the sea")], SEA), (chat, "You are welcome.")
    for messages, answer in cases:
        completion = client.chat.completions.create(model="mimic-v3", messages=messages)
        assert only(completion) == answer
        usage = completion.usage
        assert usage
        assert usage.prompt_tokens == prompt_tokens(messages, o200k)
        assert usage.completion_tokens == len(o200k.encode(answer))
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.prompt_tokens_details
        assert usage.completion_tokens_details
        assert (usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens) == (0, 0)


def test_a_stream_is_the_answer_token_by_token(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """A stream has a chunk per token, one id, and valid text even if a token is half a letter."""
    for question in ("hi", "Tell me about the sea", "Name three colours"):
        complete = client.chat.completions.create(model="mimic-v3", messages=[user(question)])
        with client.chat.completions.create(model="mimic-v3", messages=[user(question)], stream=True) as stream:
            chunks = list(stream)
        parts = pieces(chunks)
        assert "".join(parts) == only(complete)
        assert complete.usage
        assert len(parts) == complete.usage.completion_tokens == len(o200k.encode(only(complete)))
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(parts)
        assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
        assert chunks[0].object == "chat.completion.chunk"
        assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_can_be_read_line_by_line(base_url: str, client: OpenAI) -> None:
    """A client that splits lines as Unicode does, such as httpx's ``iter_lines``, reads the stream."""
    asked = {"model": "mimic-v3", "messages": [user("Name some lines")], "stream": True}
    with httpx.stream("POST", f"{base_url}/chat/completions", json=asked) as response:
        *events, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert done == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events) == LINES
    with client.chat.completions.stream(model="mimic-v3", messages=[user("Name some lines")]) as stream:
        assert stream.get_final_completion().choices[0].message.content == LINES


def test_a_stream_ends_with_the_usage_when_asked(client: OpenAI) -> None:
    """The usage of the complete answer comes in one more chunk without choices; the others have ``usage: null``."""
    asked = [user("Tell me about the sea")]
    complete = client.chat.completions.create(model="mimic-v3", messages=asked)
    with client.chat.completions.create(
        model="mimic-v3", messages=asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = stream
    assert last.choices == []
    assert last.usage == complete.usage
    assert all(chunk.choices and chunk.to_dict()["usage"] is None for chunk in chunks)
    assert "".join(pieces(chunks)) == SEA


def test_the_stream_helper_puts_the_answer_together(client: OpenAI) -> None:
    """The helper yields events, and at the end the completion that a whole answer would be."""
    asked = [user("Tell me about the sea")]
    complete = client.chat.completions.create(model="mimic-v3", messages=asked)
    with client.chat.completions.stream(
        model="mimic-v3", messages=asked, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == SEA
    assert final.choices[0].finish_reason == "stop"
    assert final.usage == complete.usage


def test_n_answers_are_different_and_real(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """Answers differ as long as there are enough, and usage covers all; streamed, they come in the same order."""
    complete = client.chat.completions.create(model="mimic-v3", messages=[user("hi")], n=4)
    texts = [choice.message.content for choice in complete.choices]
    assert [choice.index for choice in complete.choices] == [0, 1, 2, 3]
    assert set(texts) == HI
    assert complete.usage
    assert complete.usage.completion_tokens == sum(len(o200k.encode(text or "")) for text in texts)
    with client.chat.completions.create(
        model="mimic-v3", messages=[user("hi")], n=4, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = stream
    assert [chunk.choices[0].index for chunk in chunks[:4]] == [0, 1, 2, 3]
    assert ["".join(pieces(chunks, index)) for index in range(4)] == texts
    assert last.usage == complete.usage
    with client.chat.completions.stream(model="mimic-v3", messages=[user("hi")], n=4) as helper:
        final = helper.get_final_completion()
    assert [choice.message.content for choice in final.choices] == texts


def test_more_answers_than_the_corpus_has_repeat(client: OpenAI) -> None:
    """Answers repeat if ``n`` is larger than their number."""
    completion = client.chat.completions.create(model="mimic-v3", messages=[user("Flip a coin")], n=5)
    assert len(completion.choices) == 5
    assert {choice.message.content for choice in completion.choices} == {"heads", "tails"}


def test_max_tokens_cuts_at_a_token(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """Both names of the limit cut at every length, complete and streamed; the cut text is a whole prefix."""
    encoded = o200k.encode(SEA)
    asked = [user("Tell me about the sea")]
    for most in range(1, len(encoded) + 2):
        completion = client.chat.completions.create(model="mimic-v3", messages=asked, max_completion_tokens=most)
        assert completion.usage
        kept = completion.usage.completion_tokens
        assert most - 3 <= kept <= most
        assert only(completion) == o200k.decode_bytes(encoded[:kept]).decode()
        assert completion.choices[0].finish_reason == ("length" if most < len(encoded) else "stop")
        with client.chat.completions.create(model="mimic-v3", messages=asked, max_tokens=most, stream=True) as stream:
            chunks = list(stream)
        assert "".join(pieces(chunks)) == only(completion)
        assert len(pieces(chunks)) == kept
        assert chunks[-1].choices[0].finish_reason == completion.choices[0].finish_reason


@pytest.mark.parametrize(
    ("stop", "answer"),
    [
        ("\n", "red"),
        (["\n"], "red"),
        (["blue", "\nblue", "never"], "red\ngreen"),
        ("een", "red\ngr"),
        ("red", ""),
        ("never", RED),
    ],
)
def test_stop_ends_the_answer_before_it(client: OpenAI, stop: str | list[str], answer: str) -> None:
    """An answer ends before the first stop text, also in the middle of a token; complete and streamed."""
    asked = [user("Name three colours")]
    completion = client.chat.completions.create(model="mimic-v3", messages=asked, stop=stop)
    assert only(completion) == answer
    assert completion.choices[0].finish_reason == "stop"
    with client.chat.completions.create(model="mimic-v3", messages=asked, stop=stop, stream=True) as stream:
        assert "".join(pieces(list(stream))) == answer


def test_temperature_0_takes_the_most_frequent(client: OpenAI) -> None:
    """The first of several equally frequent answers of the corpus comes, for any seed."""
    for question, answer in (("hi", HELLO), ("Flip a coin", "tails")):
        for seed_ in (None, 1, 2, 3):
            completion = client.chat.completions.create(
                model="mimic-v3", messages=[user(question)], temperature=0, seed=seed_
            )
            assert only(completion) == answer


def test_a_seed_fixes_the_answer(client: OpenAI) -> None:
    """The same seed gives the same answer, and so does the same request without a seed; seeds differ."""

    def ask(seed_: int | None) -> str:
        return only(client.chat.completions.create(model="mimic-v3", messages=[user("hi")], seed=seed_))

    seeds = [None, *range(20)]
    answers = [ask(seed_) for seed_ in seeds]
    assert answers == [ask(seed_) for seed_ in seeds]
    assert 1 < len(set(answers)) <= len(HI)


def test_the_message_before_is_looked_at_first(client: OpenAI) -> None:
    """A pair of the corpus has its own answer; if a client's history is unknown, the last message decides."""
    histories: Mapping[str, tuple[set[str], str]] = {
        SEA: ({"Its waves are made by the wind."}, "previous"),
        "They are old mountains.": ({"Sheep live there."}, "previous"),
        "An answer of another model.": ({"Its waves are made by the wind.", "Sheep live there."}, "last"),
    }
    for before, (answers, match) in histories.items():
        messages: list[ChatCompletionMessageParam] = [
            user("Tell me more"),
            {"role": "assistant", "content": before},
            user("continue"),
        ]
        raw = client.chat.completions.with_raw_response.create(model="mimic-v3", messages=messages)
        assert only(raw.parse()) in answers
        assert raw.headers["x-mimic-match"] == match


def test_headers_have_the_source_of_the_answer(client: OpenAI) -> None:
    """Headers are OpenAI's and name the source, on streams and for each of several answers too."""
    ids = set()
    for seed_ in range(3):
        raw = client.chat.completions.with_raw_response.create(model="mimic-v3", messages=[user("hi")], seed=seed_)
        completion = raw.parse()
        assert raw.headers["x-mimic-match"] == "last"
        assert came_from(raw.headers["x-mimic-source"]) == only(completion)
        assert raw.headers["openai-version"] == "2020-10-01"
        assert float(raw.headers["openai-processing-ms"]) >= 0
        assert raw.headers["x-request-id"].startswith("req_")
        assert raw.request_id == completion._request_id == raw.headers["x-request-id"]
        ids.add(raw.request_id)
    assert len(ids) == 3
    streamed = client.chat.completions.with_raw_response.create(
        model="mimic-v3", messages=[user("hi")], n=2, stream=True
    )
    with streamed.parse() as stream:
        chunks = list(stream)
    sources = streamed.headers["x-mimic-source"].split(", ")
    assert [came_from(source) for source in sources] == ["".join(pieces(chunks, index)) for index in range(2)]
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["openai-version"] == "2020-10-01"


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_in_front_do_not_stop_a_match(client: OpenAI, role: str) -> None:
    """An unknown system or developer message stops no match, before the first message and before a whole chat."""
    instructions: Any = {"role": role, "content": "You are a helpful assistant."}
    assert only(client.chat.completions.create(model="mimic-v3", messages=[instructions, user("hi")])) in HI
    chat: list[ChatCompletionMessageParam] = [
        instructions,
        user("Tell me about the sea"),
        {"role": "assistant", "content": SEA},
        user("continue"),
    ]
    completion = client.chat.completions.create(model="mimic-v3", messages=chat)
    assert only(completion) == "Its waves are made by the wind."


def test_a_system_message_of_the_corpus_is_matched(client: OpenAI) -> None:
    """A system message before the question in the dump narrows the answers down."""
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Talk like a pirate"}, user("hi")]
    assert only(client.chat.completions.create(model="mimic-v3", messages=messages)) == "Ahoy!"


def test_content_may_be_a_list_of_parts(client: OpenAI) -> None:
    """Text parts are joined; pictures, sound and files are accepted and left out."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": [{"type": "text", "text": "Look at this."}]},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "text", "text": "Name three "},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
                {"type": "text", "text": "colours"},
            ],
        },
    ]
    assert only(client.chat.completions.create(model="mimic-v3", messages=messages)) == RED


def test_tools_and_their_messages_are_accepted(client: OpenAI) -> None:
    """Definitions, a choice, calls without content and a tool's result are accepted, complete and streamed."""
    tool: Any = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "How it is outside",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    }
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "here"}'}}
    messages: list[ChatCompletionMessageParam] = [
        user("What is the weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
        {"role": "assistant", "content": "18 degrees."},
        user("thanks"),
    ]
    completion = client.chat.completions.create(
        model="mimic-v3", messages=messages, tools=[tool], tool_choice="auto", parallel_tool_calls=False
    )
    assert only(completion) == "You are welcome."
    assert completion.choices[0].message.tool_calls is None
    with client.chat.completions.stream(model="mimic-v3", messages=messages, tools=[tool]) as stream:
        assert stream.get_final_completion().choices[0].message.content == "You are welcome."
    # As an agent asks: the last message is the result of the tool, and its text is answered.
    messages = [
        user("thanks"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "18 degrees"}]},
    ]
    assert only(client.chat.completions.create(model="mimic-v3", messages=messages)) == "18 degrees"


def test_unsupported_parameters_are_accepted(client: OpenAI) -> None:
    """Parameters without a meaning here change nothing."""
    completion = client.chat.completions.create(
        model="mimic-v3",
        messages=[{"role": "user", "content": "Name three colours", "name": "somebody"}],
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logit_bias={"50256": -100},
        metadata={"a": "b"},
        reasoning_effort="low",
        service_tier="auto",
        store=False,
        user="somebody",
        verbosity="low",
        extra_body={"top_k": 40, "made_up": {"a": [1]}},
    )
    assert only(completion) == RED


def test_legacy_completions(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """A prompt is a message of the user; several prompts, ``n`` and limits work."""
    completion = client.completions.create(model="mimic-v3", prompt="Name three colours")
    assert (completion.object, completion.choices[0].text) == ("text_completion", RED)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage
    assert completion.usage.completion_tokens == len(o200k.encode(RED))
    short = client.completions.create(model="mimic-v3", prompt="Name three colours", max_tokens=2, stop="\n")
    assert (short.choices[0].text, short.choices[0].finish_reason) == ("red", "stop")
    several = client.completions.create(model="mimic-v3", prompt=["hi", "Flip a coin"], temperature=0)
    assert [choice.text for choice in several.choices] == [HELLO, "tails"]
    many = client.completions.create(model="mimic-v3", prompt="hi", n=4)
    assert {choice.text for choice in many.choices} == HI


def test_legacy_completions_streamed(lenient: OpenAI, o200k: tiktoken.Encoding) -> None:
    """Tokens come first, then the end, then the usage. OpenAI's ``finish_reason: null`` is not in the SDK's types."""
    with lenient.completions.create(
        model="mimic-v3", prompt="Tell me about the sea", stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, end, last = stream
    assert "".join(chunk.choices[0].text for chunk in chunks) == SEA
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    assert (end.choices[0].text, end.choices[0].finish_reason) == ("", "stop")
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == len(chunks) == len(o200k.encode(SEA))


def test_models(client: OpenAI) -> None:
    """Models are listed; any name that chats accept can be retrieved, and a fine-tuned one can be deleted."""
    models = list(client.models.list())
    assert {"mimic-v1", "mimic-v2", "mimic-v3"} <= {model.id for model in models}
    for model in models:
        assert client.models.retrieve(model.id) == model
    tuned = "ft:gpt-4o-mini:org::a1"
    assert client.models.retrieve(tuned).id == tuned
    deleted = client.models.delete(tuned)
    assert (deleted.id, deleted.object, deleted.deleted) == (tuned, "model", True)
    for name in ("gpt-4o-mini", "openai/gpt-4o"):
        assert client.models.retrieve(name).id == name
        with pytest.raises(PermissionDeniedError) as caught:
            client.models.delete(name)
        assert (caught.value.param, caught.value.type) == ("model", "permission_error")


def test_a_missing_api_names_its_replacement(client: OpenAI) -> None:
    """The exception's text names the API to use instead."""
    with pytest.raises(NotFoundError, match="keep the vectors of /v1/embeddings") as caught:
        client.vector_stores.list()
    assert caught.value.code == "unknown_url"


def test_embeddings(client: OpenAI, lenient: OpenAI) -> None:
    """Embeddings are unit vectors fixed by the text, with the given dimensions; floats and base64 (default) are equal.

    The SDK decodes the base64, which its types do not allow.
    """
    texts = ["hi", "Tell me about the sea", "hi"]
    answer = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1, 2]
    first, second, third = (item.embedding for item in answer.data)
    assert first == third != second
    assert hypot(*first) == pytest.approx(1, abs=1e-6)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    encoded = lenient.embeddings.create(model="text-embedding-3-small", input=texts)
    assert [item.embedding for item in encoded.data] == [first, second, third]
    short = client.embeddings.create(model="mimic-embedding", input="hi", dimensions=8, encoding_format="float")
    assert len(short.data[0].embedding) == 8
    assert hypot(*short.data[0].embedding) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_message_is_a_404(client: OpenAI, stream: bool) -> None:
    """An unknown message is a 404 with its own code before a stream begins; the error has the id of its request."""
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="mimic-v3", messages=[user("never said")], stream=stream)
    assert (caught.value.code, caught.value.type) == ("completion_not_found", "invalid_request_error")
    assert caught.value.request_id
    with pytest.raises(NotFoundError) as caught:
        client.completions.create(model="mimic-v3", prompt="never said", stream=stream)
    assert caught.value.code == "completion_not_found"


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("temperature", {"temperature": 3}),
        ("top_p", {"top_p": -0.1}),
        ("n", {"n": 0}),
        ("max_tokens", {"max_tokens": "many"}),
        ("stop", {"stop": ["a", "b", "c", "d", "e"]}),
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("messages", {"messages": []}),
        ("model", {"model": None}),
    ],
)
def test_a_bad_field_is_named(client: OpenAI, param: str, fields: Mapping[str, Any]) -> None:
    """A bad field is a 400 with the field as ``param``, a code, a message, and OpenAI's headers."""
    arguments: dict[str, Any] = {"model": "mimic-v3", "messages": [user("hi")], **fields}
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**arguments)
    error = caught.value
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert error.code
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.response.headers["openai-version"] == "2020-10-01"
    assert error.response.headers["x-request-id"] == error.request_id


def test_keys(clients_store: str, tmp_path: Path) -> None:
    """Each key of MIMIC_API_KEYS is accepted; a wrong one and none get OpenAI's 401s, which do not repeat it."""
    with (
        Server(tmp_path, MIMIC_STORE=clients_store, MIMIC_API_KEYS="sk-right-1, sk-right-2") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong-key-1234567890", max_retries=0) as client,
    ):
        for key in ("sk-right-1", "sk-right-2"):
            right = client.with_options(api_key=key)
            completion = right.chat.completions.create(model="mimic-v3", messages=[user("Name three colours")])
            assert only(completion) == RED
            assert list(right.models.list())
        with pytest.raises(AuthenticationError, match="Incorrect API key provided") as wrong:
            client.chat.completions.create(model="mimic-v3", messages=[user("hi")])
        assert (wrong.value.code, wrong.value.type) == ("invalid_api_key", "invalid_request_error")
        assert "wrong-key" not in wrong.value.message
        with pytest.raises(AuthenticationError, match="You didn't provide an API key") as none:
            client.models.list(extra_headers={"Authorization": Omit()})
        assert none.value.code is None
        with pytest.raises(AuthenticationError):
            client.embeddings.create(model="mimic-embedding", input="hi")


def test_strict_models(clients_store: str, tmp_path: Path) -> None:
    """With MIMIC_STRICT_MODELS only Mimic's own names are models."""
    with (
        Server(tmp_path, MIMIC_STORE=clients_store, MIMIC_STRICT_MODELS="true") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        assert only(client.chat.completions.create(model="mimic-v2", messages=[user("hi")])) in HI
        for stream in (False, True):
            with pytest.raises(NotFoundError) as caught:
                client.chat.completions.create(model="gpt-4o-mini", messages=[user("hi")], stream=stream)
            assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        with pytest.raises(NotFoundError):
            client.completions.create(model="gpt-4o-mini", prompt="hi")
        with pytest.raises(NotFoundError):
            client.embeddings.create(model="text-embedding-3-small", input="hi")


@pytest.mark.anyio
async def test_the_asynchronous_client(async_client: AsyncOpenAI) -> None:
    """Complete answers, streams, the helper and an error work."""
    asked = [user("Tell me about the sea")]
    assert only(await async_client.chat.completions.create(model="mimic-v3", messages=asked)) == SEA
    async with await async_client.chat.completions.create(
        model="mimic-v3", messages=asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = [chunk async for chunk in stream]
    assert "".join(pieces(chunks)) == SEA
    assert last.usage
    assert last.usage.completion_tokens == len(pieces(chunks))
    async with async_client.chat.completions.stream(model="mimic-v3", messages=asked) as helper:
        final = await helper.get_final_completion()
    assert final.choices[0].message.content == SEA
    with pytest.raises(NotFoundError):
        await async_client.chat.completions.create(model="mimic-v3", messages=[user("never said")])
