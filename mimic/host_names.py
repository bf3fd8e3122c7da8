"""Host names of a setting: exact names, and all names below a domain. Pure."""

import re
from collections.abc import Sequence
from typing import Final

HOST_NAME: Final = r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"
"""The pattern of a host name in lower case, without a final dot."""
WILDCARDS: Final = ("*.", ".")
"""Prefixes of an entry that includes all names below a domain."""


class HostNames:
    """Names of hosts, as a setting lists them: ``mimic.example``, or ``*.ngrok.app`` for all names below one."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._names = frozenset(entry for entry in entries if not entry.startswith(WILDCARDS))
        self._ends = tuple(entry.removeprefix("*") for entry in entries if entry.startswith(WILDCARDS))

    def __contains__(self, name: str) -> bool:
        """Return True for a name in lower case, without a final dot, that the setting lists."""
        return name in self._names or name.endswith(self._ends)


def parse_host_names(text: str) -> tuple[str, ...]:
    """The entries of a list that is separated by commas. Raises ValueError."""
    entries = tuple(entry for part in text.split(",") if (entry := part.strip().lower().removesuffix(".")))
    for entry in entries:
        name = next((entry.removeprefix(mark) for mark in WILDCARDS if entry.startswith(mark)), entry)
        if not re.fullmatch(HOST_NAME, name):
            problem = "expected names without a scheme or port, like mimic.example, or *.ngrok.app for all subdomains"
            raise ValueError(f"{problem}, not {entry!r}")
    return entries
