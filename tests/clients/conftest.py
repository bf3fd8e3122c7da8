"""Servers for the clients, and an independent count of tokens."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiktoken

from tests.clients.chats import CORPUS
from tests.support.node import Command, node_with_sdk
from tests.support.servers import SharedServers

SAMPLE = Path(__file__).parents[2] / "seed" / "mimic_seed" / "sample.json"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Ignore sockets that a client leaves to the garbage collector, which may find them during another test."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def clients_store(serve: SharedServers) -> str:
    """The URL of a store with the corpus."""
    return serve.store(CORPUS)


@pytest.fixture(scope="session")
def base_url(serve: SharedServers) -> str:
    """The base URL for clients."""
    return f"{serve(CORPUS).url}/v1"


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> tuple[Command, Path]:
    """A node and a folder with the packages of the tests."""
    return node_with_sdk(request.config.cache)


@pytest.fixture(scope="session")
def default_url(serve: SharedServers) -> str:
    """The base URL of a server with the sample corpus and the default settings."""
    return f"{serve(json.loads(SAMPLE.read_bytes()), MIMIC_ON_MISS='any').url}/v1"


@pytest.fixture(scope="session")
def o200k() -> tiktoken.Encoding:
    """OpenAI's own tokenizer as an independent count."""
    return _encoding("o200k_base")


@pytest.fixture(scope="session")
def cl100k() -> tiktoken.Encoding:
    """The tokenizer of OpenAI's embeddings, loaded for the whole process."""
    return _encoding("cl100k_base")


def _encoding(name: str) -> tiktoken.Encoding:
    """A tokenizer whose vocabulary LiteLLM carries; tiktoken checks it by SHA-256."""
    package = find_spec("litellm")
    assert package
    [folder] = package.submodule_search_locations or []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", f"{folder}/litellm_core_utils/tokenizers")
        return tiktoken.get_encoding(name)
