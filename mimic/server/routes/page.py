"""``GET /``: the web page, from the files in ``mimic/page``. It calls the other routes."""

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Final

from litestar import Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The permissions of the page (W3C, Content Security Policy Level 3): its own files and its own server only.

Even the page's own code cannot turn text into HTML or code, since texts of a corpus are not trusted.
"""

NO_SNIFFING: Final[Mapping[str, str]] = {"x-content-type-options": "nosniff"}
"""The header against guessing of media types: a browser must not show other answers as pages."""

HEADERS: Final[Mapping[str, str]] = {
    **NO_SNIFFING,
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

_INLINE_SCRIPT: Final = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)

MEDIA_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

FILES: Final = {
    file.name: file.read_bytes()
    for file in (files("mimic") / "page").iterdir()
    if file.name.endswith(tuple(MEDIA_TYPES))
}
"""The files of the page by name."""

ICON: Final = "/page/icon.svg"


@get("/")
async def show_page() -> Response[bytes]:
    """Return the page."""
    return _file("index.html")


@get("/page/{name:str}")
async def page_file(name: FromPath[str]) -> Response[bytes]:
    """Return a file of the page."""
    if name not in FILES:
        raise NotFoundException
    return _file(name)


@get("/favicon.ico")
async def show_icon() -> Response[bytes]:
    """Return the icon, for clients that request it without a page. Browsers use its media type, not its name."""
    return _file("icon.svg")


def headers_of_documentation(html: bytes) -> Mapping[str, str]:
    """Return the headers of the page, with a policy that also allows Swagger UI's inline script and styles."""
    digests = [b64encode(sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(html)]
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return {**HEADERS, "content-security-policy": policy}


def _file(name: str) -> Response[bytes]:
    _, dot, ending = name.rpartition(".")
    media_type = MEDIA_TYPES[dot + ending]
    return Response(FILES[name], media_type=media_type, headers=HEADERS)


ROUTES: Final = Router("/", route_handlers=[show_page, page_file, show_icon], include_in_schema=False)
