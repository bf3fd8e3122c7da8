"""Work in the background through kills of worker processes and of MongoDB: none is lost, each has one outcome.

Each response is in a conversation of its own, which has its input and its output once, and each run on its own thread.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from mimic.wire.openai.responses.answer import response_id_of
from tests.support.corpora import Dump, conversation
from tests.support.mongod import Mongod
from tests.support.servers import Server, SharedServers, children

DUMP: Dump = [conversation("a", ("human", "hi"), ("gpt", "hello you there"))]
PACE: Final = {"x-mimic-ttft-ms": "500", "x-mimic-itl-ms": "100"}
CLIENTS: Final = 8
WAITING: Final = frozenset({"queued", "in_progress"})


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of a request, which is repeated while workers and MongoDB are away."""
    while True:
        with suppress(httpx.TransportError):
            answer = await client.post(path, json=body, headers=PACE)
            if answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                found: dict[str, Any] = answer.json()
                return found
        await asyncio.sleep(0.05)


async def get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """The object at a path, as soon as the server can read it."""
    while True:
        with suppress(httpx.TransportError):
            answer = await client.get(path)
            if answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                found: dict[str, Any] = answer.json()
                return found
        await asyncio.sleep(0.05)


async def ask(client: httpx.AsyncClient) -> tuple[str, str]:
    """Begin a response in a new conversation. Returns the ids of both."""
    talk = (await post(client, "/v1/conversations", {}))["id"]
    body = {"model": "m", "input": "hi", "background": True, "conversation": talk}
    return (await post(client, "/v1/responses", body))["id"], talk


async def outcome(client: httpx.AsyncClient, response_id: str) -> dict[str, Any]:
    """A response that has ended."""
    while (found := await get(client, f"/v1/responses/{response_id}"))["status"] in WAITING:
        await asyncio.sleep(0.1)
    return found


async def texts_by_response(client: httpx.AsyncClient, response_id: str, talk: str) -> dict[str, list[str]]:
    """The texts of a conversation by response. The response's own are there soon after it has ended.

    A request without an answer, which was repeated, may have left a response as well.
    """
    found: dict[str, list[str]] = {}
    while response_id not in found:
        found = {}
        for item in (await get(client, f"/v1/conversations/{talk}/items?order=asc"))["data"]:
            found.setdefault(response_id_of(item["id"]), []).append(item["content"][0]["text"])
        await asyncio.sleep(0.1)
    return found


async def begin_run(client: httpx.AsyncClient) -> tuple[str, str]:
    """Begin a run on a new thread. Returns the ids of both.

    A request without an answer may have begun a run: then this run locks the thread, or it is over already.
    """
    thread = (await post(client, "/v1/threads", {"messages": [{"role": "user", "content": "hi"}]}))["id"]
    path = f"/v1/threads/{thread}/runs"
    while True:
        with suppress(httpx.TransportError):
            answer = await client.post(path, json={"assistant_id": "a"}, headers=PACE)
            if answer.status_code == 200:
                return answer.json()["id"], thread
            assert answer.status_code in {400, 503}, answer.text
            if answer.status_code == 400:
                return (await get(client, path))["data"][0]["id"], thread
        await asyncio.sleep(0.05)


async def run_outcome(client: httpx.AsyncClient, run_id: str, thread: str) -> dict[str, Any]:
    """A run that has ended."""
    while (found := await get(client, f"/v1/threads/{thread}/runs/{run_id}"))["status"] in WAITING:
        await asyncio.sleep(0.1)
    return found


async def texts_by_run(client: httpx.AsyncClient, thread: str) -> dict[str | None, list[str]]:
    """The texts of a thread by run; those of no run are the user's."""
    found: dict[str | None, list[str]] = {}
    for message in (await get(client, f"/v1/threads/{thread}/messages?order=asc"))["data"]:
        found.setdefault(message["run_id"], []).append(message["content"][0]["text"]["value"])
    return found


def workers_of(server: Server) -> list[int]:
    """The worker processes. The main process has another child, which tracks the resources of Python's processes."""
    found = []
    for child in children(server.process.pid):
        with suppress(OSError):  # it has just ended
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


async def kill_workers(server: Server) -> None:
    """Kill one worker process after another, also all of them at times."""
    while True:
        await asyncio.sleep(random.uniform(0.5, 2))
        if workers := workers_of(server):
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)


