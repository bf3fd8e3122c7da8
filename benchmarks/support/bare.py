"""Servers to compare with: the least that answers, and the plainest lookup of an answer in MongoDB."""

import os
from typing import Any, Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send
from pymongo import AsyncMongoClient

from mimic.corpus.conversation import Message

URL_VARIABLE: Final = "BARE_MONGODB_URL"
HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", b"28")]
CONSTANT: Final = b'{"choices":[{"from":"gpt"}]}'


class Asked(msgspec.Struct):
    """The body of a request."""

    messages: list[Message]


async def constant(scope: Scope, receive: Receive, send: Send) -> None:
    """A bare ASGI callable that gives the same answer to every request."""
    if scope["type"] == ScopeType.HTTP:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": CONSTANT, "more_body": False})


class _Finding:
    """A ``find`` for each request, in the collection of v2, without metrics and checks."""

    _collection: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return
        body, more = b"", True
        while more:
            event: Any = await receive()
            body += event["body"]
            more = event["more_body"]
        last = msgspec.json.decode(body, type=Asked).messages[-1]
        wanted = {"from": last.sender, "value": last.value, "nextMessageType": {"$ne": None}}
        fields = {"_id": 0, "nextMessageType": 1, "nextMessageValue": 1}
        found = await (await self._collection_of_v2()).find(wanted, fields).to_list()
        choices = [{"from": one["nextMessageType"], "value": one["nextMessageValue"]} for one in found]
        body = msgspec.json.encode({"choices": choices})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _collection_of_v2(self) -> Any:
        if self._collection is None:
            database = AsyncMongoClient[dict[str, Any]](os.environ[URL_VARIABLE]).get_default_database()
            catalogue: Any = await database["mimic"].find_one()
            self._collection = database[catalogue["versions"]["v2"]["collection"]]
        return self._collection


finding = _Finding()
