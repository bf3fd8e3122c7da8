"""Signing secrets of webhooks. This module imports little, since settings import it. Pure."""

import base64
import re
import secrets
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - not a secret
KEY_BYTES: Final = 32
LEAST_KEY_BYTES: Final = 24
MOST_KEY_BYTES: Final = 64
"""Bounds of the key in a secret, as Standard Webhooks states them."""
SHOWN_OF_SECRET: Final = 4


def new_secret() -> str:
    """A new signing secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_secret(text: str) -> str:
    """Check a signing secret. Raises ValueError."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not text.startswith(SECRET_PREFIX) or not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise ValueError(
            f"expected {SECRET_PREFIX} and {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes in base64, "
            f'as from: echo "{SECRET_PREFIX}$(openssl rand -base64 {KEY_BYTES})"'
        )
    return text


def hint_of(secret: str) -> str:
    """The end of a secret, to recognize it by."""
    return f"{SECRET_PREFIX}...{re.sub('=+$', '', secret)[-SHOWN_OF_SECRET:]}"
