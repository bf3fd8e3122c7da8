"""Stores that the tests of the engine share."""

from collections.abc import AsyncIterator

import pytest

from mimic.corpus.stores.base import Store
from tests.support.corpora import SeededStores
from tests.support.stores import STORES, open_quickly


@pytest.fixture(params=[*STORES[:2], pytest.param(STORES[2], marks=pytest.mark.soak)])
def filled_store(request: pytest.FixtureRequest, seeded: SeededStores) -> Store:
    """A store of the module's DUMP, on each backend, not yet open. A running loop could not seed it."""
    backend, _, driver = request.param.partition("-")
    return open_quickly(seeded(backend, request.module.DUMP), "motor" if driver == "motor" else "pymongo")


@pytest.fixture
async def filled(filled_store: Store) -> AsyncIterator[Store]:
    """A store of the module's DUMP, on each backend, for tests that change nothing."""
    async with filled_store as store:
        yield store
