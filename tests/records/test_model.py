"""The contract of records against a plain model in memory: any sequence of calls gives the same results.

Two objects stand for two processes. On SQLite the clock is the model's, and is set forward and back. On MongoDB no time
passes: leases and lives are either over at once, or far away.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar
from uuid import uuid4

import msgspec
import pymongo
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mimic.errors import LeaseLost, RecordChanged, RecordsFull, UnknownCursor
from mimic.records.base import OVERHEAD, Change, Claim, Draft, Lease, Order, Record, RecordOptions, Records
from mimic.records.sqlite.file import RecordsFile
from mimic.records.sqlite.records import SQLiteRecords
from tests.support.mongod import ReplicaSet
from tests.support.records import BACKENDS, open_now

T = TypeVar("T")

MOST = 6
"""The bound of records, small enough to be reached."""
MOST_BYTES: Final = 5 * OVERHEAD + 250
"""The bound of bytes on SQLite, which counts them exactly."""
KINDS = st.sampled_from(["a", "b"])
IDS = st.sampled_from([str(number) for number in range(5)])
OWNERS = st.sampled_from(["", "me"])
ANY_OWNER = st.sampled_from(["", "me", None])
PARENTS = st.sampled_from(["", "p"])
DATA = st.sampled_from([b"", b"x", b"yz", bytes(100)])
DUE = st.sampled_from([None, 0.0, 1000.0])
LIVES = st.sampled_from([1000.0, None, -1.0])
PROCESS = st.sampled_from([0, 1])


class Stored(msgspec.Struct):
    """A record of the model. ``number`` counts the records that were ever made."""

    draft: Draft
    number: int
    position: int
    created: float
    expires: float | None
    due: float | None
    data: bytes
    revision: int = 1
    generation: int = 0
    lease: tuple[int, int, int] | None = None
    """Process, generation, and number of the record."""
    is_lease_over: bool = False

    @property
    def size(self) -> int:
        """The bytes that the record counts for the bounds."""
        return len(self.data) + OVERHEAD


class Model:
    """Records in a dictionary. Each call is a millisecond after the one before."""

    def __init__(self, options: RecordOptions) -> None:
        self.options = options
        self.records: dict[tuple[str, str], Stored] = {}
        self.made = 0
        self.now = 1_000_000_000.0

    def at(self, seconds: float | None) -> float | None:
        """The time some seconds from now."""
        return None if seconds is None else self.now + seconds

    def is_expired(self, one: Stored) -> bool:
        """True if a record is as if absent."""
        return one.expires is not None and one.expires <= self.now

    def live(self, kind: str, record_id: str, owner: str | None = None) -> Stored | None:
        """The record, unless it is expired or of another owner."""
        found = self.records.get((kind, record_id))
        if found is None or self.is_expired(found) or owner not in {None, found.draft.owner}:
            return None
        return found

    def put(self, draft: Draft) -> Stored:
        """Create a record once, within the bounds."""
        if found := self.live(draft.kind, draft.id):
            return found
        self.records.pop((draft.kind, draft.id), None)
        if not self.make_room(1, draft.size):
            raise RecordsFull
        self.made += 1
        stored = Stored(
            draft,
            self.made,
            draft.position if draft.position is not None else 1_000_000 + self.made,
            self.now,
            self.at(self.options.seconds_of(draft.lives)),
            self.at(draft.due),
            draft.data,
        )
        self.records[draft.kind, draft.id] = stored
        return stored

    def has_room(self, records: int, size: int) -> bool:
        """True if further records and bytes are within the bounds."""
        taken = sum(one.size for one in self.records.values())
        return self.options.have_room(len(self.records) + records, taken + size)

    def make_room(self, records: int, size: int, kept: Stored | None = None) -> bool:
        """Remove expired records, then the oldest finished ones. Returns False if the bounds have no room."""
        if not self.has_room(records, size):
            self.remove_expired(kept)
        while not self.has_room(records, size):
            finished = [one for one in self.records.values() if one.due is None and one is not kept]
            if not finished:
                return False
            oldest = min(finished, key=lambda one: (one.created, one.number))
            del self.records[oldest.draft.kind, oldest.draft.id]
        return True

    def remove_expired(self, kept: Stored | None = None) -> int:
        """Remove expired records. Returns their number."""
        expired = [key for key, one in self.records.items() if self.is_expired(one) and one is not kept]
        for key in expired:
            del self.records[key]
        return len(expired)

    def change(self, found: Stored, value: bytes, due: Any, lives: Any) -> None:
        """Change a record."""
        if len(value) > len(found.data):
            self.make_room(0, len(value) - len(found.data), found)
        found.data, found.revision = value, found.revision + 1
        if due is not msgspec.UNSET:
            found.due = self.at(due)
            found.lease, found.is_lease_over = None, False
        if lives is not msgspec.UNSET:
            found.expires = self.at(lives)

    def holds(self, found: Stored | None, lease: tuple[int, int, int]) -> bool:
        """True if a lease was neither taken over nor ended."""
        return found is not None and found.lease == lease

    def claimable(self, kinds: list[str]) -> list[Stored]:
        """Jobs that are due and free, the oldest first."""
        jobs = [
            (one.due, one.number, key)
            for key, one in self.records.items()
            if key[0] in kinds
            and not self.is_expired(one)
            and one.due is not None
            and one.due <= self.now
            and (one.lease is None or one.is_lease_over)
        ]
        return [self.records[key] for _, _, key in sorted(jobs)]


class RecordsMachine(RuleBasedStateMachine):
    """Calls on real records and on the model."""

    url: Callable[[], str]
    is_exact: bool
    """True on SQLite: the clock is the model's, bytes are counted exactly, and expired records go when they must."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.options = RecordOptions(most=MOST, most_bytes=MOST_BYTES) if self.is_exact else RecordOptions(most=MOST)
        self.model = Model(self.options)
        self.turns = 0
        self.read: list[tuple[Record, int]] = []
        self.leases: list[tuple[Lease, tuple[int, int, int]]] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call. Each call is in a millisecond of its own, which is MongoDB's resolution."""

        async def apart() -> T:
            try:
                return await call
            finally:
                if not self.is_exact:
                    await asyncio.sleep(0.002)

        try:
            return self.loop.run_until_complete(apart())
        finally:
            self.model.now += 0.001

    def open_one(self) -> Records:
        """The records of one process."""
        if self.is_exact:
            path = Path(self.place.removeprefix("sqlite:///"))
            return SQLiteRecords(RecordsFile(path), self.options, now=lambda: self.model.now)
        return open_now(self.place, self.options)

    @initialize()
    def open(self) -> None:
        """Open the records twice."""
        self.place = type(self).url()
        self.processes = [self.open_one() for _ in range(2)]

    def teardown(self) -> None:
        """Close the records."""
        for records in getattr(self, "processes", ()):
            self.loop.run_until_complete(records.__aexit__(None, None, None))
        self.loop.close()

    @precondition(lambda self: self.is_exact)
    @rule(seconds=st.sampled_from([-2000.0, 500.0, 2000.0]))
    def turn_the_clock(self, seconds: float) -> None:
        """Set the clock forward or back: records expire, and live again unless they were removed."""
        self.turns += 1
        self.model.now += seconds + self.turns / 1e4  # no two records of one id have the same time

    @rule(process=PROCESS)
    def restart(self, process: int) -> None:
        """A process ends, which gives its leases back, and another one begins."""
        self.run(self.processes[process].__aexit__(None, None, None))
        self.processes[process] = self.open_one()
        for one in self.model.records.values():
            if one.lease and one.lease[0] == process:
                one.lease = None

    @rule(
        process=PROCESS,
        kind=KINDS,
        record_id=IDS,
        owner=OWNERS,
        parent=PARENTS,
        position=st.sampled_from([None, 1, 2]),
        data=DATA,
        due=DUE,
        lives=LIVES,
    )
    def put(self, process: int, kind: str, record_id: str, **values: Any) -> None:
        """Create a record."""
        draft = Draft(
            kind=kind, id=record_id, state="", **{name.removesuffix("_"): one for name, one in values.items()}
        )
        try:
            expected = self.model.put(draft)
        except RecordsFull:
            with pytest.raises(RecordsFull):
                self.run(self.processes[process].put(draft))
        else:
            self.see(self.run(self.processes[process].put(draft)), expected)

    @rule(process=PROCESS, kind=KINDS, ids=st.lists(IDS, min_size=2, max_size=3, unique=True), due=DUE, lives=LIVES)
    def put_all(self, process: int, kind: str, ids: list[str], due: float | None, lives: float | None) -> None:
        """Create several records, if there is room."""
        drafts = [Draft(kind=kind, id=one, due=due, lives=lives) for one in ids]
        if self.model.has_room(len(drafts), sum(draft.size for draft in drafts)):
            expected = [self.model.put(draft) for draft in drafts]
            for record, one in zip(self.run(self.processes[process].put_all(drafts)), expected, strict=True):
                self.see(record, one)

    def see(self, record: Record, expected: Stored) -> None:
        """Compare a record with the model's, and keep it for later updates."""
        assert_same(record, expected)
        self.read.append((record, expected.number))

    @rule(process=PROCESS, kind=KINDS, record_id=IDS, owner=ANY_OWNER)
    def get(self, process: int, kind: str, record_id: str, owner: str | None) -> None:
        """Read a record."""
        expected = self.model.live(kind, record_id, owner)
        record = self.run(self.processes[process].get(kind, record_id, owner))
        assert (record is None) == (expected is None)
        if record and expected:
            self.see(record, expected)

    @rule(process=PROCESS, kind=KINDS, ids=st.lists(IDS, max_size=5), owner=ANY_OWNER)
    def get_all(self, process: int, kind: str, ids: list[str], owner: str | None) -> None:
        """Read several records."""
        live = [one for one in dict.fromkeys(ids) if self.model.live(kind, one, owner)]
        found = self.run(self.processes[process].get_all(kind, ids, owner))
        assert [record.id for record in found] == live

    @rule(process=PROCESS, kind=st.one_of(st.none(), KINDS), limit=st.integers(1, 4))
    def browse(self, process: int, kind: str | None, limit: int) -> None:
        """Read the newest records."""
        live = [
            (one.created, one.number, *key)
            for key, one in self.model.records.items()
            if kind in {None, key[0]} and not self.model.is_expired(one)
        ]
        if len({created for created, *_ in live}) < len(live):  # MongoDB orders those of one call by their positions
            return
        found = self.run(self.processes[process].browse(kind, limit))
        assert [(one.kind, one.id) for one in found] == [(*key,) for _, _, *key in sorted(live, reverse=True)][:limit]

    @rule(
        process=PROCESS,
        kind=KINDS,
        owner=OWNERS,
        parent=PARENTS,
        order=st.sampled_from(["asc", "desc"]),
        limit=st.integers(1, 4),
        after=st.one_of(st.none(), IDS),
        before=st.one_of(st.none(), IDS),
    )
    def page(
        self,
        process: int,
        kind: str,
        owner: str,
        parent: str,
        order: Order,
        limit: int,
        after: str | None,
        before: str | None,
    ) -> None:
        """Read a page of a list."""
        call = self.processes[process].page(kind, owner, parent, after=after, before=before, order=order, limit=limit)
        listed = [
            (one.position, key[1])
            for key, one in self.model.records.items()
            if (key[0], one.draft.owner, one.draft.parent) == (kind, owner, parent) and not self.model.is_expired(one)
        ]
        names = [name for _, name in sorted(listed, reverse=order == "desc")]
        if {after, before} - {None, *names}:
            with pytest.raises(UnknownCursor):
                self.run(call)
            return
        rest = names[names.index(after) + 1 if after else 0 : names.index(before) if before else None]
        if after and before and names.index(before) <= names.index(after):
            rest = []
        page = self.run(call)
        expected = rest[-limit:] if before and not after else rest[:limit]
        assert ([record.id for record in page.records], page.has_more) == (expected, len(rest) > limit)

    @precondition(lambda self: self.read)
    @rule(
        process=PROCESS,
        data=st.data(),
        value=DATA,
        due=st.sampled_from([msgspec.UNSET, None, 0.0, 1000.0]),
        lives=st.sampled_from([msgspec.UNSET, 1000.0, None, -1.0]),
        with_lease=st.booleans(),
    )
    def update(self, process: int, data: st.DataObject, value: bytes, with_lease: bool, **changes: Any) -> None:
        """Write to a record that was read at any time, with any lease of it or without."""
        record, number = data.draw(st.sampled_from(self.read[-10:]))
        mine = [one for one in self.leases if (one[0].kind, one[0].id) == (record.kind, record.id)]
        lease, modelled = data.draw(st.sampled_from(mine)) if with_lease and mine else (None, None)
        call = self.processes[process].update(record, Change(data=value, **changes), lease)
        found = self.model.live(record.kind, record.id)
        if modelled and not self.model.holds(found, modelled):
            with pytest.raises(LeaseLost):
                self.run(call)
        elif found is None or (found.number, found.revision) != (number, record.revision):
            with pytest.raises(RecordChanged):
                self.run(call)
        else:
            self.model.change(found, value, **changes)
            self.see(self.run(call), found)

    @rule(process=PROCESS, kinds=st.sampled_from([["a"], ["b"], ["a", "b"]]), seconds=st.sampled_from([0.0, 1000.0]))
    def claim(self, process: int, kinds: list[str], seconds: float) -> None:
        """Claim the oldest job."""
        jobs = self.model.claimable(kinds)
        claim: Claim | None = self.run(self.processes[process].claim(kinds, seconds))
        assert (claim is None) == (not jobs)
        if claim:
            due = [one for one in jobs if one.due == jobs[0].due]  # those of one call: on MongoDB in any order
            job = jobs[0] if self.is_exact else next(one for one in due if one.draft.id == claim.record.id)
            job.generation += 1
            job.lease, job.is_lease_over = (process, job.generation, job.number), seconds == 0
            self.see(claim.record, job)
            assert claim.lease.generation == job.generation
            self.leases.append((claim.lease, job.lease))

    @precondition(lambda self: self.leases)
    @rule(process=PROCESS, data=st.data(), seconds=st.sampled_from([0.0, 1000.0]))
    def renew(self, process: int, data: st.DataObject, seconds: float) -> None:
        """Extend a lease, or end it now."""
        lease, modelled = data.draw(st.sampled_from(self.leases[-5:]))
        found = self.model.live(lease.kind, lease.id)
        if found and self.model.holds(found, modelled):
            self.run(self.processes[process].renew(lease, seconds))
            found.is_lease_over = seconds == 0
        else:
            with pytest.raises(LeaseLost):
                self.run(self.processes[process].renew(lease, seconds))

    @precondition(lambda self: self.leases)
    @rule(process=PROCESS, data=st.data())
    def release(self, process: int, data: st.DataObject) -> None:
        """Give a job back."""
        lease, modelled = data.draw(st.sampled_from(self.leases[-5:]))
        found = self.model.live(lease.kind, lease.id)
        if found and self.model.holds(found, modelled):
            found.lease = None
        self.run(self.processes[process].release(lease))

    @rule(process=PROCESS, kind=KINDS, record_id=IDS, owner=ANY_OWNER)
    def delete(self, process: int, kind: str, record_id: str, owner: str | None) -> None:
        """Delete a record."""
        found = self.model.live(kind, record_id, owner)
        assert self.run(self.processes[process].delete(kind, record_id, owner)) == (found is not None)
        if found:
            self.forget(kind, record_id)

    @rule(process=PROCESS, kind=KINDS, parent=PARENTS, owner=ANY_OWNER)
    def delete_under(self, process: int, kind: str, parent: str, owner: str | None) -> None:
        """Delete the records of a parent."""
        found = [
            key
            for key, one in self.model.records.items()
            if (key[0], one.draft.parent) == (kind, parent) and self.model.live(*key, owner)
        ]
        assert self.run(self.processes[process].delete_under(kind, parent, owner)) == len(found)
        for key in found:
            self.forget(*key)

    def forget(self, kind: str, record_id: str) -> None:
        """Remove a record of the model."""
        del self.model.records[kind, record_id]

    @rule(process=PROCESS)
    def sweep(self, process: int) -> None:
        """Remove expired records. MongoDB may have removed some of them earlier."""
        number = self.model.remove_expired()
        removed = self.run(self.processes[process].sweep())
        assert removed == number if self.is_exact else removed <= number

    @invariant()
    def sizes_agree(self) -> None:
        """Both objects see the same sizes, which may have expired records."""
        if not hasattr(self, "processes"):
            return
        everything = list(self.model.records.values())
        least = everything if self.is_exact else [one for one in everything if not self.model.is_expired(one)]
        for records in self.processes:
            found = self.loop.run_until_complete(records.sizes()).values()
            sizes = (sum(one.records for one in found), sum(one.jobs for one in found), sum(one.bytes for one in found))
            for low, size, high in zip(sums_of(least), sizes, sums_of(everything), strict=True):
                assert low <= size <= high
            if self.is_exact:
                assert self.options.have_room(sizes[0], sizes[2] + OVERHEAD * sizes[0]) or sizes[1]


