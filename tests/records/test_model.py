"""The contract of records against a plain model in memory: any sequence of calls gives the same results.

Two objects stand for two processes. Time does not pass: leases and lives are either over at once, or far away.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
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
from mimic.records.base import Change, Claim, Draft, Lease, Order, Record, RecordOptions, Records
from tests.support.records import BACKENDS, open_now

T = TypeVar("T")

MOST = 6
"""The bound of records, small enough to be reached."""
KINDS = st.sampled_from(["a", "b"])
IDS = st.sampled_from([str(number) for number in range(5)])
OWNERS = st.sampled_from(["", "me"])
ANY_OWNER = st.sampled_from(["", "me", None])
PARENTS = st.sampled_from(["", "p"])
DATA = st.binary(max_size=3)
DUE = st.sampled_from([None, 0.0, 1000.0])
LIVES = st.sampled_from([1000.0, None, -1.0])
PROCESS = st.sampled_from([0, 1])


class Stored(msgspec.Struct):
    """A record of the model."""

    draft: Draft
    position: int
    age: int
    due_at: float | None
    is_expired: bool
    data: bytes
    revision: int = 1
    generation: int = 0
    lease: tuple[int, int, int] | None = None
    """Process, generation, and the age of the record."""
    is_lease_over: bool = False


class Model:
    """Records in a dictionary, without time: every call is at a later moment."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Stored] = {}
        self.calls = 0

    def moment(self) -> int:
        """The number of a call, as its time."""
        self.calls += 1
        return self.calls

    def live(self, kind: str, record_id: str, owner: str | None = None) -> Stored | None:
        """The record, unless it is expired or of another owner."""
        found = self.records.get((kind, record_id))
        if found is None or found.is_expired or owner not in {None, found.draft.owner}:
            return None
        return found

    def put(self, draft: Draft) -> Stored:
        """Create a record once, within the bounds."""
        if found := self.live(draft.kind, draft.id):
            return found
        moment = self.moment()
        self.records.pop((draft.kind, draft.id), None)
        if len(self.records) >= MOST:
            self.records = {key: one for key, one in self.records.items() if not one.is_expired}
        while len(self.records) >= MOST:
            finished = [(one.age, key) for key, one in self.records.items() if one.due_at is None]
            if not finished:
                raise RecordsFull
            del self.records[min(finished)[1]]
        stored = Stored(
            draft,
            draft.position if draft.position is not None else 1_000_000 + moment,
            moment,
            None if draft.due is None else moment + draft.due * 1_000_000,
            draft.lives is not None and draft.lives is not msgspec.UNSET and draft.lives < 0,
            draft.data,
        )
        self.records[draft.kind, draft.id] = stored
        return stored

    def holds(self, found: Stored | None, lease: tuple[int, int, int]) -> bool:
        """True if a lease was neither taken over nor ended."""
        return found is not None and found.lease == lease

    def claimable(self, kinds: list[str]) -> list[Stored]:
        """Jobs that are due and free, the oldest first."""
        jobs = [
            (one.due_at, one.age, key)
            for key, one in self.records.items()
            if key[0] in kinds
            and not one.is_expired
            and one.due_at is not None
            and one.due_at <= self.calls
            and (one.lease is None or one.is_lease_over)
        ]
        return [self.records[key] for _, _, key in sorted(jobs)]


