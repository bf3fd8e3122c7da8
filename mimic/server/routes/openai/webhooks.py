"""Routes of webhook endpoints, and the list of deliveries."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, get_args

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from mimic.jobs.webhooks import WebhookSender
from mimic.server.error_handlers import error_responses
from mimic.server.guards import SECURITY
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemLimit, ItemOrder
from mimic.stored.pages import ObjectPage
from mimic.stored.webhook_deliveries import DeliveryStore
from mimic.stored.webhook_endpoints import EndpointStore, WebhookEndpointObject
from mimic.stored.webhook_targets import MOST_CHARACTERS
from mimic.wire.openai.base import created_now
from mimic.wire.openai.webhooks import BatchEventType, EventType, ResponseEventType

PATH: Final = "/v1/webhook_endpoints"
ENDPOINT_PATH: Final = f"{PATH}/{{webhook_endpoint_id:str}}"
WITH_METHODS: Final = (PATH, ENDPOINT_PATH)
"""Paths with several methods."""
MOST_TYPES: Final = 100

EndpointId = Annotated[str, PathParameter(description="The id of a webhook endpoint.", min_length=1, max_length=200)]
EventTypes = Annotated[Sequence[EventType], msgspec.Meta(min_length=1, max_length=MOST_TYPES)]
EndpointName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
EndpointURL = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_CHARACTERS)]


class NewEndpoint(msgspec.Struct, frozen=True):
    """Name, URL and types of events of a new endpoint."""

    name: EndpointName
    url: EndpointURL
    event_types: EventTypes


class EndpointChange(msgspec.Struct, frozen=True):
    """New values of an endpoint; a missing one stays."""

    name: EndpointName | msgspec.UnsetType = msgspec.UNSET
    url: EndpointURL | msgspec.UnsetType = msgspec.UNSET
    event_types: EventTypes | msgspec.UnsetType = msgspec.UNSET


class SecretRotation(msgspec.Struct, frozen=True):
    """The rule for the old secret."""

    keep_old_secret_active_for_24_hours: bool = False


class EndpointTest(msgspec.Struct, frozen=True):
    """The type of the event to send."""

    event_type: EventType


class EndpointTestResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of an endpoint to a test."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: bool = True


class DeletedEndpoint(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool = True


class EventTypeList(msgspec.Struct, frozen=True):
    """Types of events that occur."""

    object: Literal["list"] = "list"
    data: Sequence[ResponseEventType | BatchEventType] = (*get_args(ResponseEventType), *get_args(BatchEventType))


@post(
    PATH,
    status_code=200,
    summary="Create a webhook endpoint",
    guards=GUARDS,
    description="The answer has the signing secret, which no other answer repeats.",
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_endpoint(
    data: JSONBody[NewEndpoint], webhooks: NamedDependency[EndpointStore], owner: NamedDependency[str]
) -> WebhookEndpointObject:
    """Create an endpoint."""
    return await webhooks.create(owner, data.name, data.url, data.event_types, created_now())


@get(
    PATH,
    summary="List webhook endpoints",
    guards=GUARDS,
    description="The newest endpoint comes first.",
    responses=error_responses(400, 401, 503),
)
async def list_endpoints(
    webhooks: NamedDependency[EndpointStore],
    owner: NamedDependency[str],
    limit: ItemLimit = 20,
    after: AfterItem = None,
) -> ObjectPage:
    """Return a page of endpoints."""
    return await webhooks.page(owner, limit, after)


@get(
    ENDPOINT_PATH,
    summary="Retrieve a webhook endpoint",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_endpoint(
    webhook_endpoint_id: EndpointId, webhooks: NamedDependency[EndpointStore], owner: NamedDependency[str]
) -> WebhookEndpointObject:
    """Return an endpoint, without its secret."""
    return await webhooks.get(webhook_endpoint_id, owner)


@post(
    ENDPOINT_PATH,
    status_code=200,
    summary="Change a webhook endpoint",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_endpoint(
    webhook_endpoint_id: EndpointId,
    data: JSONBody[EndpointChange],
    webhooks: NamedDependency[EndpointStore],
    owner: NamedDependency[str],
) -> WebhookEndpointObject:
    """Change name, URL or types of events of an endpoint."""
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not msgspec.UNSET}
    return await webhooks.update(webhook_endpoint_id, owner, created_now(), **changes)


@delete(
    ENDPOINT_PATH,
    status_code=200,
    summary="Delete a webhook endpoint",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_endpoint(
    webhook_endpoint_id: EndpointId, webhooks: NamedDependency[EndpointStore], owner: NamedDependency[str]
) -> DeletedEndpoint:
    """Delete an endpoint. Its pending deliveries fail."""
    await webhooks.delete(webhook_endpoint_id, owner)
    return DeletedEndpoint(webhook_endpoint_id)


@post(
    f"{ENDPOINT_PATH}/test",
    status_code=200,
    summary="Test a webhook endpoint",
    guards=GUARDS,
    description="Sends a sample event once, and waits for the answer.",
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def test_endpoint(
    webhook_endpoint_id: EndpointId,
    data: JSONBody[EndpointTest],
    sender: NamedDependency[WebhookSender],
    owner: NamedDependency[str],
) -> EndpointTestResult:
    """Send a sample event, and return the status of the answer."""
    status = await sender.test(webhook_endpoint_id, owner, data.event_type)
    return EndpointTestResult(webhook_endpoint_id=webhook_endpoint_id, event_type=data.event_type, status_code=status)


@post(
    f"{ENDPOINT_PATH}/rotate_secret",
    status_code=200,
    summary="Rotate the secret of a webhook endpoint",
    guards=GUARDS,
    description="The answer has the new signing secret, which no other answer repeats.",
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def rotate_secret(
    webhook_endpoint_id: EndpointId,
    data: JSONBody[SecretRotation],
    webhooks: NamedDependency[EndpointStore],
    owner: NamedDependency[str],
) -> WebhookEndpointObject:
    """Replace the secret. The old one may sign events for another day."""
    keeps_old = data.keep_old_secret_active_for_24_hours
    return await webhooks.rotate(webhook_endpoint_id, owner, created_now(), keeps_old=keeps_old)


@get(
    "/v1/webhook_event_types",
    summary="List types of events",
    guards=GUARDS,
    description="Lists the types of events that Mimic sends. Endpoints may name OpenAI's other types, too.",
    responses=error_responses(400, 401),
)
async def list_event_types() -> EventTypeList:
    """Return the types of events."""
    return EventTypeList()


@get(
    "/mimic/webhook_deliveries",
    summary="Deliveries of webhooks",
    tags=["Tests"],
    guards=GUARDS,
    security=SECURITY,
    description="Lists events and targets with their attempts, until a day after the last attempt.",
    responses=error_responses(400, 401, 503),
)
async def list_deliveries(
    deliveries: NamedDependency[DeliveryStore],
    owner: NamedDependency[str],
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: Annotated[str | None, QueryParameter(description="The id of the delivery before the page.")] = None,
) -> ObjectPage:
    """Return a page of deliveries."""
    return await deliveries.page(owner, limit, after, order)


ROUTES: Final = (
    create_endpoint,
    list_endpoints,
    retrieve_endpoint,
    update_endpoint,
    delete_endpoint,
    test_endpoint,
    rotate_secret,
    list_event_types,
)
