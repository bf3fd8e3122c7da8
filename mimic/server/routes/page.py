"""``GET /``: the web page, from the files in ``mimic/page``. It calls the other routes."""

import gzip
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from mimic.server.error_handlers import AnyRequest

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

_ACCEPTS_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:\s|,|$))")

MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}

_FOLDER: Final = files("mimic") / "page"

FILES: Final = {
    f"{prefix}{file.name}": file.read_bytes()
    for folder, prefix in ((_FOLDER, ""), (_FOLDER / "vendor", "vendor/"))
    for file in folder.iterdir()
    if file.name.endswith(tuple(MEDIA_TYPES))
}
"""The files of the page by name. Those of ``vendor/`` are by others, unchanged."""

ICON: Final = "/page/icon.svg"


@get("/", include_in_schema=False)
async def show_page(request: AnyRequest) -> Response[bytes]:
    """Return the page."""
    return _file("index.html", request)


@get("/page/{name:path}", include_in_schema=False)
async def page_file(name: FromPath[str], request: AnyRequest) -> Response[bytes]:
    """Return a file of the page."""
    if name.removeprefix("/") not in FILES:
        raise NotFoundException
    return _file(name.removeprefix("/"), request)


@get("/favicon.ico", include_in_schema=False)
async def show_icon(request: AnyRequest) -> Response[bytes]:
    """Return the icon, for clients that request it without a page. Browsers use its media type, not its name."""
    return _file("icon.svg", request)


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


def _file(name: str, request: AnyRequest) -> Response[bytes]:
    """Return a file, compressed if the client accepts it, or 304 if the client has it already (RFC 9110, 13.1.2)."""
    tag = _tag(name)
    headers = {**HEADERS, "etag": tag, "vary": "accept-encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    _, dot, ending = name.rpartition(".")
    media_type, content = MEDIA_TYPES[dot + ending], FILES[name]
    if _ACCEPTS_GZIP.search(request.headers.get("accept-encoding", "")):
        content, headers["content-encoding"] = _compressed(name), "gzip"
    return Response(content, media_type=media_type, headers=headers)


@cache
def _tag(name: str) -> str:
    """The tag of a file. It is weak, since the file has the same tag with and without compression."""
    return f'W/"{sha256(FILES[name]).hexdigest()[:32]}"'


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(FILES[name], mtime=0)


ROUTES: Final = (show_page, page_file, show_icon)
