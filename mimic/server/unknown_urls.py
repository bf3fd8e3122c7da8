"""Hints for unknown URLs: the probable route, or the reason for its absence. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from mimic.spelling import closest

MAX_COMPARED: Final = 1000
"""Maximum characters of a path that are compared: a client may send 64 KB."""
VERSION: Final = "/v1"

_CHATS: Final = "Use chat completions (/v1/chat/completions)"
_TEXTS_ONLY: Final = "Mimic answers with texts only: leave these requests out"
ABSENT: Final[Mapping[str, str]] = {
    "/vector_stores": "Mimic has no vector stores, and file_search reads no files: leave these requests out, "
    "or keep the vectors of /v1/embeddings yourself",
    "/audio": _TEXTS_ONLY,
    "/images": _TEXTS_ONLY,
    "/videos": _TEXTS_ONLY,
    "/realtime": f"Mimic has no Realtime API. {_CHATS} with stream: true",
    "/fine_tuning": "Mimic has no models to tune: seed another corpus instead, with `mimic seed FILE`",
}
"""OpenAI's APIs that Mimic lacks, by the start of their paths, with an alternative for clients."""
FILES_OF_OBJECTS: Final = re.compile(r"/(?:assistants/[^/]+|threads/[^/]+/messages/[^/]+)/files(?:/[^/]+)?")
_FILE_IDS: Final = "Mimic has no routes for the files of an assistant or a message: its file_ids names them"

ALIASES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("/docs", "/redoc", "/swagger", "/swagger-ui", "/swagger-ui.html", "/apidocs"), "/schema"),
    **dict.fromkeys(("/openapi.json", "/openapi", "/swagger.json", "/api-docs"), "/schema/openapi.json"),
    **dict.fromkeys(("/livez", "/live", "/alive", "/ping", "/status"), "/health"),
}
"""Names of some routes on other servers."""


def hint(path: str, routes: Collection[str]) -> str:
    """Return a hint for an unknown path as sentences, or an empty text.

    ``routes`` are the paths of all routes.
    """
    routes = [route for route in routes if route != path]  # a route for other methods only
    plain = _plain(path[:MAX_COMPARED])
    rest, versions = plain, 0
    while rest == VERSION or rest.startswith(f"{VERSION}/"):
        rest, versions = rest.removeprefix(VERSION), versions + 1
    if versions and not rest:
        return ". This is the base URL for OpenAI's clients. Did you mean /v1/models?"
    if target := _route_after_route(plain, routes):
        return f". The base URL of a client ends with /v1, not with a route. Did you mean {target}?"
    if f"{VERSION}{rest}" not in routes and (text := _absence(rest)):
        return f". {text}."
    if plain in routes:
        return f". Did you mean {plain}?"
    target = f"{VERSION}/models/NAME" if rest.startswith("/models/") else VERSION + rest
    if versions != 1 and (target in routes or rest.startswith("/models/")):
        note = "The base URL holds /v1 twice" if versions else "The base URL of a client ends with /v1"
        return f". {note}. Did you mean {target}?"
    similar = ALIASES.get(rest) or closest(plain, routes) or _route_at_end(plain, routes)
    return f". Did you mean {similar}?" if similar else ""


def _absence(path: str) -> str | None:
    """Return the alternative to an API of OpenAI's that Mimic lacks, or None."""
    if FILES_OF_OBJECTS.fullmatch(path):
        return _FILE_IDS
    return next((text for start, text in ABSENT.items() if f"{path}/".startswith(f"{start}/")), None)


def _plain(path: str) -> str:
    """Return a path in lower case, without empty parts and the final slash."""
    return "/" + "/".join(part for part in path.lower().split("/") if part)


def _route_after_route(path: str, routes: Collection[str]) -> str | None:
    """Return the route of OpenAI's API that follows another route in a path."""
    for route in routes:
        if path.startswith(f"{route}/") and (target := VERSION + path.removeprefix(route)) in routes:
            return target
    return None


def _route_at_end(path: str, routes: Collection[str]) -> str | None:
    """Return the route of OpenAI's API at the end of a path, for a base URL with extra parts."""
    endings = [route for route in routes if route.startswith(VERSION) and path.endswith(route.removeprefix(VERSION))]
    return max(endings, key=len, default=None)
