"""LangChain's parsers of output, which describe the format in a message, on a server with its defaults."""

from typing import Any

import pytest
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from tests.clients.chats import KEY


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.mark.parametrize("kind", [PydanticOutputParser, JsonOutputParser])
@pytest.mark.parametrize("template", ["{format}\n{question}", "{question}\n\n{format}"])
def test_output_parsers(default_url: str, kind: Any, template: str) -> None:
    """The answer is an object by the schema in the prompt, whole and streamed."""
    parser = kind(pydantic_object=Person)
    prompt = PromptTemplate.from_template(template, partial_variables={"format": parser.get_format_instructions()})
    chain = prompt | ChatOpenAI(model="gpt-4o-mini", base_url=default_url, api_key=SecretStr(KEY)) | parser
    asked = {"question": "John Doe is 42 years old"}
    expected = Person(name="John Doe", age=42)
    found = [chain.invoke(asked), list(chain.stream(asked))[-1]]
    assert [Person.model_validate(one if isinstance(one, dict) else one.model_dump()) for one in found] == [
        expected
    ] * 2
