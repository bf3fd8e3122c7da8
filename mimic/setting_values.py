"""Parsers of the texts of settings. Each raises ValueError with the problem, without the name of the setting."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec

from mimic.engine.matching.parts import HOLE, PromptTemplate
from mimic.engine.moderation import parse_words
from mimic.recordings.redaction import hook_of
from mimic.stored.webhook_targets import TargetURL


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers between two bounds, both included."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"expected a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return parse


def one_of(*values: str) -> Callable[[str], str]:
    """Return a parser that accepts some words only."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"expected one of {', '.join(values)}, not {text!r}")
        return text

    return parse


def factor(text: str) -> float:
    """Parse a number from 0 to 999."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?", text, re.ASCII):
        raise ValueError(f"expected a number from 0 to 999, not {text!r}")
    return float(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    if not re.fullmatch(r"0(\.\d{1,6})?|1(\.0{1,6})?", text, re.ASCII):
        raise ValueError(f"expected a number from 0 to 1, not {text!r}")
    return float(text)


def switch(text: str) -> bool:
    """Parse on or off."""
    states = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    if text.lower() not in states:
        raise ValueError(f"expected on or off, not {text!r}")
    return states[text.lower()]


def traces(text: str) -> bool:
    """Parse on or off. On needs the packages of the extra ``otel``."""
    if not switch(text):
        return False
    with suppress(ModuleNotFoundError):  # a parent package is missing
        if find_spec("opentelemetry.exporter.otlp.proto.http"):
            return True
    raise ValueError("the packages for traces are not installed: pip install 'mimic-chat[otel]'")


def keys(text: str) -> tuple[str, ...]:
    """Parse keys separated by commas."""
    keys = tuple(key for part in text.split(",") if (key := part.strip()))
    if not keys:  # the variable is set, so the server must not be open to all
        raise ValueError("expected keys separated by commas, but found none")
    return keys


def templates(text: str) -> tuple[str, ...]:
    """Parse a template, a JSON array of templates, or the path of a file with either."""
    if not text.startswith("[") and HOLE not in text:
        try:
            text = Path(text).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ValueError(f"expected templates with {HOLE}, or a file with them, not {text!r}: {exc}") from None
    try:
        templates = msgspec.json.decode(text, type=tuple[str, ...]) if text.startswith("[") else (text,)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"expected a JSON array of templates: {exc}") from None
    for template in templates:
        PromptTemplate.parse(template)
    return templates


def moderation_words(text: str) -> Mapping[str, Sequence[str]]:
    """Parse categories with their words, or the path of a file with them."""
    if ":" not in text:
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ValueError(
                f"expected words like 'violence: kill', or a file with them, not {text!r}: {exc}"
            ) from None
    return parse_words(text)


def assistants(text: str) -> Mapping[str, object]:
    """Parse the path of a JSON file with assistants by their ids."""
    from mimic.wire.openai.assistants.configured import parse_assistants  # noqa: PLC0415 - few servers have assistants

    try:
        return parse_assistants(Path(text).read_bytes())
    except OSError as exc:
        raise ValueError(f"expected a file with assistants, not {text!r}: {exc}") from None


def hook(text: str) -> str:
    """Check that the function at a dotted name can be imported, and return the name."""
    hook_of(text)
    return text


def origins(text: str) -> tuple[str, ...]:
    """Parse origins of web pages separated by commas."""
    origins = tuple(origin for part in text.split(",") if (origin := part.strip()))
    for origin in origins:
        if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+", origin):
            raise ValueError(f"expected origins like https://chat.example:8443, or *, not {origin!r}")
    return origins


def urls(text: str) -> tuple[str, ...]:
    """Parse URLs of webhooks separated by commas."""
    urls = tuple(url for part in text.split(",") if (url := part.strip()))
    for url in urls:
        try:
            TargetURL.parse(url)
        except ValueError as exc:  # without the URL, which may hold a token
            raise ValueError(f"expected URLs separated by commas; {exc}") from None
    return urls
