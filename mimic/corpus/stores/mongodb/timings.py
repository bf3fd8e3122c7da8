"""Timings of the MongoDB store: of its readers, of a seeder's lease, and of replaced collections."""

from typing import Final

import msgspec

CATALOGUE_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 3.0


class Timings(msgspec.Struct, frozen=True):
    """Times of a store, in seconds. All stores of a database are to have the same lease."""

    catalogue_seconds: float = CATALOGUE_SECONDS
    """How long readers believe what they know of the corpus (1)."""
    lease_seconds: float = LEASE_SECONDS
    """How long a seeder that is not heard of keeps others out (10)."""
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    """The time between two renewals of a lease (2): several fit into a lease, so that one may fail."""
    grace_seconds: float = GRACE_SECONDS
    """How long a replaced collection is kept at least (3): longer than readers believe that it is the corpus."""


DEFAULT_TIMINGS: Final = Timings()
