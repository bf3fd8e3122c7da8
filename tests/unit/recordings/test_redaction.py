"""Secrets do not reach recordings."""

import pytest

from mimic.recordings.redaction import REMOVED, Redactor, hook_of

SECRETS = [
    "sk-proj-abcdefghijklmnopqrstuvwx",
    "sk-ant-api03-abcdefghijklmnop_-qrst",
    "sk_live_abcdefghijklmnopqrst",
    "ghp_abcdefghijklmnopqrstuvwxyz0123",
    "github_pat_abcdefghijklmnopqrstuvwxyz",
    "glpat-abcdefghijklmnopqrst",
    "xoxb-1234567890-abcdefghij",
    "AKIAABCDEFGHIJKLMNOP",
    "AIzaabcdefghijklmnopqrstuvwxyz0123456789",
    "hf_abcdefghijklmnopqrstuvwx",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "Bearer abcdefghijklmnopqrst",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_forms_of_secrets_are_removed(secret: str) -> None:
    """The text around a secret stays."""
    assert Redactor().clean(f"The key is {secret}, he said.") == f"The key is {REMOVED}, he said."


@pytest.mark.parametrize(
    "text", ["Ask for sk-8 skis.", "The bearer of news", "desk-top-computers-are-not-secret", "a 2026-11-28 date"]
)
def test_ordinary_texts_stay(text: str) -> None:
    """Words that only look a little like secrets are no secrets."""
    assert Redactor(["key"]).clean(text) == text


def test_given_secrets_are_removed() -> None:
    """The keys of the settings and of the request, wherever they occur."""
    redactor = Redactor(["correct horse"]).knowing("battery staple")
    assert redactor.clean("correct horse, battery staple") == f"{REMOVED}, {REMOVED}"


def upper(text: str) -> str:
    """A hook."""
    return text.upper()


def test_a_hook_comes_last() -> None:
    """The hook sees texts without known secrets."""
    hook = hook_of(f"{__name__}:upper")
    assert Redactor(["correct horse"], hook).clean("the correct horse") == f"THE {REMOVED.upper()}"


@pytest.mark.parametrize("name", ["nothing", "no.such.module:f", f"{__name__}:absent", f"{__name__}:SECRETS"])
def test_a_hook_that_is_none(name: str) -> None:
    """The error names it."""
    with pytest.raises(ValueError, match=r"cannot be imported|expected a function"):
        hook_of(name)
