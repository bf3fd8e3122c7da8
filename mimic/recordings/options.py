"""The options of recordings and of the upstream. This module imports little, since settings import it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

RECORDED: Final = "recorded"
"""The value of MIMIC_MATCH that leaves the corpus out."""
UPSTREAM: Final = "upstream"
"""The value of MIMIC_ON_MISS that asks the upstream. After a comma follows the value while it is paused."""
OF_REQUEST: Final = "request"
"""The value of ``UpstreamOptions.key`` that passes the key of each request on."""
IN_RECORDS: Final = "records"
"""The value of MIMIC_RECORDINGS for recordings in the records."""

Record: TypeAlias = Literal["off", "new", "all"]
"""The requests whose upstream answers are recorded: none, those that nothing else answers, or all of them."""
Order: TypeAlias = Literal["newest", "turn"]
"""The choice among several recordings of a request: the newest one, or one after the other."""

PATTERNS: Final[Mapping[str, str]] = {
    "dates": r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b",
    "times": r"\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?\b",
    "uuids": r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",
    "numbers": r"\b\d+(?:\.\d+)?\b",
}
"""Parts of texts that can be ignored, by name."""
FIELDS: Final = frozenset(
    {"model", "tools", "tool_choice", "parallel_tool_calls", "format", "sampling", "seed", "limits", "logprobs"}
    | {"system", "names"}
)
"""Fields that can be ignored. ``system`` are the messages of the system and of the developer."""
LOCAL_SUFFIXES: Final = (".local", ".internal", ".localhost", ".lan")
"""Endings of names that only a local network has."""


class UpstreamOptions(msgspec.Struct, frozen=True):
    """The URL of the upstream, empty without one, and its key: a key, ``request``, or empty for none."""

    url: str = ""
    key: str = ""


class IgnoreRules(msgspec.Struct, frozen=True):
    """Fields and parts of texts that count as equal in all requests.

    ``patterns`` are pairs of a regular expression and the text in its place.
    """

    fields: frozenset[str] = frozenset()
    patterns: Sequence[tuple[str, str]] = ()

    @classmethod
    def parse(cls, text: str) -> "IgnoreRules":
        """Parse names of fields, names of patterns, and expressions between slashes, separated by commas.

        Raises ValueError.
        """
        fields, patterns = set(), []
        for item in _split(text):
            if len(item) > 2 and item.startswith("/") and item.endswith("/"):  # noqa: PLR2004 - both slashes
                patterns.append((_checked(item[1:-1]), "<ignored>"))
            elif item in PATTERNS:
                patterns.append((PATTERNS[item], f"<{item}>"))
            elif item in FIELDS:
                fields.add(item)
            else:
                known = ", ".join([*sorted(FIELDS), *PATTERNS])
                raise ValueError(f"expected /an expression/ or one of {known}, not {item!r}")
        return cls(frozenset(fields), tuple(patterns))

    def clean(self, text: str) -> str:
        """The text with a placeholder for each ignored part."""
        for pattern, placeholder in self.patterns:
            text = re.sub(pattern, placeholder, text)
        return text


NO_RULES: Final = IgnoreRules()


class RelayOptions(msgspec.Struct, frozen=True):
    """The rules of recordings. ``only_recorded`` leaves the corpus out, and ``errors`` records errors as well."""

    record: Record = "off"
    only_recorded: bool = False
    order: Order = "newest"
    errors: bool = False
    rules: IgnoreRules = NO_RULES


def parse_url(text: str) -> str:
    """Check the URL of an upstream: https, or http to this machine or a private network. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected a URL like https://api.openai.com/v1, not {text!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("expected a URL without credentials, query and fragment; MIMIC_UPSTREAM_KEY has the key")
    if parts.scheme == "http" and not _is_local(parts.hostname):
        raise ValueError(f"http is accepted for local and private hosts only; use https for {parts.hostname!r}")
    return text


def _is_local(host: str) -> bool:
    """True for an address of this machine or of a private network, and for a name that only a local network has."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(LOCAL_SUFFIXES)
    return address.is_loopback or address.is_private


def _split(text: str) -> Iterator[str]:
    """The items between commas. A comma within slashes belongs to its expression."""
    for match in re.finditer(r"\s*(/(?:[^/\\]|\\.)+/|[^,]+?)\s*(?:,|$)", text):
        yield match[1]


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"/{pattern}/ is no regular expression: {exc}") from None
    return pattern
