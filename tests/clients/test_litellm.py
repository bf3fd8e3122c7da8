"""LiteLLM as a client of OpenAI's API."""

from collections.abc import Iterator
from importlib import import_module
from math import hypot
from typing import Any

import pytest
import tiktoken

from tests.clients.chats import HELLO, KEY, SEA, prompt_tokens, user


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """LiteLLM, loaded late since that takes seconds; it reads neither a price list from the network nor ``.env``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        patch.setenv("TIKTOKEN_CACHE_DIR", "")  # LiteLLM sets it, and the patch restores it
        yield import_module("litellm")


def test_litellm(base_url: str, litellm: Any, o200k: tiktoken.Encoding) -> None:
    """``completion`` works, complete and streamed with usage."""
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
    """``acompletion`` works, complete and streamed."""
    arguments: dict[str, Any] = {"model": "openai/mimic-v3", "api_base": base_url, "api_key": KEY, "num_retries": 0}
    asked = [user("Tell me about the sea")]
    assert (await litellm.acompletion(messages=asked, **arguments)).choices[0].message.content == SEA
    stream = await litellm.acompletion(messages=asked, stream=True, **arguments)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == SEA


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.mark.filterwarnings("ignore:Accessing the 'model_computed_fields':DeprecationWarning")  # LiteLLM's own
def test_litellm_tools(base_url: str, litellm: Any) -> None:
    """Whole and streamed answers have the same calls."""
    asked: dict[str, Any] = {
        "model": "openai/m",
        "api_base": base_url,
        "api_key": KEY,
        "messages": [user("The person is John Doe, age 42")],
        "tools": [{"type": "function", "function": {"name": "person", "parameters": PERSON}}],
    }
    whole = litellm.completion(**asked)
    built = litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True)))
    calls = [one.choices[0].message.tool_calls[0].function for one in (whole, built)]
    assert calls[0].arguments == calls[1].arguments == '{"name":"John Doe","age":42}'