def sums_of(records: Iterable[Stored]) -> tuple[int, int, int]:
    """The number of records and of jobs, and the bytes of all records."""
    together = list(records)
    return len(together), sum(one.due is not None for one in together), sum(len(one.data) for one in together)


def assert_same(record: Record, expected: Stored) -> None:
    """Assert that a record is the model's."""
    draft = expected.draft
    assert (record.kind, record.id, record.owner, record.parent) == (draft.kind, draft.id, draft.owner, draft.parent)
    assert (record.data, record.revision, record.generation) == (expected.data, expected.revision, expected.generation)
    assert record.is_finished == (expected.due is None)
    assert (record.holder is None) == (expected.lease is None)
    assert draft.position is None or record.position == draft.position


def explore(url_of_server: str | None, examples: int, steps: int) -> None:
    """Run the machine, each time on empty records: of a MongoDB server, or in a file."""
    with TemporaryDirectory() as folder:
        names = []

        def url() -> str:
            names.append(f"mimic_test_{uuid4().hex[:12]}")
            if url_of_server is None:
                return f"sqlite:///{Path(folder) / names[-1]}.db"
            return url_of_server.replace("NAME", names[-1])

        is_exact = url_of_server is None
        machine = type("Machine", (RecordsMachine,), {"url": staticmethod(url), "is_exact": is_exact})
        phases = set(Phase) - (set() if is_exact else {Phase.shrink})  # which takes minutes there
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    suppress_health_check=checks,
                    phases=phases,
                ),
            )
        finally:
            if url_of_server:
                with pymongo.MongoClient[dict[str, Any]](url_of_server.replace("NAME", "admin")) as client:
                    for name in names:
                        client.drop_database(name)


def server_of(backend: str, request: pytest.FixtureRequest) -> str | None:
    """The URL of a standalone MongoDB, where NAME is the database; None is SQLite."""
    return None if backend == "sqlite" else f"{request.getfixturevalue('mongodb_server')}/NAME"


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_sequence_of_calls_is_that_of_the_model(backend: str, request: pytest.FixtureRequest) -> None:
    """Some short sequences."""
    explore(server_of(backend, request), 20 if backend == "sqlite" else 8, 30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_long_sequences_of_calls_are_those_of_the_model(backend: str, request: pytest.FixtureRequest) -> None:
    """Many long sequences."""
    explore(server_of(backend, request), 1000 if backend == "sqlite" else 100, 50)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_sequences_of_calls_on_a_replica_set_are_those_of_the_model(replica_set: ReplicaSet) -> None:
    """Writes wait for the majority, and reads ask the primary."""
    explore(f"{replica_set.url}NAME?replicaSet=mimic", 40, 50)
