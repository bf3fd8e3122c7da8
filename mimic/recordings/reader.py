"""Bodies of the upstream's answers are read: as a whole, or a stream whose client may leave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

import aiohttp
import structlog

from mimic.recordings.tape import MOST_KEPT, Tape
from mimic.recordings.upstream import FAILED, upstream_error

log = structlog.get_logger("mimic")

WhenWhole: TypeAlias = Callable[..., Awaitable[bool]]

PIECES_AHEAD: Final = 16
"""Pieces of a stream that wait for a slow client."""
LINE_ENDS: Final = (b"\n", b"\r")


async def read_all(response: aiohttp.ClientResponse, tape: Tape) -> None:
    """Read a whole answer. Raises RequestError if it is cut, or too long to be kept."""
    try:
        async for piece in response.content.iter_any():
            tape.add(piece)
            if tape.is_cut:
                raise upstream_error(f"its answer is longer than {MOST_KEPT} bytes")
    except FAILED as exc:
        raise upstream_error(f"it cut its answer ({type(exc).__name__})") from exc
    finally:
        response.close()


class StreamReader:
    """Reads a stream of the upstream, in a task of its own, while a client gets its pieces.

    ``when_whole`` is called after each piece that ends a line, before the piece is passed on: a client may ask again
    right after the last one. It returns true for a complete answer.
    """

    def __init__(self, response: aiohttp.ClientResponse, tape: Tape, when_whole: WhenWhole) -> None:
        self._response = response
        self._tape = tape
        self._when_whole = when_whole
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_AHEAD)
        self._is_abandoned = False
        self.failure = ""
        """The name of the error, if the upstream cut its answer."""

    async def read(self) -> None:
        """Read all pieces."""
        is_whole = False
        try:
            async for piece in self._response.content.iter_any():
                self._tape.add(piece)
                if not is_whole and piece.endswith(LINE_ENDS):
                    is_whole = await self._when_whole(has_client=not self._is_abandoned)
                await self._pass_on(piece)
            if not is_whole:
                log.warning("a stream of the upstream has no end, and is not recorded")
        except FAILED as exc:
            self.failure = type(exc).__name__
            log.warning("the upstream cut its answer", cause=repr(exc))
        finally:
            self._response.close()
            await self._pass_on(None)

    async def next_piece(self) -> bytes | None:
        """The next piece for the client; None at the end."""
        return await self._pieces.get()

    async def _pass_on(self, piece: bytes | None) -> None:
        if not self._is_abandoned:
            await self._pieces.put(piece)

    def abandon(self) -> None:
        """Pass nothing more on, since the client has left."""
        self._is_abandoned = True
        while not self._pieces.empty():  # a reader may wait for space
            self._pieces.get_nowait()


class LiveBody(AsyncIterator[bytes]):
    """The body of a stream for the client, as it comes.

    It is no generator: one that was never begun would not notice that it is closed, and its client may leave early.
    """

    def __init__(
        self,
        reader: StreamReader,
        task: "asyncio.Task[None]",
        when_cut: Callable[[], Awaitable[None]],
        seconds_after_client: float,
    ) -> None:
        """``task`` reads the stream, also for some seconds after the client has left."""
        self._reader = reader
        self._task = task
        self._when_cut = when_cut
        self._seconds = seconds_after_client

    async def __anext__(self) -> bytes:
        piece = await self._reader.next_piece()
        if piece is not None:
            return piece
        if self._reader.failure:
            await self._when_cut()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give the client up."""
        self._reader.abandon()
        if not self._task.done():
            asyncio.get_running_loop().call_later(self._seconds, self._task.cancel)
