"""The store fixture of tests about stores."""

import pytest

from tests.support.stores import STORES, empty_store

store = pytest.fixture(params=STORES)(empty_store)
"""An empty store, on each backend through each driver."""
