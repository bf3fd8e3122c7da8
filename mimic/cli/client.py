"""The commands ``mimic chat`` and ``mimic search``: a client of a running server in the terminal."""

import json
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import click

from mimic.cli.configuration import read_settings
from mimic.server.listening import authority
from mimic.settings import Settings

URL_HELP: Final = "The address of the server. [default: that of MIMIC_HOST and MIMIC_PORT, http://127.0.0.1:8000]"
SECONDS_TO_ANSWER: Final = 60
_EVENT: Final = b"data: "
_END: Final = b"[DONE]"
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a client's view; not bound here


@click.command()
@click.argument("text", required=False)
@click.option("--url", metavar="URL", help=URL_HELP)
@click.option("--model", metavar="NAME", help="The model to ask. [default: that of MIMIC_VERSION]")
def chat(text: str | None, url: str | None, model: str | None) -> None:
    """Chat with a running server, or ask it one TEXT.

    Each answer comes as a stream. The line after it has the rung, the score and the source of the answer. An empty line
    begins a new chat, Ctrl-D ends the command.
    """
    settings = read_settings(_warn)
    server, name = _Server(settings, url), model or f"mimic-{settings.version}"
    if text is not None:
        _ask(server, name, [{"role": "user", "content": text}])
        return
    messages: list[dict[str, str]] = []
    while (line := _next_line()) is not None:
        if not line.strip():
            messages.clear()
            continue
        messages.append({"role": "user", "content": line})
        messages.append({"role": "assistant", "content": _ask(server, name, messages)})


@click.command()
@click.argument("text")
@click.option("--url", metavar="URL", help=URL_HELP)
@click.option("--version", "version", metavar="VERSION", help="The schema version. [default: that of MIMIC_VERSION]")
@click.option(
    "--limit",
    metavar="NUMBER",
    default=10,
    show_default=True,
    type=click.IntRange(1, 50),
    help="The most messages to show.",
)
def search(text: str, url: str | None, version: str | None, limit: int) -> None:
    """Find messages of the corpus that are similar to TEXT, on a running server."""
    query = {"q": text, "limit": str(limit)} | ({"version": version} if version else {})
    response = _Server(read_settings(_warn), url).request("GET", f"/corpus/search?{urlencode(query, quote_via=quote)}")
    for hit in json.loads(response.read())["results"]:
        place = f"{hit['conversation'] or ''}#{hit['position']}"
        cut = " ..." if hit["characters"] > len(hit["value"]) else ""
        click.echo(shown(f"{hit['score']:.3f} {hit['from']} {place}: {hit['value']}{cut}"))


class _Server:
    """A running server."""

    def __init__(self, settings: Settings, url: str | None) -> None:
        host = _ANY_ADDRESS.get(settings.host, settings.host)
        self._url = (url or f"http://{authority(host, settings.port)}").rstrip("/").removesuffix("/v1")
        self._headers = {"content-type": "application/json"}
        if settings.api_keys:
            self._headers["authorization"] = f"Bearer {settings.api_keys[0]}"

    def request(self, method: str, path: str, body: Any = None) -> HTTPResponse:
        """Send a request. Raises ClickException if the server cannot be reached, or answers with an error."""
        parts = urlsplit(self._url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise click.UsageError(f"--url: {self._url!r} is no address such as http://127.0.0.1:8000")
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        try:
            connection = connect(parts.hostname, parts.port, timeout=SECONDS_TO_ANSWER)
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{parts.path}{path}", data, self._headers)
            response = connection.getresponse()
            if response.status != 200:  # noqa: PLR2004 - OK
                raise click.ClickException(shown(_problem(response)))
        except (OSError, HTTPException, ValueError) as exc:
            text = f"cannot reach {self._url}: {exc}. To start a server: mimic serve --sample"
            raise click.ClickException(text) from None
        return response


def _ask(server: _Server, model: str, messages: list[dict[str, str]]) -> str:
    """Print the answer to a chat as it comes, then its rung, score and source. Returns the answer."""
    body = {"model": model, "messages": messages, "stream": True}
    response = server.request("POST", "/v1/chat/completions", body)
    answer = ""
    try:
        for text in _texts(response):
            answer += text
            click.echo(shown(text), nl=False)
    except (OSError, HTTPException) as exc:
        raise click.ClickException(f"the answer ended early: {exc}") from None
    click.echo()
    rung, score, source = (response.getheader(f"x-mimic-{name}", "none") for name in ("match", "score", "source"))
    click.secho(shown(f"[{rung}, score {score}, from {unquote(source)}]"), dim=True, err=True)
    return answer


def _texts(response: HTTPResponse) -> Iterator[str]:
    """Yield the pieces of a streamed answer. Raises ClickException for an error in the stream."""
    for line in response:
        if not line.startswith(_EVENT) or line[len(_EVENT) :].strip() == _END:
            continue
        chunk = json.loads(line[len(_EVENT) :])
        if "error" in chunk:
            raise click.ClickException(shown(str(chunk["error"].get("message", chunk["error"]))))
        for choice in chunk["choices"]:
            yield choice["delta"].get("content") or ""


def _problem(response: HTTPResponse) -> str:
    """The error of an answer: the message in its JSON, or its status."""
    try:
        error = json.loads(response.read())["error"]
        return str(error["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {response.status} {response.reason}"


def shown(text: str) -> str:
    """A text without characters that control a terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)


def _next_line() -> str | None:
    """The next line of standard input; None at its end."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _warn(text: str) -> None:
    click.echo(f"Warning: {text}", err=True)
