"""Real MongoDB servers: one that a test may kill, freeze and make fail, and a replica set of three."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from mimic.testing.processes import SECONDS_TO_START, MongodProcess, find_mongod


class Mongod(MongodProcess):
    """A mongod that a test may kill, freeze and make fail."""

    def freeze(self) -> None:
        """Stop the process: connections are accepted, but nothing is answered."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        threads = list(Path(f"/proc/{self.process.pid}/task").iterdir())
        while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads):
            time.sleep(0.001)

    def thaw(self) -> None:
        """Continue the process."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def failing(self, failpoint: str) -> Iterator[None]:
        """Switch on one of the server's failpoints for a while."""
        with pymongo.MongoClient[dict[str, Any]](self.url, directConnection=True) as client:
            client.admin.command({"configureFailPoint": failpoint, "mode": "alwaysOn"})
            try:
                yield
            finally:
                client.admin.command({"configureFailPoint": failpoint, "mode": "off"})


class ReplicaSet:
    """Three mongod in one replica set, which elects another primary within a second."""

    def __init__(self, folder: Path) -> None:
        self.members = [self._member(folder / f"mongod-{number}") for number in range(3)]
        self.url = f"mongodb://{','.join(f'127.0.0.1:{one.port}' for one in self.members)}/"

    @staticmethod
    def _member(folder: Path) -> Mongod:
        folder.mkdir()
        return Mongod(folder, "--replSet", "mimic", "--oplogSize", "64", "--setParameter", "enableTestCommands=1")

    def start(self) -> None:
        """Start the members, and initiate the set."""
        for member in self.members:
            member.start()
        members = [{"_id": number, "host": f"127.0.0.1:{one.port}"} for number, one in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
        with pymongo.MongoClient[dict[str, Any]](self.members[0].url, directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": "mimic", "members": members, "settings": settings})
        self.heal()

    def heal(self) -> None:
        """Start killed members, wake stopped ones, and wait for all."""
        for member in self.members:
            member.thaw()
            if member.process and member.process.poll() is not None:
                member.start()
        until = time.monotonic() + SECONDS_TO_START
        while (states := sorted(self._states())) != ["PRIMARY", "SECONDARY", "SECONDARY"]:
            assert time.monotonic() < until, states
            time.sleep(0.1)

    def primary(self) -> Mongod:
        """The current primary, among the running members."""
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until:
            for member, state in zip(self.members, self._states(), strict=True):
                if state == "PRIMARY":
                    return member
            time.sleep(0.05)
        pytest.fail("no primary was elected")

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        """A client of the whole set."""
        return pymongo.MongoClient(self.url, replicaSet="mimic")

    def _states(self) -> list[str]:
        return [self._state(member) for member in self.members]

    @staticmethod
    def _state(member: Mongod) -> str:
        with pymongo.MongoClient[dict[str, Any]](
            member.url, directConnection=True, serverSelectionTimeoutMS=500, socketTimeoutMS=500
        ) as client:
            try:
                hello = client.admin.command("hello")
            except PyMongoError:
                return "AWAY"
        return "PRIMARY" if hello["isWritablePrimary"] else "SECONDARY" if hello["secondary"] else "STARTING"

    def kill(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()


def skip_without_mongod() -> None:
    """Skip tests if there is no mongod, but never in CI."""
    if find_mongod():
        return
    message = "no MongoDB: set MIMIC_TEST_MONGODB_URL, or put a mongod on the PATH"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
