"""Endpoints of runs: each request has one of its own, which knows its thread and its version of the API."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from litestar.types import Scope

from mimic.gateway.context import Policy
from mimic.gateway.handle import Endpoint
from mimic.stored.runs import RunStore
from mimic.wire.openai.assistants import OUTPUTS, RUNS, THREAD_RUNS
from mimic.wire.openai.assistants.beta import HEADER
from mimic.wire.openai.assistants.runs import AnyRunWire, OutputsWire, RunWire, ThreadRunWire
from mimic.wire.openai.responses.wire import ResponsesWire


class RunEndpoints:
    """Makes the endpoint of a request, by the template of its path."""

    def __init__(
        self, responses: ResponsesWire, runs: RunStore, answer: Callable[[Any], Awaitable[Any]], policy: Policy
    ) -> None:
        self._responses = responses
        self._runs = runs
        self._answer = answer
        self._policy = policy
        self.by_path: Mapping[str, Callable[[Scope], Endpoint]] = {
            RUNS: self._run,
            THREAD_RUNS: self._thread_run,
            OUTPUTS: self._outputs,
        }

    def _run(self, scope: Scope) -> Endpoint:
        wire = RunWire(self._responses, self._runs, beta_header(scope), scope["path_params"]["thread_id"])
        return self._endpoint(RUNS, wire)

    def _thread_run(self, scope: Scope) -> Endpoint:
        return self._endpoint(THREAD_RUNS, ThreadRunWire(self._responses, self._runs, beta_header(scope)))

    def _outputs(self, scope: Scope) -> Endpoint:
        ids = scope["path_params"]
        wire = OutputsWire(self._responses, self._runs, beta_header(scope), ids["thread_id"], ids["run_id"])
        return self._endpoint(OUTPUTS, wire)

    def _endpoint(self, path: str, wire: AnyRunWire) -> Endpoint:
        return Endpoint(path, wire, self._answer, self._policy, partial(self._runs.keep, wire))


def beta_header(scope: Scope) -> str:
    """The header that chooses the version of the API; empty without one."""
    name = HEADER.encode()
    return ",".join([value.decode("latin-1") for key, value in scope["headers"] if key == name])
