"""Empty stores, on each backend through each driver."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from mimic.corpus.stores import Driver, open_store
from mimic.corpus.stores.base import Store

STORES: Final = ("sqlite", "mongodb-pymongo", "mongodb-motor")


async def empty_store(request: pytest.FixtureRequest, _no_grace: None) -> AsyncIterator[Store]:
    """An empty store: the one of STORES that is the parameter."""
    backend, _, name = request.param.partition("-")
    driver: Driver = "motor" if name == "motor" else "pymongo"
    async with open_store(request.getfixturevalue(f"{backend}_url"), driver) as store:
        yield store
