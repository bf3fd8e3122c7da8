"""Suggestions for unknown URLs."""

import pytest

from mimic.server.unknown_urls import ABSENT, hint

ROUTES = (
    *("/", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/conversation/completion"),
    *("/corpus", "/corpus/search", "/health", "/ready", "/metrics", "/schema", "/schema/openapi.json"),
)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/models/gpt-4o", "/v1/models/NAME"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/V1/Chat/Completions", "/v1/chat/completions"),
        ("/v1/embedding/", "/v1/embeddings"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/conversation/completion/chat/completions", "/v1/chat/completions"),
        ("/openai/deployments/gpt-4o/chat/completions", "/v1/chat/completions"),
        ("/v1/engines/davinci/completions", "/v1/completions"),
        ("/v1", "/v1/models"),
        ("/conversation/completions", "/conversation/completion"),
        ("/corpus/serach", "/corpus/search"),
        ("/docs", "/schema"),
        ("/redoc", "/schema"),
        ("/swagger", "/schema"),
        ("/v1/docs", "/schema"),
        ("/openapi.json", "/schema/openapi.json"),
        ("/healthz", "/health"),
        ("/livez", "/health"),
    ],
)
def test_the_route_that_was_meant_is_named(path: str, meant: str) -> None:
    """Misspelled routes, missing or extra parts, and names of other servers get the right route."""
    assert hint(path, ROUTES).endswith(f"Did you mean {meant}?")


def test_a_wrong_base_url_is_named() -> None:
    """A wrong base URL makes every request unknown, so the error names it."""
    assert "The base URL holds /v1 twice." in hint("/v1/v1/chat/completions", ROUTES)
    assert "The base URL of a client ends with /v1." in hint("/chat/completions", ROUTES)
    assert "ends with /v1, not with a route." in hint("/v1/chat/completions/models", ROUTES)


@pytest.mark.parametrize("path", ["/x", "/wp-login.php", "/", "/" + "x" * 60_000, "/v1/" + "y/" * 30_000, "/%00"])
def test_without_a_similar_route_there_is_no_suggestion(path: str) -> None:
    """A long path without a similar route gets no suggestion."""
    assert hint(path, ROUTES) == ""


def test_missing_apis_are_named_with_a_replacement() -> None:
    """The suggestion comes with and without the version, and for paths below; existing routes get none."""
    for path in ("/v1/realtime", "/realtime", "/v1/realtime/sessions/s", "/v1/v1/realtime"):
        assert "chat completions" in hint(path, ROUTES)
    for start in ABSENT:
        assert hint(f"/v1{start}/some_id", ROUTES) == f". {ABSENT[start]}."
    assert "Did you mean" in hint("/v1/responsibility/chat/completions", ROUTES)


@pytest.mark.parametrize("path", ["/assistants/a/files", "/assistants/a/files/f", "/threads/t/messages/m/files"])
def test_files_of_objects_are_named(path: str) -> None:
    """The routes of the first Assistants API below an object get the field that names its files."""
    assert "its file_ids names them" in hint(f"/v1{path}", ("/v1/files", *ROUTES))
    assert hint("/files", ("/v1/files", *ROUTES)).endswith("Did you mean /v1/files?")
