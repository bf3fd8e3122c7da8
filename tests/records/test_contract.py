"""The contract of records, on each backend: ``mimic.records.base`` states it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import msgspec
import pytest

from mimic.errors import LeaseLost, RecordChanged, RecordsFull, RecordTooLarge, UnknownCursor
from mimic.records.base import MOST_BYTES, OVERHEAD, SWEEPER, Change, Draft, RecordOptions, Records, new_id
from tests.support.records import WITH_REPLICA_SET, open_now, url_of

pytestmark = pytest.mark.anyio

Open = Callable[..., Awaitable[Records]]


@pytest.fixture(params=WITH_REPLICA_SET)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of empty records."""
    return url_of(request.param, request)


@pytest.fixture
async def another(url: str) -> AsyncIterator[Open]:
    """A function that opens further objects on the same records, as other processes do."""
    async with AsyncExitStack() as stack:

        async def open_another(**options: float) -> Records:
            return await stack.enter_async_context(open_now(url, RecordOptions(**options)))  # type: ignore[arg-type]

        yield open_another


@pytest.fixture
async def records(another: Open) -> Records:
    """Empty records."""
    return await another()


def job(name: str = "a", **values: object) -> Draft:
    """A job that is due at once."""
    return Draft(**{"kind": "job", "id": name, "due": 0, **values})  # type: ignore[arg-type]


async def test_nothing_is_found_before_the_first_record(records: Records) -> None:
    """Every read of empty records finds nothing, and every removal removes nothing."""
    assert await records.get("a", "b", None) is None
    assert await records.get_all("a", ["b", "c"], "") == []
    assert await records.page("a", "") == ([], False)
    assert await records.claim(["a"], 10) is None
    assert await records.sizes() == {}
    assert await records.browse() == []
    assert not await records.delete("a", "b", None)
    assert [await records.delete_under("a", "b", None), await records.sweep(), await records.clear()] == [0, 0, 0]
    with pytest.raises(UnknownCursor):
        await records.page("a", "", after="b")


async def test_a_record_is_stored_as_drafted(records: Records, another: Open) -> None:
    """All fields are kept, other processes see them, and the times are the store's."""
    draft = Draft(kind="a", id="1", owner="me", parent="p", position=7, state="new", data=b"\0\xff$x", lives=60, due=5)
    stored = await records.put(draft)
    assert await (await another()).get("a", "1", None) == stored
    for field in ("kind", "id", "owner", "parent", "position", "state", "data"):
        assert getattr(stored, field) == getattr(draft, field)
    assert (stored.revision, stored.generation, stored.holder, stored.is_finished) == (1, 0, None, False)
    assert stored.expires == pytest.approx(stored.created + 60, abs=0.01)
    assert stored.due == pytest.approx(stored.created + 5, abs=0.01)


async def test_expressions_in_texts_are_texts(records: Records) -> None:
    """Values that look like a database's expressions are kept as they are."""
    text = "$$NOW"
    stored = await records.put(Draft(kind=text, id=text, owner=text, parent=text, state=text, data=text.encode()))
    stored = await records.update(stored, Change(state="$state", data=b"$data"))
    assert (stored.id, stored.owner, stored.state, stored.data) == (text, text, "$state", b"$data")
    assert await records.page(text, text, text) == ([stored], False)


async def test_a_record_is_created_once(records: Records) -> None:
    """A second draft of the same id returns the first record; the same id of another kind is another record."""
    first = await records.put(Draft(kind="a", id="1", data=b"first"))
    assert await records.put(Draft(kind="a", id="1", data=b"second", state="x")) == first
    assert (await records.put(Draft(kind="b", id="1", data=b"second"))).data == b"second"
    changed = await records.update(first, Change(data=b"third"))
    assert await records.put(Draft(kind="a", id="1", data=b"first")) == changed


async def test_concurrent_drafts_of_one_id_create_one_record(records: Records, another: Open) -> None:
    """All callers get the same record."""
    others = [records, *[await another() for _ in range(3)]]
    drafts = [(one, Draft(kind="a", id="1", data=bytes([number]))) for number, one in enumerate(others * 3)]
    stored = await asyncio.gather(*(one.put(draft) for one, draft in drafts))
    assert len({record.data for record in stored}) == 1


