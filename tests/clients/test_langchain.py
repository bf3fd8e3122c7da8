"""LangChain's models for OpenAI's API."""

from math import hypot
from typing import Any

import pytest
import tiktoken
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import (
    NotFoundError,
)
from pydantic import SecretStr

from tests.clients.chats import HELLO, KEY, SEA, prompt_tokens, user


def chain(base_url: str, **options: Any) -> ChatOpenAI:
    """LangChain's chat model."""
    return ChatOpenAI(model="mimic-v3", base_url=base_url, api_key=SecretStr(KEY), max_retries=0, **options)


def test_langchain(base_url: str, o200k: tiktoken.Encoding) -> None:
    """``invoke``, ``stream`` with usage and ``batch`` work; so does a chat with a system message and history."""
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
    """``ainvoke``, ``astream`` and ``abatch`` work."""
    model = chain(base_url, temperature=0)
    assert (await model.ainvoke("hi")).content == HELLO
    assert "".join([str(chunk.content) async for chunk in model.astream("Tell me about the sea")]) == SEA
    assert [message.content for message in await model.abatch(["hi", "Flip a coin"])] == [HELLO, "tails"]


def test_langchain_embeddings(base_url: str, cl100k: tiktoken.Encoding) -> None:
    """Texts arrive as they are, or by default as tokens, for which LangChain loads the vocabulary of a GPT-4."""
    by_text, by_tokens = (
        OpenAIEmbeddings(
            model="mimic-embedding", base_url=base_url, api_key=SecretStr(KEY), check_embedding_ctx_length=by_tokens
        )
        for by_tokens in (False, True)
    )
    first, second = by_text.embed_documents(["hi", SEA])
    assert by_text.embed_query("hi") == first != second
    assert by_tokens.embed_documents(["hi", SEA]) == [first, second]
    assert hypot(*first) == pytest.approx(1, abs=1e-6)
    long = "🌊" * 4000  # tokens that LangChain cuts in the middle of a character
    assert len(cl100k.encode(long)) > 8191
    assert hypot(*by_tokens.embed_query(long)) == pytest.approx(1, abs=1e-6)
