"""The single entry point for every request for an answer, over any transport."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from mimic.corpus.conversation import Choice
from mimic.corpus.schemas import Version
from mimic.corpus.stores.base import Batches
from mimic.engine.base import Completion, Continuations
from mimic.errors import NoCompletion, RequestError
from mimic.gateway import delivery
from mimic.gateway.context import HungUp, Observer, Policy, RequestContext
from mimic.gateway.delivery import Reply
from mimic.gateway.errors import request_error
from mimic.gateway.originals import identified, original_reply
from mimic.wire.base import AnyWire

Read: TypeAlias = Callable[[], Awaitable[bytes | RequestError]]


class Endpoint(msgspec.Struct, frozen=True):
    """A kind of request: its path, its wire format, its answer function and its policy.

    ``keep`` stores a result before it is sent, if the request is ``stored``. It may return a reply to send instead, as
    for work in the background. ``relay`` answers in place of ``answer``: it gets this endpoint, the request, the body
    and the context. It may return the reply itself, for a stream that another service has begun.
    """

    path: str
    wire: AnyWire
    answer: Callable[[Any], Awaitable[Any]]
    policy: Policy = Policy()
    keep: Callable[[Any, Any, RequestContext], Awaitable[Reply | None]] | None = None
    relay: Callable[["Endpoint", Any, bytes, RequestContext], Awaitable[Any]] | None = None


async def handle(endpoint: Endpoint, read: Read, context: RequestContext) -> Reply:
    """Return the reply to a request, errors included. The order of all steps is defined here only.

    ``read`` returns the body, or the error to send instead. It runs after limits and faults, which need no body, and
    before the queue, so that a slow upload holds no place. Raises HungUp if a fault cuts the connection.
    """
    policy, is_plain = endpoint.policy, context.is_plain
    try:
        if not is_plain:
            await context.admit(policy)
        body = await read()
        if isinstance(body, RequestError):
            raise body
        if policy.queued and not context.try_take_place():
            await context.wait_for_place()
        due = context.due() if policy.queued and not is_plain else None
        request = await endpoint.wire.read(body, context.query, context.overrides, context.known)
        if request.usage is not None:
            context.charge(request.usage)
        if endpoint.relay is not None:
            return await _relay(endpoint, request, body, context, due)
        return await _finish(endpoint, request, await endpoint.answer(request), context, due)
    except Exception as exc:  # noqa: BLE001 - every failure is answered and logged
        return _error_reply(endpoint, exc, context)


async def _relay(
    endpoint: Endpoint, request: Any, body: bytes, context: RequestContext, due: Iterator[float] | None
) -> Reply:
    """Return the reply of a relay: its own, or that to its result."""
    assert endpoint.relay is not None
    result = await endpoint.relay(endpoint, request, body, context)
    if isinstance(result, Reply):
        return result
    return await _finish(endpoint, identified(endpoint.wire, request, result), result, context, due)


async def _finish(
    endpoint: Endpoint, request: Any, result: Any, context: RequestContext, due: Iterator[float] | None
) -> Reply:
    """Count, charge and store a result, and return the reply to it."""
    result = _observe(request, result, context)
    if result.usage is not None:
        context.charge(result.usage)
    if endpoint.keep is not None and request.stored and (kept := await endpoint.keep(request, result, context)):
        return kept
    if endpoint.relay is not None and (given := await original_reply(result, context, is_paced=due is not None)):
        return given
    if due is not None:
        due = await delivery.wait_until_due(endpoint.wire, request, result, context, due)
    if result.is_large:  # on the event loop it would delay other requests
        return await asyncio.to_thread(delivery.reply, endpoint.wire, request, result, context, due)
    return delivery.reply(endpoint.wire, request, result, context, due)


def _error_reply(endpoint: Endpoint, exc: Exception, context: RequestContext) -> Reply:
    """Return the reply for a failure, and count a miss. Raises HungUp again: nothing more can be sent."""
    if isinstance(exc, HungUp):
        raise exc
    if isinstance(exc, NoCompletion) and context.known.version:
        context.observer.missed(context.known.version)
    return delivery.error_reply(endpoint.wire, request_error(exc, context.observer.request_id, endpoint.path))


def _observe(request: Any, result: Any, context: RequestContext) -> Any:
    """Pass a result to the observer and return it; with a fault that alters answers, return the altered one."""
    version = context.known.version
    if version and isinstance(result, Completion):
        context.observer.completed(version, result)
        if request.ignored:
            context.observer.ignored(request.ignored)
        return result if context.is_plain else context.alter(result)
    if version and isinstance(result, Continuations):
        batches, observer = result.batches, context.observer
        observer.continued(version, len(batches.first))
        if batches.rest is not None:
            counted = Batches(batches.first, _count_batches(batches.rest, version, observer))
            return msgspec.structs.replace(result, batches=counted)
    return result


async def _count_batches(
    rest: AsyncGenerator[Sequence[Choice]], version: Version, observer: Observer
) -> AsyncGenerator[Sequence[Choice]]:
    async with aclosing(rest):
        async for batch in rest:
            observer.continued(version, len(batch))
            yield batch
