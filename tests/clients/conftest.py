"""A server for the clients, and a count of tokens to hold it to."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import tiktoken

from tests.clients.chats import CORPUS
from tests.support.corpora import seed
from tests.support.servers import Server


@pytest.fixture(scope="session")
def clients_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with the corpus."""
    folder = tmp_path_factory.mktemp("clients")
    url = f"sqlite:///{folder}/corpus.db"
    seed(url, CORPUS, folder)
    return url


@pytest.fixture(scope="session")
def base_url(clients_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a client is pointed at."""
    with Server(tmp_path_factory.mktemp("server"), MIMIC_STORE=clients_store) as server:
        yield f"{server.url}/v1"


@pytest.fixture(scope="session")
def o200k() -> tiktoken.Encoding:
    """OpenAI's own tokenizer as an independent count; LiteLLM carries its vocabulary, which it checks by SHA-256."""
    package = find_spec("litellm")
    assert package
    [folder] = package.submodule_search_locations or []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", f"{folder}/litellm_core_utils/tokenizers")
        return tiktoken.get_encoding("o200k_base")
