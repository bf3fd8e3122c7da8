"""``/v1/moderations`` through OpenAI's own SDK."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.servers import SharedServers

IMAGE: Any = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK, with strict types, for a server with a list of words."""
    server = serve(MIMIC_MODERATION_WORDS="hate: vermin; violence/graphic: gore")
    with OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_texts(client: OpenAI) -> None:
    """Each text has a result, and the same request has the same results."""
    answer = client.moderations.create(input=["hello", "Vermin!"], model="text-moderation-latest")
    assert answer.model == "text-moderation-latest"
    assert answer.id.startswith("modr-")
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.hate
    assert answer.results[1].category_applied_input_types.violence == ["text"]
    again = client.moderations.create(input=["hello", "Vermin!"])
    assert (again.model, again.results) == ("omni-moderation-latest", answer.results)


def test_parts(client: OpenAI) -> None:
    """Parts are one input, and images apply to the categories of images."""
    [result] = client.moderations.create(input=[{"type": "text", "text": "gore"}, IMAGE]).results
    assert result.categories.violence_graphic
    assert result.category_applied_input_types.violence_graphic == ["text", "image"]
    assert result.category_applied_input_types.hate == ["text"]
    [result] = client.moderations.create(input=[IMAGE]).results
    assert not result.flagged
    assert result.category_applied_input_types.hate == []


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([], "input"),
        (["a", IMAGE], "input"),
        ([{"type": "text"}], "input[0].text"),
        ([IMAGE, {"type": "image_url"}], "input[1].image_url"),
        ([{"type": "audio"}], "input[0].type"),
        (7, "input"),
    ],
)
def test_invalid_inputs(client: OpenAI, given: Any, param: str) -> None:
    """An invalid input is a 400 that names the field."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=given)
    assert caught.value.param == param


def test_strict_names(serve: SharedServers) -> None:
    """With strict names, unknown models are a 404."""
    url = f"{serve(MIMIC_STRICT_MODELS='on').url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        assert client.moderations.create(input="I want to kill them.").results[0].categories.violence
        with pytest.raises(openai.NotFoundError):
            client.moderations.create(input="hi", model="gpt-4o")
