"""Size limits, and their checks."""

from collections.abc import Sized
from typing import Final

LARGEST_HEAD: Final = 64 * 1024
"""Maximum bytes in a row without a piece of a body; the last read may exceed it."""
MOST_HEADERS: Final = 100
LEAST_RATE: Final = 10_000
"""Minimum upload rate: every 10,000 bytes of a body extend the deadline by one second."""
MOST_UNSENT: Final = 128 * 1024
"""Maximum unsent bytes in the kernel's buffer. With megabytes, a slow client could not be detected."""
MOST_IGNORED: Final = 100_000_000
"""Maximum bytes of a client after its last answer. A client that is cut off while sending may lose the answer."""
MOST_LINGERING: Final = 1000
"""Maximum lingering connections of a process, on which data after the last answer are discarded."""


def is_head_too_large(received: int) -> bool:
    """Return True if the bytes without a piece of a body exceed the limit of a head."""
    return received > LARGEST_HEAD


def is_url_too_large(url: bytes) -> bool:
    """Return True if a URL alone exceeds the limit of a head."""
    return len(url) > LARGEST_HEAD


def has_too_many_headers(headers: Sized) -> bool:
    """Return True if a request has too many headers."""
    return len(headers) > MOST_HEADERS


def is_too_much_to_ignore(received: int) -> bool:
    """Return True if a client has sent more than the server discards silently."""
    return received > MOST_IGNORED


def seconds_for_body(size: int) -> float:
    """Return the extension of the deadline for a body, in seconds; ``size`` is in bytes."""
    return size / LEAST_RATE
