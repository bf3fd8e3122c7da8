"""A short look through OpenAI's own SDK for Python; tests/clients looks at everything, and through other clients."""

from collections.abc import Iterator

import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI

from tests.support.servers import SharedServers

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK, which is strict about the shape of every answer, and does not try again."""
    url = f"{serve().url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_a_completion(client: OpenAI) -> None:
    """A whole answer comes from the corpus, with the name of the model that was asked for."""
    completion = client.chat.completions.create(model="gpt-4o-mini", messages=HI)  # type: ignore[arg-type]
    assert (completion.model, completion.choices[0].message.content) == ("gpt-4o-mini", "hello")
    assert completion.usage
    assert completion.usage.completion_tokens == 1


def test_a_stream(client: OpenAI) -> None:
    """The helper of the SDK puts the pieces of a stream together to the same answer."""
    with client.chat.completions.stream(model="mimic", messages=HI) as stream:  # type: ignore[arg-type]
        assert stream.get_final_completion().choices[0].message.content == "hello"


def test_an_error(client: OpenAI) -> None:
    """A message that was never said raises the SDK's error for a 404, with a code."""
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="mimic", messages=[{"role": "user", "content": "never said"}])
    assert caught.value.code == "completion_not_found"


def test_models_and_embeddings(client: OpenAI) -> None:
    """The other routes parse, too."""
    assert {"mimic-v1", "mimic-v2", "mimic-v3"} <= {model.id for model in client.models.list()}
    answer = client.embeddings.create(model="mimic-embedding", input="hi", dimensions=4, encoding_format="float")
    assert len(answer.data[0].embedding) == 4


@pytest.mark.anyio
async def test_the_asynchronous_client(serve: SharedServers) -> None:
    """It gets the same answer."""
    async with AsyncOpenAI(base_url=f"{serve().url}/v1", api_key="any", max_retries=0) as client:
        completion = await client.chat.completions.create(model="mimic", messages=HI)  # type: ignore[arg-type]
    assert completion.choices[0].message.content == "hello"
