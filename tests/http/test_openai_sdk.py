"""A short test through OpenAI's own SDK for Python; tests/clients is complete, and uses other clients."""

from collections.abc import Iterator

import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI

from tests.support.servers import SharedServers

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK, with strict types for every answer and without retries."""
    url = f"{serve().url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_a_completion(client: OpenAI) -> None:
    """A whole answer comes from the corpus, with the requested name of the model."""
    completion = client.chat.completions.create(model="gpt-4o-mini", messages=HI)  # type: ignore[arg-type]
    assert (completion.model, completion.choices[0].message.content) == ("gpt-4o-mini", "hello")
    assert completion.usage
    assert completion.usage.completion_tokens == 1


def test_a_stream(client: OpenAI) -> None:
    """The helper of the SDK joins the pieces of a stream to the same answer."""
    with client.chat.completions.stream(model="mimic", messages=HI) as stream:  # type: ignore[arg-type]
        assert stream.get_final_completion().choices[0].message.content == "hello"


def test_an_error(client: OpenAI) -> None:
    """An unknown message raises the SDK's error for a 404, with a code."""
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="mimic", messages=[{"role": "user", "content": "never said"}])
    assert caught.value.code == "completion_not_found"


def test_models_and_embeddings(client: OpenAI) -> None:
    """The answers of the other routes parse, too."""
    assert {"mimic-v1", "mimic-v2", "mimic-v3"} <= {model.id for model in client.models.list()}
    answer = client.embeddings.create(model="mimic-embedding", input="hi", dimensions=4, encoding_format="float")
    assert len(answer.data[0].embedding) == 4


@pytest.mark.anyio
async def test_the_asynchronous_client(serve: SharedServers) -> None:
    """The asynchronous client gets the same answer."""
    async with AsyncOpenAI(base_url=f"{serve().url}/v1", api_key="any", max_retries=0) as client:
        completion = await client.chat.completions.create(model="mimic", messages=HI)  # type: ignore[arg-type]
    assert completion.choices[0].message.content == "hello"
