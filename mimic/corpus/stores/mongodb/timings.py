"""Timings of the MongoDB store: of its readers, of a seeder's lease, and of replaced collections."""

from typing import Final

import msgspec

CATALOGUE_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 3.0


class Timings(msgspec.Struct, frozen=True):
    """Timings of a store, in seconds. All stores of a database must have the same lease."""

    catalogue_seconds: float = CATALOGUE_SECONDS
    """Time that readers cache the catalogue (1)."""
    lease_seconds: float = LEASE_SECONDS
    """Time after the last heartbeat during which a seeder excludes others (10)."""
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    """Time between two renewals of a lease (2). Several renewals fit into a lease, so that one may fail."""
    grace_seconds: float = GRACE_SECONDS
    """Least time that a replaced collection is kept (3). Longer than readers cache the catalogue."""


DEFAULT_TIMINGS: Final = Timings()
