"""A process that works on records, for tests that kill and stop it: ``python -m tests.records.worker URL WORK``."""

import asyncio
import sys

from mimic.errors import LeaseLost
from mimic.records.base import Change, Draft, Records
from tests.support.records import open_now


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def claim(records: Records, seconds: str) -> None:
    """Claim the job, wait for a line of standard input, and write the outcome."""
    claimed = await records.claim(["job"], float(seconds))
    assert claimed
    say("claimed")
    await asyncio.to_thread(sys.stdin.readline)
    try:
        fresh = await records.get("job", claimed.record.id, None)
        assert fresh
        await records.update(fresh, Change(data=b"by the worker", state="done", due=None), claimed.lease)
        say("written")
    except LeaseLost:
        say("refused")


async def put(records: Records, name: str) -> None:
    """Create records without end, and print each id when it is stored."""
    tasks = asyncio.Semaphore(20)

    async def create(number: int) -> None:
        async with tasks:
            await records.put(Draft(kind="a", id=f"{name}-{number}", data=bytes(500)))
            say(f"{name}-{number}")

    async with asyncio.TaskGroup() as group:
        for number in range(1_000_000):
            await tasks.acquire()
            tasks.release()
            group.create_task(create(number))
            await asyncio.sleep(0)


async def main(url: str, work: str, argument: str) -> None:
    """Do one of the works."""
    async with open_now(url) as records:
        await {"claim": claim, "put": put}[work](records, argument)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
