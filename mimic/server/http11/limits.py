"""Limits on sizes, and checks whether something is within them."""

from collections.abc import Sized
from typing import Final

LARGEST_HEAD: Final = 64 * 1024
"""Bytes that may come in a row without a piece of a body among them, and some more in the same read."""
MOST_HEADERS: Final = 100
LEAST_RATE: Final = 10_000
"""Minimum upload rate: every 10,000 bytes of a body extend the deadline by one second."""
MOST_UNSENT: Final = 128 * 1024
"""Bytes that the kernel holds for a client. Behind megabytes nobody sees how slowly the client takes them."""
MOST_IGNORED: Final = 100_000_000
"""Bytes that a client may go on to send behind its last answer. A client that is cut off while sending may lose it."""
MOST_LINGERING: Final = 1000
"""Connections of a process on which what comes behind the last answer is thrown away."""


def is_head_too_large(received: int) -> bool:
    """Whether so many bytes without a piece of a body are more than a head may have."""
    return received > LARGEST_HEAD


def is_url_too_large(url: bytes) -> bool:
    """Whether a URL alone is larger than a head may be."""
    return len(url) > LARGEST_HEAD


def has_too_many_headers(headers: Sized) -> bool:
    """Whether a request has more headers than it may."""
    return len(headers) > MOST_HEADERS


def is_too_much_to_ignore(received: int) -> bool:
    """Whether a client has sent more than is thrown away silently."""
    return received > MOST_IGNORED


def seconds_for_body(size: int) -> float:
    """Seconds that a client gets in addition for so many bytes of a body."""
    return size / LEAST_RATE
