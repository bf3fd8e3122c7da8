"""A writer of recordings, beside another one: ``python -m tests.unit.recordings.writer PLACE STORE NAME``."""

import asyncio
import sys

from mimic.recordings.base import Recording
from mimic.recordings.identity import Identity
from mimic.recordings.place import open_recordings
from mimic.records import open_records
from mimic.records.base import RecordOptions
from mimic.wire.base import GivenAnswer, GivenChoice

NUMBER = 40


async def write(place: str, store: str, name: str) -> None:
    """Add answers to a request that both writers have, and to requests of this writer's own."""
    async with open_records("", store, RecordOptions()) as records, open_recordings(place, records) as kept:
        for number in range(NUMBER):
            for text in ("shared", f"{name} {number}"):
                request = {"model": "m", "messages": [{"role": "user", "text": text}]}
                answer = GivenAnswer([GivenChoice(name if text == "shared" else str(number))])
                await kept.add(Recording(key=Identity.of(request).key, request=request, answer=answer, path="/v1/x"))


if __name__ == "__main__":
    asyncio.run(write(*sys.argv[1:]))
