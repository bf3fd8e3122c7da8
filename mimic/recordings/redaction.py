"""Removal of secrets from texts before they are recorded."""

import re
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Final, NamedTuple, TypeAlias

Hook: TypeAlias = Callable[[str], str]
"""A function of the user that changes each text before it is recorded."""

REMOVED: Final = "<removed>"
SHORTEST_SECRET: Final = 8
"""Characters of the shortest known secret to look for; shorter ones would match in ordinary words."""


class SecretForm(NamedTuple):
    """A form of secrets: a regular expression, and texts of which one is in every match.

    A search for the texts takes a hundredth of the time of the expression.
    """

    marks: Sequence[str]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, pattern: str, *marks: str) -> "SecretForm":
        """The form with a regular expression that is not compiled."""
        return cls(marks, re.compile(pattern))

    def clean(self, text: str) -> str:
        """The text without secrets of this form."""
        return self.pattern.sub(REMOVED, text) if any(mark in text for mark in self.marks) else text


FORMS: Final = (
    SecretForm.of(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}", "sk-", "pk-", "rk-"),  # OpenAI, Anthropic, Stripe
    SecretForm.of(r"\bsk_(?:live|test)_[A-Za-z0-9]{16,}", "sk_live_", "sk_test_"),
    SecretForm.of(r"\bgh[pousr]_[A-Za-z0-9]{20,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),  # GitHub
    SecretForm.of(r"\bgithub_pat_[A-Za-z0-9_]{20,}", "github_pat_"),
    SecretForm.of(r"\bglpat-[A-Za-z0-9_-]{16,}", "glpat-"),  # GitLab
    SecretForm.of(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", "xox"),  # Slack
    SecretForm.of(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", "AKIA", "ASIA"),  # AWS
    SecretForm.of(r"\bAIza[A-Za-z0-9_-]{30,}", "AIza"),  # Google
    SecretForm.of(r"\bhf_[A-Za-z0-9]{20,}", "hf_"),  # Hugging Face
    SecretForm.of(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}", "eyJ"),  # JSON Web Tokens
    SecretForm.of(r"\b[Bb]earer +[A-Za-z0-9._~+/=-]{16,}", "earer "),
    SecretForm.of(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----", "-----BEGIN "),
)
"""Forms of secrets that services give out."""


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
        for form in FORMS:
            text = form.clean(text)
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
