"""Making of the index while the dump is read: by a process of its own once there is enough text."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from mimic.corpus.conversation import Conversation
from mimic.corpus.ladder import Depth
from mimic.corpus.manifest import SeededIndex
from mimic.corpus.sizes import conversation_size
from mimic.corpus.stores.base import finish_uncancelled
from mimic.errors import StoreFull, StoreUnavailable
from mimic_seed.index_worker import FULL, pack, send, write_index

PACK_CHARACTERS: Final = 256 * 1024
"""Characters of text that are sent at a time. Less is indexed in this process, since another starts slowly."""

COMMAND: Final = ("-P", "-m", "mimic_seed.index_worker")

GIVE_MEMORY_BACK: Final = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Settings of glibc's malloc, which keeps tens of megabytes of free memory by default (mallopt(3))."""


class Indexing:
    """An index that conversations are added to. An async context manager: after it nothing writes to the folder.

    ``pack_characters`` are handed over at a time, to a process of Python with the arguments ``command``.
    """

    def __init__(
        self, folder: Path, depth: Depth, *, pack_characters: int = PACK_CHARACTERS, command: Sequence[str] = COMMAND
    ) -> None:
        self._folder = folder
        self._depth = depth
        self._pack_characters = pack_characters
        self._command = command
        self._conversations: list[Conversation] = []
        self._characters = 0
        self._messages = 0
        self._seconds = 0.0
        self._process: Process | None = None
        self._sending: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process:
            await finish_uncancelled(self._stop(self._process))

    async def add(self, conversation: Conversation) -> None:
        """Enter the next conversation of the corpus. Raises StoreFull and StoreUnavailable, like :meth:`finish`."""
        self._conversations.append(conversation)
        self._messages += max(0, len(conversation.messages) - 1)
        self._characters += conversation_size(conversation)
        if self._characters >= self._pack_characters:
            self._process = self._process or await self._start()
            await self._send(self._process, self._packed())

    async def finish(self) -> None:
        """Write the remaining conversations, and wait for the index."""
        if self._process:
            await self._send(self._process, self._packed())
            await self._send(self._process, b"")
            await self._end(self._process)
        else:
            started = time.perf_counter()
            await asyncio.to_thread(write_index, self._folder, [self._packed()], self._depth)
            self._seconds = time.perf_counter() - started

    def seeded(self, name: str) -> SeededIndex:
        """The index made in the folder, attached under this name."""
        size = sum(file.stat().st_size for file in self._folder.iterdir())
        return SeededIndex(name, self._depth, self._messages, self._seconds, size)

    def _packed(self) -> bytes:
        packed = pack(self._conversations)
        self._conversations, self._characters = [], 0
        return packed

    async def _start(self) -> Process:
        # Not in our process group: Ctrl-C stops this process, which then stops the other.
        arguments = (*self._command, str(self._folder), self._depth)
        environment = {**GIVE_MEMORY_BACK, **os.environ}
        receiver, sender = os.pipe()
        self._to_process = os.fdopen(sender, "wb")
        with os.fdopen(receiver) as stdin:
            return await create_subprocess_exec(
                sys.executable, *arguments, stdin=stdin, stderr=PIPE, env=environment, process_group=0
            )

    async def _send(self, process: Process, packed: bytes) -> None:
        """Send a pack in a thread, after the pack before it. Meanwhile the next one is read."""
        await self._sent(process)
        self._sending = asyncio.get_running_loop().run_in_executor(None, send, self._to_process, packed)

    async def _sent(self, process: Process) -> None:
        if not self._sending:
            return
        await asyncio.wait([self._sending])  # to await the future itself would cancel it, too
        try:
            self._sending.result()
        except OSError:
            await self._end(process)

    async def _end(self, process: Process) -> None:
        """Wait for the end of the process. Raises StoreFull or StoreUnavailable where it failed."""
        before = os.times()
        _, said = await process.communicate()
        if process.returncode:
            problem = said.decode(errors="replace").strip().rpartition("\n")[2]
            kind = StoreFull if process.returncode == FULL else StoreUnavailable
            raise kind(problem or f"the process that makes the index ended with {process.returncode}")
        after = os.times()
        self._seconds = after.children_user - before.children_user + after.children_system - before.children_system

    async def _stop(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        if self._sending:
            await asyncio.gather(self._sending, return_exceptions=True)
        with suppress(OSError):  # for data that it did not read
            self._to_process.close()
