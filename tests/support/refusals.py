"""Errors of a MongoDB URL or server that refuses readers and seeders, without the password."""

import asyncio
from collections.abc import Mapping
from typing import Final

from mimic.corpus.stores import Driver, open_store
from mimic.errors import SettingError, StoreUnavailable

PASSWORD: Final = "s3cr3t/w0rd"
ENCODED: Final = "s3cr3t%2Fw0rd"
QUICK: Final = "serverSelectionTimeoutMS=300"


def refusals(url: str, driver: Driver = "pymongo") -> Mapping[str, str]:
    """The errors of reading from a store and of seeding it; asserts that no password is in them."""

    async def read() -> None:
        async with open_store(url, driver) as store:
            await store.seeded()

    async def seed() -> None:
        async with open_store(url, driver) as store, store.replace(["v2"]):
            pass

    found = {}
    for name, attempt in (("read", read), ("seed", seed)):
        try:
            asyncio.run(attempt())
        except (StoreUnavailable, SettingError) as exc:
            found[name] = str(exc)
            told_outside = exc.public if isinstance(exc, StoreUnavailable) else ""
            for text in (str(exc), told_outside):
                assert not any(part in text for part in (PASSWORD, ENCODED, "s3cr3t", "w0rd")), text
            assert "127.0.0.1" not in told_outside
    return found