async def kill_mongod(mongod: Mongod) -> None:
    """Kill MongoDB, and start it again after a while."""
    while True:
        await asyncio.sleep(4)
        await asyncio.to_thread(mongod.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(mongod.start)


@asynccontextmanager
async def disturbed(*disturbances: Awaitable[None]) -> AsyncIterator[None]:
    """Run disturbances meanwhile."""
    tasks = [asyncio.ensure_future(one) for one in disturbances]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def in_turn(number: int, call: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """The results of calls with the numbers from 0, of which some run at the same time."""
    places = asyncio.Semaphore(CLIENTS)

    async def one(index: int) -> Any:
        async with places:
            return await call(index)

    return await asyncio.gather(*map(one, range(number)))


SOAK = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("backend", "number"),
    [("sqlite", 40), pytest.param("sqlite", 1000, marks=SOAK), pytest.param("mongodb", 1000, marks=SOAK)],
)
def test_none_is_lost(
    backend: str, number: int, request: pytest.FixtureRequest, tmp_path: Path, serve: SharedServers
) -> None:
    """Every response that was answered as queued ends once, with its answer."""
    mongod: Mongod | None = request.getfixturevalue("mongod") if backend == "mongodb" else None
    url = f"{mongod.url}/mimic" if mongod else f"sqlite:///{tmp_path}/records.db"
    with Server(tmp_path, MIMIC_STORE=serve.store(DUMP), MIMIC_RECORDS=url, MIMIC_WORKERS="2") as server:
        asyncio.run(check(server, mongod, number))


@pytest.mark.parametrize(
    ("backend", "number"),
    [("sqlite", 30), pytest.param("sqlite", 1000, marks=SOAK), pytest.param("mongodb", 1000, marks=SOAK)],
)
def test_no_run_is_lost(
    backend: str, number: int, request: pytest.FixtureRequest, tmp_path: Path, serve: SharedServers
) -> None:
    """Every run that was answered as queued ends once, with its message in its thread."""
    mongod: Mongod | None = request.getfixturevalue("mongod") if backend == "mongodb" else None
    url = f"{mongod.url}/mimic" if mongod else f"sqlite:///{tmp_path}/records.db"
    with Server(tmp_path, MIMIC_STORE=serve.store(DUMP), MIMIC_RECORDS=url, MIMIC_WORKERS="2") as server:
        asyncio.run(check_runs(server, mongod, number))


async def check_runs(server: Server, mongod: Mongod | None, number: int) -> None:
    """Begin runs, and follow each to its end, while processes are killed."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30, headers={"openai-beta": "assistants=v2"}) as client:
        async with disturbed(kill_workers(server), *([kill_mongod(mongod)] if mongod else [])):
            begun = await in_turn(number, lambda _: begin_run(client))
            ended = await in_turn(number, lambda index: run_outcome(client, *begun[index]))
            said = await in_turn(number, lambda index: texts_by_run(client, begun[index][1]))
        assert {one["status"] for one in ended} == {"completed"}
        for (run_id, _), by_run in zip(begun, said, strict=True):
            assert by_run.pop(None) == ["hi"]
            assert run_id in by_run
            assert all(texts == ["hello you there"] for texts in by_run.values())
        async with asyncio.timeout(60):
            while 'mimic_records_jobs{record="thread_run"} 0' not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.2)


async def check(server: Server, mongod: Mongod | None, number: int) -> None:
    """Ask for responses, and follow each to its end, while processes are killed."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        async with disturbed(kill_workers(server), *([kill_mongod(mongod)] if mongod else [])):
            asked = await in_turn(number, lambda _: ask(client))
            ended = await in_turn(number, lambda index: outcome(client, asked[index][0]))
            said = await in_turn(number, lambda index: texts_by_response(client, *asked[index]))
        if mongod:
            await asyncio.to_thread(mongod.kill)
            await asyncio.to_thread(mongod.start)
        assert {one["status"] for one in ended} == {"completed"}
        assert {one["output"][0]["content"][0]["text"] for one in ended} == {"hello you there"}
        assert all(one == ["hi", "hello you there"] for by_response in said for one in by_response.values())
        assert await in_turn(number, lambda index: outcome(client, asked[index][0])) == ended
        async with asyncio.timeout(60):
            while 'mimic_records_jobs{record="response"} 0' not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.2)
