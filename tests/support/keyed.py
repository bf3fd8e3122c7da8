"""Servers with two API keys, and with records and files of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import Server, SharedServers


@contextmanager
def keyed_server(serve: SharedServers, folder: Path, **settings: str) -> Iterator[Server]:
    """A server with the keys ``one`` and ``two``, and with its records in a folder."""
    own = {"MIMIC_RECORDS": f"sqlite:///{folder}/records.db", "MIMIC_API_KEYS": "one,two"}
    with Server(folder, MIMIC_STORE=serve.store(), **own, **settings) as server:
        yield server
