"""Removal of secrets from texts before they are recorded."""

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Final, TypeAlias

Hook: TypeAlias = Callable[[str], str]
"""A function of the user that changes each text before it is recorded."""

REMOVED: Final = "<removed>"
SHORTEST_SECRET: Final = 8
"""Characters of the shortest known secret to look for; shorter ones would match in ordinary words."""
PATTERNS: Final = (
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic, Stripe
    r"\bsk_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bglpat-[A-Za-z0-9_-]{16,}",  # GitLab
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"\bAIza[A-Za-z0-9_-]{30,}",  # Google
    r"\bhf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # JSON Web Tokens
    r"\b[Bb]earer +[A-Za-z0-9._~+/=-]{16,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
)
"""Forms of secrets that services give out."""
_PATTERN: Final = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS))


class Redactor:
    """Removes the known forms of secrets, given secrets, and all that a hook removes."""

    def __init__(self, secrets: Iterable[str] = (), hook: Hook | None = None) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self._hook = hook

    def knowing(self, *secrets: str) -> "Redactor":
        """The same redactor with more secrets, such as the key of a request."""
        return Redactor((*self._secrets, *secrets), self._hook)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        text = _PATTERN.sub(REMOVED, text)
        return self._hook(text) if self._hook else text


def hook_of(name: str) -> Hook:
    """The function with a name like ``package.module:function``. Raises ValueError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function) if function else None
    except (ImportError, AttributeError, ValueError) as exc:
        raise ValueError(f"{name!r} cannot be imported: {exc}") from None
    if not callable(found):
        raise ValueError(f"expected a function as package.module:function, not {name!r}")  # noqa: TRY004 - for settings
    hook: Hook = found
    return hook
