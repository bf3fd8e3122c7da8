"""The store of runs: it keeps them, shows them at a moment, and finishes them.

A run is a record with its answers, each a stored response. Its thread names its last run, so that one run at a time is
active on a thread. A run that is over has its message in the thread before anything shows it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from itertools import islice
from typing import Any, Final

import msgspec

from mimic.engine.base import Completion, ToolCall
from mimic.errors import RecordChanged, RequestError
from mimic.gateway.context import RequestContext
from mimic.gateway.delivery import STREAM_HEADERS, Reply, headers_of, interrupt, pace_steps, with_limits_of_imitation
from mimic.records.base import Change, Claim, Draft, Lease, Order, Record, Records
from mimic.spelling import shown
from mimic.stored.assistants import AssistantStore
from mimic.stored.conversations import ConversationStore, StoredConversation
from mimic.stored.pages import ObjectPage, page_of
from mimic.stored.responses import new_response
from mimic.stored.run_state import CANCELLED, KIND, RunView, StoredRun, Turn, at_start, ending_of, plan_of, written
from mimic.stored.streams import until_cancelled
from mimic.wire.base import EVENTS, AnyWire
from mimic.wire.openai.assistants.beta import Beta
from mimic.wire.openai.assistants.beta import shown as shown_in
from mimic.wire.openai.assistants.objects import AssistantObject, RunObject, StepObject, ThreadObject
from mimic.wire.openai.assistants.runs import RunHistory, RunRequest, WaitingRun
from mimic.wire.openai.responses.items import RawItem

QUEUED: Final = "queued"
LONGEST_POLL: Final = 1.0
"""Seconds after which a client asks again for a run that takes long."""
SECONDS_TO_LOCK: Final = 5.0
"""Seconds in which a new run locks its thread, before a process may finish it."""


class RunStore(RunHistory):
    """Runs in the records. Each method with an owner finds the runs of this owner only."""

    def __init__(
        self,
        records: Records,
        threads: ConversationStore,
        assistants: AssistantStore,
        seconds_to_lock: float = SECONDS_TO_LOCK,
    ) -> None:
        self._records = records
        self._threads = threads
        self._assistants = assistants
        self._seconds_to_lock = seconds_to_lock

    # Keeping

    async def keep(self, wire: AnyWire, request: RunRequest, completion: Completion, context: RequestContext) -> Reply:
        """Store the answer of a run. Returns the reply: the run at its start, or its events."""
        owner = context.known.owner
        response = new_response(request, completion, context)
        if request.over:
            response = msgspec.structs.replace(response, text="", tokens=(), calls=())
        turn = Turn(0.0, response)
        if request.outputs is None:
            stored = StoredRun(run=request.run, turns=[turn], added=request.added, over=request.over)
            record = await self.begin(stored, request.thread, owner)
        else:
            record = await self.proceed(request.run, turn, request.outputs, owner, over=request.over)
        view = RunView.of(record)
        headers = with_limits_of_imitation(headers_of(completion), request, completion)
        if not request.stream:
            run = at_start(view, "queued").run()
            return Reply(msgspec.json.encode(shown_in(run, request.beta)), headers)
        body = self._stream(wire, request, view, context)
        return Reply(body, {**STREAM_HEADERS, **headers}, media_type=EVENTS)

    async def begin(self, stored: StoredRun, thread: ThreadObject | None, owner: str) -> Record:
        """Store a new run, and lock its thread, which may be new. Raises RequestError if another run is active there.

        A process that ends in between leaves a run that is finished like any other. A refused run is deleted before
        it is due.
        """
        run = stored.run
        if thread:
            new = StoredConversation(thread.created_at, thread.metadata, tool_resources=thread.tool_resources)
            await self._threads.put(thread.id, new, (), owner)
        record = await self._records.put(
            Draft(
                kind=KIND,
                id=run.id,
                owner=owner,
                parent=run.thread_id,
                state=QUEUED,
                data=written(stored),
                due=stored.due + self._seconds_to_lock,
            )
        )
        try:
            await self._lock(run.thread_id, run.id, owner)
        except RequestError:
            await self._records.delete(KIND, run.id, owner)
            raise
        if stored.added:
            await self._threads.append(run.thread_id, owner, stored.added)
        return record

    async def _lock(self, thread_id: str, run_id: str, owner: str) -> None:
        """Make a run the last one of its thread. Raises RequestError if another one is active."""
        while True:
            record, thread = await self._threads.find(thread_id, owner)
            await self._check_unlocked(thread_id, thread, owner)
            try:
                await self._threads.write(record, msgspec.structs.replace(thread, run=run_id))
            except RecordChanged:  # another run, or another message
                continue
            return

    async def _check_unlocked(self, thread_id: str, thread: StoredConversation, owner: str) -> None:
        if active := await self._active(thread, owner):
            text = f"Thread {thread_id} already has an active run {active}."
            raise RequestError(400, text)

    async def proceed(
        self, run: RunObject, turn: Turn, outputs: Mapping[str, str], owner: str, *, over: bool = False
    ) -> Record:
        """Store the next answer of a run. Raises RequestError if it does not wait for outputs any more."""
        while True:
            record, view = await self._view(run.thread_id, run.id, owner)
            _check_waiting(view)
            began = view.seconds
            stored = msgspec.structs.replace(
                view.stored,
                turns=[*view.stored.turns, msgspec.structs.replace(turn, began=began)],
                outputs={**view.stored.outputs, **outputs},
                over=over,
            )
            change = Change(state=QUEUED, data=written(stored), due=max(0.0, stored.due - began))
            with suppress(RecordChanged):  # outputs came twice, it was cancelled, or it has other metadata
                return await self._records.update(record, change)

    # Finishing

    async def finish(self, claim: Claim) -> None:
        """Finish a run that is due. Raises RecordChanged after a cancellation."""
        view = RunView.of(claim.record)
        view = RunView.of(claim.record, view.stored.due)
        await self._finish(claim.record, view, claim.lease)

    async def _finish(self, record: Record, view: RunView, lease: Lease | None = None) -> None:
        """Add the message of a run to its thread, and write the outcome. Each step may be repeated."""
        await self._add(view, record.owner)
        await self._records.update(record, Change(state=view.status, due=None), lease)

    async def _add(self, view: RunView, owner: str) -> None:
        item = view.message()
        items = [*view.stored.added, item] if item else view.stored.added
        if items:
            await self._threads.append(view.stored.run.thread_id, owner, items)

    async def settle(self, thread_id: str, owner: str) -> str:
        """Finish the last run of a thread if it is over. Returns its id if it is active. Raises RequestError (404)."""
        _, thread = await self._threads.find(thread_id, owner)
        return await self._active(thread, owner)

    async def _active(self, thread: StoredConversation, owner: str) -> str:
        """The id of the last run if it is active, or an empty text. A run that is over is finished."""
        record = await self._records.get(KIND, thread.run, owner) if thread.run else None
        return thread.run if record and (await self._settled(record))[1].is_active else ""

    async def _settled(self, record: Record, at_least: float = 0.0) -> tuple[Record, RunView]:
        """A run at the moment, finished if it is over."""
        view = RunView.of(record, at_least)
        while not view.is_active and record.due is not None:
            try:
                await self._finish(record, view)
            except RecordChanged:  # it was cancelled, changed, or finished by another process
                found = await self._records.get(KIND, record.id, None)
                if found is None:
                    break
                record, view = found, RunView.of(found, at_least)
                continue
            break
        return record, view

    # By id

    async def _view(self, thread_id: str, run_id: str, owner: str) -> tuple[Record, RunView]:
        """A run at the moment. Raises RequestError (404)."""
        record = await self._records.get(KIND, run_id, owner)
        if record is None or record.parent != thread_id:
            await self._threads.find(thread_id, owner)
            raise RequestError(404, f"No run found with id '{shown(run_id)}'.")
        return await self._settled(record)

    async def get(self, thread_id: str, run_id: str, owner: str) -> tuple[RunObject, float | None]:
        """A run, and the seconds until its next state if it works. Raises RequestError (404)."""
        _, view = await self._view(thread_id, run_id, owner)
        left = min(max(0.01, view.stored.last.ends - view.seconds), LONGEST_POLL)
        return view.run(), left if view.status in {"queued", "in_progress"} else None

    async def update(self, thread_id: str, run_id: str, owner: str, **fields: Any) -> RunObject:
        """Replace fields of a run. Raises RequestError (404)."""
        while True:
            record, view = await self._view(thread_id, run_id, owner)
            run = msgspec.structs.replace(view.stored.run, **fields)
            stored = msgspec.structs.replace(view.stored, run=run)
            try:
                record = await self._records.update(record, Change(data=written(stored)))
            except RecordChanged:
                continue
            return RunView.of(record).run()

    async def cancel(self, thread_id: str, run_id: str, owner: str) -> RunObject:
        """Cancel a run that is active. Raises RequestError."""
        while True:
            record, view = await self._view(thread_id, run_id, owner)
            if not view.is_active:
                raise RequestError(400, f"Cannot cancel run with status '{view.status}'.")
            stored = msgspec.structs.replace(view.stored, ended=view.seconds)
            change = Change(state=CANCELLED, data=written(stored), due=None)
            try:
                record = await self._records.update(record, change)
            except RecordChanged:  # it went on in between
                continue
            await self._add(RunView.of(record), owner)
            return msgspec.structs.replace(view.run(), status="cancelling", required_action=None)

    async def page(
        self, thread_id: str, owner: str, limit: int, after: str | None, before: str | None, order: Order, beta: Beta
    ) -> ObjectPage:
        """A page of the runs of a thread. Raises RequestError (404), and UnknownCursor."""
        await self.settle(thread_id, owner)
        found = await self._records.page(KIND, owner, thread_id, after=after, before=before, order=order, limit=limit)
        objects = [shown_in(RunView.of(record).run(), beta) for record in found.records]
        return ObjectPage.of(objects, has_more=found.has_more)

    async def delete_all(self, thread_id: str, owner: str) -> None:
        """Delete the runs of a thread."""
        await self._records.delete_under(KIND, thread_id, owner)

    # Steps

    async def steps(
        self,
        thread_id: str,
        run_id: str,
        owner: str,
        limit: int,
        after: str | None,
        before: str | None,
        order: Order,
        beta: Beta,
    ) -> ObjectPage:
        """A page of the steps of a run. Raises RequestError (404), and UnknownCursor."""
        _, view = await self._view(thread_id, run_id, owner)
        steps: list[dict[str, Any]] = [shown_in(step, beta) for step in view.steps()]
        return page_of(steps[::-1] if order == "desc" else steps, limit, after, before)

    async def step(self, thread_id: str, run_id: str, step_id: str, owner: str) -> StepObject:
        """A step of a run. Raises RequestError (404)."""
        _, view = await self._view(thread_id, run_id, owner)
        for step in view.steps():
            if step.id == step_id:
                return step
        raise RequestError(404, f"No run step found with id '{shown(step_id)}'.")

    # History

    async def assistant(self, assistant_id: str, owner: str) -> AssistantObject:
        return await self._assistants.get(assistant_id, owner)

    async def messages(self, thread_id: str, owner: str) -> Sequence[RawItem]:
        _, thread = await self._threads.find(thread_id, owner)
        await self._check_unlocked(thread_id, thread, owner)
        return await self._threads.recent_items(thread_id, owner)

    async def waiting(self, thread_id: str, run_id: str, owner: str) -> tuple[WaitingRun, Sequence[RawItem]]:
        _, view = await self._view(thread_id, run_id, owner)
        _check_waiting(view)
        stored = view.stored
        calls = [_calls_of(turn) for turn in stored.turns]
        found = WaitingRun(stored.run, calls, stored.outputs, stored.usage)
        return found, await self._threads.recent_items(thread_id, owner)

    # Streams

    async def _stream(
        self, wire: AnyWire, request: RunRequest, view: RunView, context: RequestContext
    ) -> AsyncIterator[bytes]:
        """Yield the events of an answer, each at its time, until it is over or the run is cancelled."""
        run, owner, fault, turn = view.stored.run, context.known.owner, context.injected, view.stored.last
        plan = plan_of(view, request.beta, request.thread)
        began = asyncio.get_running_loop().time()
        due = (began + moment for moment in context.timing.moments()) if context.timing else None
        if fault and fault.kind in {"disconnect", "malformed", "stall"}:
            parts = interrupt(wire, plan, due, fault, context)
        else:
            steps = islice(plan.steps, turn.response.sent) if turn.response.error else plan.steps
            parts = pace_steps(plan.opening, steps, b"", due)
        async with aclosing(until_cancelled(parts, partial(self._is_ended_early, run.id, owner))) as sent:
            async for part in sent:
                yield part
        if fault and fault.kind == "disconnect":
            return
        record = await self._records.get(KIND, run.id, owner)
        if record is not None:
            yield ending_of((await self._settled(record, turn.ends))[1], request.beta)

    async def _is_ended_early(self, run_id: str, owner: str) -> bool:
        """True if a run was cancelled, has expired, or was deleted with its thread."""
        record = await self._records.get(KIND, run_id, owner)
        return record is None or RunView.of(record).status in {CANCELLED, "expired"}


def _check_waiting(view: RunView) -> None:
    """Raises RequestError unless a run waits for outputs."""
    if view.status != "requires_action":
        raise RequestError(400, f'Runs in status "{view.status}" do not accept tool outputs.')


def _calls_of(turn: Turn) -> Sequence[ToolCall]:
    return [ToolCall(call.id, call.name, call.arguments) for call in turn.response.calls]