async def test_owners_see_their_own_records(records: Records) -> None:
    """A record of another owner is as if absent for reading, listing and deleting."""
    mine = await records.put(Draft(kind="a", id="1", owner="me"))
    assert await records.get("a", "1", "me") == await records.get("a", "1", None) == mine
    for other in ("you", ""):
        assert await records.get("a", "1", other) is None
        assert await records.page("a", other) == ([], False)
        assert not await records.delete("a", "1", other)
        with pytest.raises(UnknownCursor):
            await records.page("a", other, after="1")
    assert await records.delete("a", "1", "me")
    assert await records.get("a", "1", "me") is None


async def test_several_records_are_read_in_the_order_of_their_ids(records: Records) -> None:
    """Absent ids are left out, and repeated ones are read once."""
    stored = await records.put_all([Draft(kind="a", id=str(number)) for number in range(5)])
    assert await records.get_all("a", ["3", "x", "1", "3"], "") == [stored[3], stored[1]]


async def test_lists_follow_the_order_of_creation(records: Records) -> None:
    """Without positions, drafts of one call and of several calls keep their order."""
    names = [f"{7 * number % 30:02}" for number in range(30)]
    await records.put_all([Draft(kind="a", id=name) for name in names[:20]])
    for name in names[20:]:
        await records.put(Draft(kind="a", id=name))
        await asyncio.sleep(0.002)
    listed = await records.page("a", "", limit=100)
    assert [record.id for record in listed.records] == names


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_cursors_walk_a_list_in_both_directions(records: Records, order: str) -> None:
    """Pages after and before a record, each with a flag if more follow; equal positions are ordered by id."""
    drafts = [Draft(kind="a", id=f"{number}", parent="p", position=number // 2) for number in range(7)]
    await records.put_all([*drafts, Draft(kind="a", id="8", parent="q"), Draft(kind="b", id="9", parent="p")])
    names = [str(number) for number in range(7)][:: 1 if order == "asc" else -1]

    async def page(**options: object) -> tuple[list[str], bool]:
        found = await records.page("a", "", "p", order=order, **options)  # type: ignore[arg-type]
        return [record.id for record in found.records], found.has_more

    assert await page(limit=3) == (names[:3], True)
    assert await page(limit=7) == (names, False)
    assert await page(after=names[2], limit=3) == (names[3:6], True)
    assert await page(after=names[5], limit=3) == (names[6:], False)
    assert await page(before=names[5], limit=3) == (names[2:5], True)
    assert await page(before=names[1], limit=3) == (names[:1], False)
    assert await page(after=names[1], before=names[4], limit=9) == (names[2:4], False)
    with pytest.raises(UnknownCursor):
        await page(after="8")


async def test_a_page_of_large_records_ends_early(records: Records) -> None:
    """A page has at most about 16 MB of data, and says that more follow."""
    for number in range(4):
        await records.put(Draft(kind="a", id=str(number), data=bytes(MOST_BYTES)))
    page = await records.page("a", "")
    assert ([record.id for record in page.records], page.has_more) == (["0", "1"], True)
    with pytest.raises(RecordTooLarge):
        await records.put(Draft(kind="a", id="x", data=bytes(MOST_BYTES + 1)))
    with pytest.raises(RecordTooLarge):
        await records.update(page.records[0], Change(data=bytes(MOST_BYTES + 1)))


async def test_an_update_needs_the_newest_revision(records: Records, another: Open) -> None:
    """Of two writers that read the same revision, the second is refused."""
    first = await records.put(Draft(kind="a", id="1", state="x", data=b"1"))
    second = await (await another()).update(first, Change(data=b"2"))
    assert (second.revision, second.data, second.state, second.created) == (2, b"2", "x", first.created)
    with pytest.raises(RecordChanged):
        await records.update(first, Change(data=b"3"))
    assert await records.get("a", "1", None) == second
    await records.delete("a", "1", None)
    with pytest.raises(RecordChanged):
        await records.update(second, Change(data=b"3"))


async def test_one_of_many_concurrent_updates_wins(records: Records, another: Open) -> None:
    """The others are refused."""
    first, others = await records.put(Draft(kind="a", id="1")), [await another() for _ in range(4)]
    tries = [one.update(first, Change(data=bytes([number]))) for number, one in enumerate(others * 4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, RecordChanged) for result in results) == len(results) - 1


async def test_expired_records_are_absent(records: Records) -> None:
    """Reads, writes and claims check the expiry themselves; a draft may have the id again."""
    expired = await records.put(job(lives=1.0, owner="me", parent="p"))
    claim = await records.claim(["job"], 10)
    assert claim
    await asyncio.sleep(1.1)
    assert await records.get("job", "a", None) is None
    assert await records.page("job", "me", "p") == ([], False)
    assert await records.browse() == []
    assert await records.claim(["job"], 10) is None
    with pytest.raises(RecordChanged):
        await records.update(expired, Change(data=b"x"))
    with pytest.raises(LeaseLost):
        await records.renew(claim.lease, 10)
    assert not await records.delete("job", "a", None)
    renewed = await records.put(job(data=b"new", lives=None))
    assert (renewed.revision, renewed.data, renewed.expires) == (1, b"new", None)
    with pytest.raises(LeaseLost):
        await records.update(renewed, Change(data=b"x"), claim.lease)


async def test_an_update_extends_the_life(records: Records) -> None:
    """``lives`` counts from now; None is for ever."""
    record = await records.put(Draft(kind="a", id="1", lives=1.0))
    record = await records.update(record, Change(lives=60))
    await asyncio.sleep(1.1)
    assert await records.get("a", "1", None) == record
    assert (await records.update(record, Change(lives=None))).expires is None


async def test_jobs_are_claimed_when_due_the_oldest_first(records: Records) -> None:
    """Finished records, jobs of other kinds and later jobs are left out."""
    await records.put(Draft(kind="job", id="finished"))
    await records.put(job("later", due=60))
    await records.put(job("other", kind="x"))
    await records.put(job("second"))
    await asyncio.sleep(0.01)
    await records.put(job("third"))
    await records.put(job("first", due=-1))
    claimed = [await records.claim(["job", "y"], 10) for _ in range(4)]
    assert [claim.record.id for claim in claimed if claim] == ["first", "second", "third"]
    assert await records.claim(["job"], 10, "later") is None
    assert (await records.claim(["job", "x"], 10, "other")) is not None


async def test_a_lease_excludes_other_claims_until_it_expires(records: Records, another: Open) -> None:
    """Each claim has the next generation. The revision stays, so that writes of others are not disturbed."""
    stored, other = await records.put(job()), await another()
    first = await records.claim(["job"], 1.0)
    assert first
    assert (first.record.generation, first.record.revision, first.lease.generation) == (1, stored.revision, 1)
    assert await other.claim(["job"], 10) is None
    await records.renew(first.lease, 2.5)
    await asyncio.sleep(1.1)
    assert await other.claim(["job"], 10) is None
    await asyncio.sleep(1.5)
    second = await other.claim(["job"], 10)
    assert second
    assert second.lease.generation == 2
    assert second.lease.holder != first.lease.holder


async def test_writes_of_an_older_lease_are_refused(records: Records, another: Open) -> None:
    """After another claim the older lease can neither write, renew nor release. Even a fresh read does not help."""
    await records.put(job())
    old = await records.claim(["job"], 0)
    new = await (await another()).claim(["job"], 10)
    assert old
    assert new
    with pytest.raises(LeaseLost):
        await records.update(old.record, Change(data=b"old"), old.lease)
    with pytest.raises(LeaseLost):
        await records.renew(old.lease, 10)
    await records.release(old.lease)
    fresh = await records.get("job", "a", None)
    assert fresh
    with pytest.raises(LeaseLost):
        await records.update(fresh, Change(data=b"old"), old.lease)
    assert (await records.update(fresh, Change(data=b"new"), new.lease)).data == b"new"


async def test_an_expired_lease_that_nobody_took_still_writes(records: Records) -> None:
    """Work that took longer than its lease is not lost."""
    await records.put(job())
    claim = await records.claim(["job"], 0)
    assert claim
    done = await records.update(claim.record, Change(state="done", due=None), claim.lease)
    assert (done.is_finished, done.state, done.holder) == (True, "done", None)
    assert await records.claim(["job"], 10) is None


async def test_a_write_of_others_does_not_end_a_lease(records: Records) -> None:
    """A job whose record was changed reads it again and goes on."""
    stored = await records.put(job())
    claim = await records.claim(["job"], 10)
    assert claim
    changed = await records.update(stored, Change(data=b"by a request"))
    with pytest.raises(RecordChanged) as refused:
        await records.update(claim.record, Change(data=b"by the job"), claim.lease)
    assert not isinstance(refused.value, LeaseLost)
    assert (await records.update(changed, Change(data=b"by the job"), claim.lease)).revision == 3


async def test_a_request_that_ends_a_job_ends_its_lease(records: Records) -> None:
    """A cancelled job cannot write its result."""
    stored = await records.put(job())
    claim = await records.claim(["job"], 10)
    assert claim
    cancelled = await records.update(stored, Change(state="cancelled", due=None))
    with pytest.raises(LeaseLost):
        await records.update(cancelled, Change(state="completed"), claim.lease)
    with pytest.raises(LeaseLost):
        await records.renew(claim.lease, 10)


async def test_a_job_comes_again_later(records: Records) -> None:
    """A change of ``due`` gives the lease back until then."""
    await records.put(job())
    claim = await records.claim(["job"], 60)
    assert claim
    await records.update(claim.record, Change(due=1.0), claim.lease)
    assert await records.claim(["job"], 60) is None
    await asyncio.sleep(1.1)
    again = await records.claim(["job"], 60)
    assert again
    assert again.lease.generation == 2


async def test_released_jobs_are_claimed_at_once(records: Records, another: Open) -> None:
    """By a release, and by closing the records of the holder."""
    await records.put_all([job("a"), job("b")])
    async with AsyncExitStack() as stack:
        closing = await another()
        stack.push_async_exit(closing)
        first, second = await closing.claim(["job"], 60, "a"), await closing.claim(["job"], 60, "b")
        assert first
        assert second
        assert await records.claim(["job"], 60) is None
        await closing.release(first.lease)
        assert await records.claim(["job"], 60, "a")
        assert await records.claim(["job"], 60, "b") is None
    assert await records.claim(["job"], 60, "b")


async def test_many_claimers_share_the_jobs(records: Records, another: Open) -> None:
    """Each job is claimed once."""
    await records.put_all([job(str(number)) for number in range(40)])
    claimers = [records, *[await another() for _ in range(3)]]

    async def work(claimer: Records) -> list[str]:
        names = []
        while claim := await claimer.claim(["job"], 60):
            names.append(claim.record.id)
        return names

    names = [name for found in await asyncio.gather(*map(work, claimers)) for name in found]
    assert sorted(names, key=int) == [str(number) for number in range(40)]


async def test_children_are_deleted_by_their_parent(records: Records) -> None:
    """Only those of the kind, the parent and the owner."""
    drafts = [Draft(kind="item", id=str(number), parent="p", owner="me") for number in range(3)]
    others = [{"parent": "q"}, {"kind": "x"}, {"owner": "you"}]
    await records.put_all(drafts)
    await records.put_all([msgspec.structs.replace(drafts[0], id=f"other-{n}", **one) for n, one in enumerate(others)])
    assert await records.delete_under("item", "p", "me") == 3
    assert len(await records.browse()) == 3


@pytest.mark.parametrize("options", [{"most": 10}, {"most_bytes": 10 * (1000 + OVERHEAD)}])
async def test_the_oldest_finished_records_go_beyond_the_bounds(another: Open, options: dict[str, int]) -> None:
    """Jobs stay; with nothing to remove, a new record is refused, and old ones can still be changed."""
    records = await another(**options)
    jobs = [await records.put(job(f"job-{number}", data=bytes(1000))) for number in range(3)]
    for number in range(12):
        await records.put(Draft(kind="a", id=f"{number:02}", data=bytes(1000)))
    kept = [record.id for record in (await records.page("a", "", limit=100)).records]
    assert kept == [f"{number:02}" for number in range(12)][-len(kept) :]
    assert 5 <= len(kept) <= 7  # MongoDB counts further bytes
    assert len((await records.page("job", "", limit=100)).records) == 3
    with pytest.raises(RecordsFull):
        for number in range(3, 12):
            jobs.append(await records.put(job(f"job-{number}", data=bytes(1000))))
    assert (await records.page("a", "")).records == []
    assert (await records.update(jobs[0], Change(state="done", due=None))).is_finished
    await records.put(job("one more", data=bytes(1000)))
    assert await records.get("job", "job-0", None) is None


async def test_the_bounds_remove_no_job_while_jobs_run(another: Open) -> None:
    """Two processes finish jobs while others fill the bounds: each job is finished once, and none is removed before."""
    writer, *claimers = [await another(most=8) for _ in range(3)]
    jobs = [f"{number:02}" for number in range(10)]
    outcomes: list[str] = []

    async def create() -> None:
        for name in jobs:
            while True:
                with suppress(RecordsFull):
                    await writer.put(job(name))
                    break
                await asyncio.sleep(0.01)
            await asyncio.gather(
                *(writer.put(Draft(kind="a", id=f"{name}-{n}")) for n in range(3)), return_exceptions=True
            )

    async def work(records: Records) -> None:
        while len(outcomes) < len(jobs):
            if claim := await records.claim(["job"], 60):
                await asyncio.sleep(0.002)
                outcomes.append((await records.update(claim.record, Change(due=None), claim.lease)).id)
            else:
                await asyncio.sleep(0.01)

    async with asyncio.timeout(60):
        await asyncio.gather(create(), *map(work, claimers))
    assert sorted(outcomes) == jobs
    assert sum(size.records for size in (await writer.sizes()).values()) <= 8 + 2  # MongoDB's concurrent writers


async def test_full_records_are_not_removed_for_nothing(another: Open) -> None:
    """A draft that exists already removes no record, and expired records go before finished ones, also unfinished."""
    records = await another(most=3)
    await records.put_all([Draft(kind="a", id="1"), job("2", lives=0.05), Draft(kind="a", id="3")])
    await records.put_all([Draft(kind="a", id="1"), Draft(kind="a", id="3")])
    assert [record.id for record in (await records.page("a", "")).records] == ["1", "3"]
    await asyncio.sleep(0.1)
    await records.put(Draft(kind="a", id="4"))
    assert [record.id for record in (await records.page("a", "")).records] == ["1", "3", "4"]


async def test_a_sweep_removes_expired_records_and_those_beyond_the_bounds(records: Records, another: Open) -> None:
    """Expired jobs too."""
    await records.put_all([Draft(kind="a", id=f"short-{number}", lives=0.01) for number in range(5)])
    await records.put_all([Draft(kind="a", id=f"{number:02}") for number in range(10)])
    await records.put(job(lives=0.01))
    await asyncio.sleep(0.05)
    assert await records.sweep() == 6
    assert await records.sweep() == 0
    assert await (await another(most=4)).sweep() == 6
    assert [record.id for record in (await records.page("a", "")).records] == ["06", "07", "08", "09"]


async def test_sizes_and_the_newest_records_are_shown(records: Records) -> None:
    """By kind, without data, without the sweeper's own job."""
    first = await records.put(Draft(kind="a", id="1", data=b"12345"))
    await asyncio.sleep(0.01)
    await records.put(job(data=b"123"))
    await records.put(Draft(kind=SWEEPER, id="sweep", due=0))
    sizes = await records.sizes()
    assert {kind: (found.records, found.bytes, found.jobs) for kind, found in sizes.items()} == {
        "a": (1, 5, 0),
        "job": (1, 3, 1),
    }
    assert sizes["a"].oldest == first.created
    assert [(record.kind, record.data) for record in await records.browse()] == [("job", b""), ("a", b"")]
    assert [record.id for record in await records.browse("a")] == ["1"]
    assert await records.clear("a") == 1
    assert await records.clear() == 2


def test_ids_cannot_be_guessed() -> None:
    """An id has 192 random bits after its prefix."""
    assert len({new_id("resp") for _ in range(100)}) == 100
    assert len(new_id("resp")) == len("resp_") + 48
