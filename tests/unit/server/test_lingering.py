"""Lingering connections: their end, and their number."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from mimic.server.http11.lingering import Lingering, LingeringConnections


class Answering(asyncio.Protocol):
    """A protocol that sends a word on connection, and lingers."""

    def __init__(self, others: LingeringConnections, seconds: float, seconds_between: float) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self._options = others, seconds, seconds_between

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"word")
        self.lingering = Lingering(transport, self, *self._options)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def serve(
    others: LingeringConnections, seconds: float, seconds_between: float
) -> tuple[asyncio.Server, list[Answering]]:
    """A server of such connections, and the growing list of them."""
    made: list[Answering] = []

    def connect() -> Answering:
        made.append(Answering(others, seconds, seconds_between))
        return made[-1]

    return await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0), made


async def opened(server: asyncio.Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has read all data."""
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b"word"
    return reader, writer


async def send_on(writer: asyncio.StreamWriter) -> None:
    """Send a byte at intervals, until the connection is cut off."""
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)


async def run(client: Callable[[asyncio.StreamWriter], object], seconds: float, seconds_between: float) -> None:
    """Let a client act on a connection with these times, and wait until that ends."""
    server, made = await serve(LingeringConnections(), seconds, seconds_between)
    async with server:
        _, writer = await opened(server)
        client(writer)
        await asyncio.wait_for(made[0].lost, 60)
        writer.close()


def test_a_client_that_closes_ends_it() -> None:
    """The connection ends at once, however long it might linger."""
    asyncio.run(run(lambda writer: writer.close(), 1000, 1000))


def test_a_client_that_sends_nothing_more_ends_it() -> None:
    """The connection ends after the time between pieces."""
    asyncio.run(run(lambda _: None, 1000, 0.1))


def test_a_client_that_sends_on_ends_it() -> None:
    """The connection ends after the total time."""
    tasks = []
    asyncio.run(run(lambda writer: tasks.append(asyncio.ensure_future(send_on(writer))), 0.3, 1000))


def test_a_server_that_ends_hurries() -> None:
    """The end of the server ends the wait for clients."""

    async def end() -> None:
        server, made = await serve(LingeringConnections(), 1000, 1000)
        async with server:
            _, writer = await opened(server)
            task = asyncio.ensure_future(send_on(writer))
            made[0].lingering.hurry(0.1)
            await asyncio.wait_for(made[0].lost, 60)
            await task
            writer.close()

    asyncio.run(end())


def test_the_oldest_is_closed_for_one_more() -> None:
    """The other connections linger on."""

    async def fill() -> None:
        server, made = await serve(LingeringConnections(most=2), 1000, 1000)
        async with server:
            writers = [(await opened(server))[1] for _ in range(4)]
            await asyncio.wait_for(asyncio.gather(made[0].lost, made[1].lost), 60)
            assert not made[2].lost.done()
            assert not made[3].lost.done()
            for writer in writers:
                writer.close()
            await asyncio.wait_for(asyncio.gather(made[2].lost, made[3].lost), 60)

    asyncio.run(fill())


def test_an_answer_that_is_not_taken_yet_has_its_time() -> None:
    """The time counts from the end of the write: until then the monitor of slow clients applies."""

    class Long(Answering):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(bytes(20_000_000))
            self.lingering = Lingering(transport, self, *self._options)

    async def read_late() -> None:
        made: list[Long] = []

        def connect() -> Long:
            made.append(Long(LingeringConnections(), 0.05, 0.05))
            return made[-1]

        loop = asyncio.get_running_loop()
        server = await loop.create_server(connect, "127.0.0.1", 0)
        async with server:
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                await asyncio.sleep(0.3)
                received = await asyncio.to_thread(lambda: sum(map(len, iter(lambda: client.recv(1_000_000), b""))))
            assert received == 20_000_000
            await asyncio.wait_for(made[0].lost, 60)

    asyncio.run(read_late())
