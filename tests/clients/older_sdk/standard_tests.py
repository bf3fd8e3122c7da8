"""LangChain's standard tests of chat models, for the server that OPENAI_BASE_URL names. Run by test_older_sdk.py.

The integration tests run with chats and with responses.
"""

import os
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

PARAMS = {"model": "gpt-4o-mini", "base_url": os.environ["OPENAI_BASE_URL"], "stream_usage": True}


class TestUnit(ChatModelUnitTests):  # type: ignore[misc] # of the other environment
    """Tests of the model's class, without requests."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """The class to test."""
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """The arguments of the class."""
        return PARAMS


class TestIntegration(ChatModelIntegrationTests):  # type: ignore[misc] # of the other environment
    """Tests of requests. Images, audio and PDF files are off: these tests would load them from the web."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """The class to test."""
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """The arguments of the class."""
        return PARAMS

    @property
    def supports_image_urls(self) -> bool:
        """Images may be URLs."""
        return True

    @property
    def supports_json_mode(self) -> bool:
        """``json_object`` is a format of answers."""
        return True

    @property
    def supports_model_override(self) -> bool:
        """A request may name another model."""
        return True

    @property
    def model_override_value(self) -> str:
        """The other model."""
        return "gpt-4o"


class TestResponses(TestIntegration):
    """The same tests of requests, with responses instead of chats."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """The arguments of the class."""
        return {**PARAMS, "use_responses_api": True}
