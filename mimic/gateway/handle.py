"""The one function through which every request for an answer goes, whoever brings it."""

from collections.abc import Awaitable, Callable
from typing import Any

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
from mimic.wire.base import AnyWire


class Endpoint(msgspec.Struct, frozen=True):
    """A kind of request: its path, the wire that it comes in, what answers it, and what it is subject to."""

    path: str
    wire: AnyWire
    answer: Callable[[Any], Awaitable[Any]]
    policy: Policy = Policy()


async def handle(endpoint: Endpoint, body: bytes | RequestError, context: RequestContext) -> Reply:
    """The reply to a request, be it an error.

    A ``body`` that could not be read is told after limits and faults, for which it counts like any other. Raises HungUp
    where a fault cuts the client off.
    """
    try:
        await context.admit(endpoint.policy)
        if isinstance(body, RequestError):
            raise body
        request = await endpoint.wire.read(body, context.query, context.overrides, context.known)
        due = context.due() if endpoint.policy.queued else None
        result = await _observed(endpoint, request, context)
        if usage := getattr(result, "usage", None):
            context.charge(usage)
        return await delivery.reply(endpoint.wire, request, result, context, due)
    except HungUp:
        raise
    except Exception as exc:  # noqa: BLE001 - as in handle
        error = request_error(exc, context.observer.request_id, endpoint.path)
        return delivery.failed(endpoint.wire, error)


async def _observed(endpoint: Endpoint, request: Any, context: RequestContext) -> Any:
    """The result of a request, which the observer gets to see."""
    version = context.known.version
    try:
        result = await endpoint.answer(request)
    except NoCompletion:
        if version:
            context.observer.missed(version)
        raise
    if isinstance(result, Completion) and version:
        context.observer.completed(version, result)
        return result.emptied() if context.empties else result
    if isinstance(result, Continuations) and version:
        return msgspec.structs.replace(result, batches=_counted(result.batches, version, context.observer))
    return result


def _counted(batches: Batches[Choice], version: Version, observer: Observer) -> Batches[Choice]:
    """The same batches, each counted when it is about to be sent."""
    observer.continued(version, len(batches.first))
    if batches.rest is None:
        return batches
    return Batches(batches.first, _each(batches.rest, version, observer))


async def _each(rest: Any, version: Version, observer: Observer) -> Any:
    try:
        async for batch in rest:
            observer.continued(version, len(batch))
            yield batch
    finally:
        await rest.aclose()
