"""A process that works on batches: ``python -m tests.records.batch_worker STORE RECORDS BATCH [STEP NUMBER]``.

It ends when the batch has ended, or is killed before the step with this name, at its first, second or later time.
"""

import asyncio
import os
import signal
import sys
from collections import Counter

from mimic.gateway.ledger import IN_MEMORY
from mimic.jobs import runner
from mimic.parts import Parts
from mimic.settings import Settings
from mimic.stored.batches import KIND

SECONDS = 0.7
"""The lease: a test does not wait longer for the work of a killed process."""


async def main(store: str, records: str, batch_id: str, step: str = "", number: str = "1") -> None:
    """Work until the batch has ended."""
    runner.LEASE_SECONDS = SECONDS  # type: ignore[misc]
    parts = Parts(Settings(store=store, records=records, on_miss="404"), IN_MEMORY)
    seen: Counter[str] = Counter()

    def kill(name: str) -> None:
        seen[name] += 1
        if name == step and seen[name] == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    parts.batch_work.before = kill
    async with parts.corpus, parts.records:
        while (record := await parts.records.get(KIND, batch_id, None)) and not record.is_finished:
            await parts.batch_runner.run_due()
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
