"""OpenAI's SDK for a server of the tests."""

from openai import OpenAI

from tests.support.servers import Server


def sdk(server: Server, key: str = "one") -> OpenAI:
    """The SDK, with strict types and without retries, for a key."""
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, _strict_response_validation=True)