class RecordsMachine(RuleBasedStateMachine):
    """Calls on real records and on the model."""

    url: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.read: list[tuple[Record, int]] = []
        self.leases: list[tuple[Lease, tuple[int, int, int]]] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call. Each call is in a millisecond of its own, which is MongoDB's resolution."""

        async def apart() -> T:
            try:
                return await call
            finally:
                await asyncio.sleep(0.002)

        return self.loop.run_until_complete(apart())

    @initialize()
    def open(self) -> None:
        """Open the records twice."""
        url = type(self).url()
        self.processes: list[Records] = [open_now(url, RecordOptions(most=MOST)) for _ in range(2)]

    def teardown(self) -> None:
        """Close the records."""
        for records in getattr(self, "processes", ()):
            self.loop.run_until_complete(records.__aexit__(None, None, None))
        self.loop.close()

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
            expected: Stored | None = self.model.put(draft)
        except RecordsFull:
            expected = None
        if expected is None:
            with pytest.raises(RecordsFull):
                self.run(self.processes[process].put(draft))
            return
        record = self.run(self.processes[process].put(draft))
        assert_same(record, expected)
        self.read.append((record, expected.age))

    @rule(process=PROCESS, kind=KINDS, record_id=IDS, owner=ANY_OWNER)
    def get(self, process: int, kind: str, record_id: str, owner: str | None) -> None:
        """Read a record."""
        record, expected = self.run(self.processes[process].get(kind, record_id, owner)), None
        expected = self.model.live(kind, record_id, owner)
        assert (record is None) == (expected is None)
        if record and expected:
            assert_same(record, expected)
            self.read.append((record, expected.age))

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
            if (key[0], one.draft.owner, one.draft.parent, one.is_expired) == (kind, owner, parent, False)
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
        record, age = data.draw(st.sampled_from(self.read[-10:]))
        mine = [one for one in self.leases if (one[0].kind, one[0].id) == (record.kind, record.id)]
        lease, modelled = data.draw(st.sampled_from(mine)) if with_lease and mine else (None, None)
        call = self.processes[process].update(record, Change(data=value, **changes), lease)
        found = self.model.live(record.kind, record.id)
        if modelled and not self.model.holds(found, modelled):
            with pytest.raises(LeaseLost):
                self.run(call)
        elif found is None or (found.age, found.revision) != (age, record.revision):
            with pytest.raises(RecordChanged):
                self.run(call)
        else:
            self.apply(found, value, **changes)
            changed = self.run(call)
            assert_same(changed, found)
            self.read.append((changed, age))

    def apply(self, found: Stored, value: bytes, due: Any, lives: Any) -> None:
        """Change a record of the model."""
        moment = self.model.moment()
        found.data, found.revision = value, found.revision + 1
        if due is not msgspec.UNSET:
            found.due_at = None if due is None else moment + due * 1_000_000
            found.lease, found.is_lease_over = None, False
        if lives is not msgspec.UNSET:
            found.is_expired = lives == -1.0

    @rule(process=PROCESS, kinds=st.sampled_from([["a"], ["b"], ["a", "b"]]), seconds=st.sampled_from([0.0, 1000.0]))
    def claim(self, process: int, kinds: list[str], seconds: float) -> None:
        """Claim the oldest job."""
        claim: Claim | None = self.run(self.processes[process].claim(kinds, seconds))
        jobs = self.model.claimable(kinds)
        assert (claim is None) == (not jobs)
        if claim:
            job = jobs[0]
            job.generation += 1
            job.lease, job.is_lease_over = (process, job.generation, job.age), seconds == 0
            assert_same(claim.record, job)
            assert claim.lease.generation == job.generation
            self.read.append((claim.record, job.age))
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
        expired = [key for key, one in self.model.records.items() if one.is_expired]
        assert self.run(self.processes[process].sweep()) <= len(expired)
        for key in expired:
            self.forget(*key)

    @invariant()
    def sizes_agree(self) -> None:
        """Both objects see the same sizes, which may have expired records."""
        if not hasattr(self, "processes"):
            return
        everything = list(self.model.records.values())
        live = [one for one in everything if not one.is_expired]
        for records in self.processes:
            found = self.loop.run_until_complete(records.sizes()).values()
            assert len(live) <= sum(one.records for one in found) <= len(everything)
            for least, size, most in zip(
                sums_of(live),
                (sum(one.jobs for one in found), sum(one.bytes for one in found)),
                sums_of(everything),
                strict=True,
            ):
                assert least <= size <= most


def sums_of(records: list[Stored]) -> tuple[int, int]:
    """The number of jobs, and the bytes of all records."""
    return sum(one.due_at is not None for one in records), sum(len(one.data) for one in records)


def assert_same(record: Record, expected: Stored) -> None:
    """Assert that a record is the model's."""
    draft = expected.draft
    assert (record.kind, record.id, record.owner, record.parent) == (draft.kind, draft.id, draft.owner, draft.parent)
    assert (record.data, record.revision, record.generation) == (expected.data, expected.revision, expected.generation)
    assert record.is_finished == (expected.due_at is None)
    assert (record.holder is None) == (expected.lease is None)
    assert draft.position is None or record.position == draft.position


def explore(backend: str, request: pytest.FixtureRequest, examples: int, steps: int) -> None:
    """Run the machine, each time on empty records."""
    with TemporaryDirectory() as folder:
        names = []

        def url() -> str:
            names.append(f"mimic_test_{uuid4().hex[:12]}")
            if backend == "sqlite":
                return f"sqlite:///{Path(folder) / names[-1]}.db"
            return f"{request.getfixturevalue('mongodb_server')}/{names[-1]}"

        machine = type("Machine", (RecordsMachine,), {"url": staticmethod(url)})
        phases = set(Phase) - ({Phase.shrink} if backend == "mongodb" else set())  # which takes minutes there
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
            if backend == "mongodb":
                with pymongo.MongoClient[dict[str, Any]](request.getfixturevalue("mongodb_server")) as client:
                    for name in names:
                        client.drop_database(name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_sequence_of_calls_is_that_of_the_model(backend: str, request: pytest.FixtureRequest) -> None:
    """Some short sequences."""
    explore(backend, request, 10, 30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_long_sequences_of_calls_are_those_of_the_model(backend: str, request: pytest.FixtureRequest) -> None:
    """Many long sequences."""
    explore(backend, request, 400 if backend == "sqlite" else 100, 50)
