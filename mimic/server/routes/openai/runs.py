"""Routes of runs and of their steps: the documentation of the endpoints, and stored runs by their ids."""

from typing import Annotated, Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, JSONBody, PathParameter

from mimic.server.error_handlers import error_responses
from mimic.server.routes.docs import FaultyOperation
from mimic.server.routes.openai.assistants import BeforeItem, BetaHeader, Version, answer_in
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemLimit, ItemOrder
from mimic.server.routes.openai.threads import ThreadId
from mimic.stored.pages import ObjectPage
from mimic.stored.runs import RunStore
from mimic.wire.openai.assistants import OUTPUTS, RUNS, THREAD_RUNS
from mimic.wire.openai.assistants.objects import RunObject, StepObject
from mimic.wire.openai.assistants.runs import RunParameters, SubmittedOutputs, ThreadRunParameters
from mimic.wire.openai.assistants.threads import MetadataChange

RUN_PATH: Final = f"{RUNS}/{{run_id:str}}"
STEPS_PATH: Final = f"{RUN_PATH}/steps"
WITH_METHODS: Final = (RUN_PATH,)
"""Paths with several methods."""
POLL_HEADER: Final = "openai-poll-after-ms"
"""Milliseconds after which a client asks for a run again."""
EXAMPLE: Final = {"assistant_id": "asst_example"}
OUTPUTS_EXAMPLE: Final = {"tool_outputs": [{"tool_call_id": "call_1", "output": "sunny"}]}

RunId = Annotated[str, PathParameter(description="The id of a run.", min_length=1, max_length=200)]
StepId = Annotated[str, PathParameter(description="The id of a step.", min_length=1, max_length=200)]

_RUN: Final = {
    200: ResponseSpec(RunObject, description="The run; with `stream`, server-sent events.", generate_examples=False),
    **error_responses(400, 401, 404, 413, 415, 429, 503),
}


@post(
    THREAD_RUNS,
    status_code=200,
    summary="Create a thread, and run it",
    operation_class=FaultyOperation,
    responses=_RUN,
)
async def create_thread_and_run(
    data: Annotated[ThreadRunParameters, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    openai_beta: BetaHeader = "",
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@post(
    RUNS,
    status_code=200,
    summary="Run a thread",
    operation_class=FaultyOperation,
    description="Answers the messages of a thread like a response in the background.",
    responses=_RUN,
)
async def create_run(
    thread_id: ThreadId,
    data: Annotated[RunParameters, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    openai_beta: BetaHeader = "",
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@post(
    OUTPUTS,
    status_code=200,
    summary="Submit the outputs of a run's calls",
    operation_class=FaultyOperation,
    responses=_RUN,
)
async def submit_tool_outputs(
    thread_id: ThreadId,
    run_id: RunId,
    data: Annotated[
        SubmittedOutputs, BodyKwarg(media_type="application/json", examples=[Example(value=OUTPUTS_EXAMPLE)])
    ],
    openai_beta: BetaHeader = "",
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@get(
    RUNS,
    summary="List the runs of a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def list_runs(
    thread_id: ThreadId,
    runs: NamedDependency[RunStore],
    owner: NamedDependency[str],
    beta: Version,
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: AfterItem = None,
    before: BeforeItem = None,
) -> ObjectPage:
    """Return a page of the runs."""
    return await runs.page(thread_id, owner, limit, after, before, order, beta)


@get(
    RUN_PATH,
    summary="Retrieve a run",
    guards=GUARDS,
    description="Gives a run in its state at the moment, and while it works the header `openai-poll-after-ms`.",
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_run(
    thread_id: ThreadId,
    run_id: RunId,
    runs: NamedDependency[RunStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[RunObject]:
    """Return a run."""
    run, left = await runs.get(thread_id, run_id, owner)
    answer: Response[Any] = answer_in(run, beta)
    if left is not None:
        answer.set_header(POLL_HEADER, str(int(left * 1000)))
    return answer


@post(
    RUN_PATH,
    status_code=200,
    summary="Change a run",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_run(
    thread_id: ThreadId,
    run_id: RunId,
    data: JSONBody[MetadataChange],
    runs: NamedDependency[RunStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[RunObject]:
    """Replace the metadata of a run."""
    return answer_in(await runs.update(thread_id, run_id, owner, **data.fields()), beta)


@post(
    f"{RUN_PATH}/cancel",
    status_code=200,
    summary="Cancel a run",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def cancel_run(
    thread_id: ThreadId,
    run_id: RunId,
    runs: NamedDependency[RunStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[RunObject]:
    """Cancel a run that is active. The text until now becomes an incomplete message."""
    return answer_in(await runs.cancel(thread_id, run_id, owner), beta)


@get(
    STEPS_PATH,
    summary="List the steps of a run",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def list_steps(
    thread_id: ThreadId,
    run_id: RunId,
    runs: NamedDependency[RunStore],
    owner: NamedDependency[str],
    beta: Version,
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: AfterItem = None,
    before: BeforeItem = None,
) -> ObjectPage:
    """Return a page of the steps."""
    return await runs.steps(thread_id, run_id, owner, limit, after, before, order, beta)


@get(
    f"{STEPS_PATH}/{{step_id:str}}",
    summary="Retrieve a step of a run",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_step(
    thread_id: ThreadId,
    run_id: RunId,
    step_id: StepId,
    runs: NamedDependency[RunStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[StepObject]:
    """Return a step."""
    return answer_in(await runs.step(thread_id, run_id, step_id, owner), beta)


DOCUMENTED: Final = {RUNS: create_run, THREAD_RUNS: create_thread_and_run, OUTPUTS: submit_tool_outputs}
"""Handlers of the endpoints, which only the OpenAPI document uses."""
ROUTES: Final = (retrieve_run, update_run, cancel_run, list_steps, retrieve_step)
