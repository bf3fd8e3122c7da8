"""Empty stores, on each backend through each driver, and stores with timings for tests."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from mimic.corpus.stores import Driver, open_store
from mimic.corpus.stores.base import Store
from mimic.corpus.stores.mongodb.store import MongoDBStore
from mimic.corpus.stores.mongodb.timings import Timings

STORES: Final = ("sqlite", "mongodb-pymongo", "mongodb-motor")
NO_GRACE: Final = Timings(grace_seconds=0)
"""Replaced collections are dropped at once: most tests have no other readers."""


def open_quickly(url: str, driver: Driver = "pymongo", timings: Timings = NO_GRACE) -> Store:
    """The store of a URL, with these timings if it is a MongoDB. SQLite waits for no reader."""
    return MongoDBStore(url, driver, timings) if url.startswith("mongodb") else open_store(url, driver)


def store_named(name: str, request: pytest.FixtureRequest, timings: Timings = NO_GRACE) -> Store:
    """A store of STORES by its name, empty at the beginning of a test."""
    backend, _, through = name.partition("-")
    driver: Driver = "motor" if through == "motor" else "pymongo"
    return open_quickly(request.getfixturevalue(f"{backend}_url"), driver, timings)


async def empty_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store: the one of STORES in the parameter."""
    async with store_named(request.param, request) as store:
        yield store
