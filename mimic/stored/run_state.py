"""Stored runs as data, and their state at a moment. Pure.

Like a response in the background, each answer is drawn when its request arrives, and stored with the times of its
tokens. So the state of a run, its steps and its message at any moment follow from the record, in any process.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, get_args

import msgspec

from mimic.engine.base import Usage
from mimic.records.base import Record
from mimic.stored.response_state import StoredResponse, seconds_since
from mimic.tokens import cut, text_of
from mimic.wire.base import EventPlan
from mimic.wire.openai.assistants.beta import Beta, shown
from mimic.wire.openai.assistants.events import DONE, call_steps, event, text_steps
from mimic.wire.openai.assistants.objects import (
    SECONDS_OF_A_RUN,
    MessageReason,
    RequiredAction,
    RunError,
    RunIncomplete,
    RunObject,
    RunStatus,
    RunUsage,
    StepObject,
    StepStatus,
    SubmitOutputs,
    ThreadObject,
    message_of,
)
from mimic.wire.openai.responses.answer import item_id
from mimic.wire.openai.responses.items import MESSAGE, RawItem

KIND: Final = "thread_run"
CANCELLED: Final = "cancelled"
ACTIVE: Final = frozenset({"queued", "in_progress", "requires_action"})
"""States of a run that locks its thread."""
_REASONS: Final[Mapping[str, MessageReason]] = {
    "incomplete": "max_tokens",
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "failed": "run_failed",
}
_STEP_STATUSES: Final = frozenset(get_args(StepStatus))


class Turn(msgspec.Struct, frozen=True):
    """An answer of a run. ``began`` is its start in seconds after the creation of the run."""

    began: float
    response: StoredResponse

    @property
    def ends(self) -> float:
        """The time of the last token, in seconds after the creation of the run."""
        return self.began + self.response.last

    @property
    def has_calls(self) -> bool:
        """True if the answer calls functions and is not cut."""
        return bool(self.response.calls) and not self.response.error and self.response.finish_reason != "length"

    @property
    def message_id(self) -> str:
        """The id of the message of the answer."""
        return item_id(self.response.response.id, "msg", 0)

    @property
    def step_id(self) -> str:
        """The id of the step of the answer."""
        return item_id(self.response.response.id, "step", 0)

    def tokens_until(self, seconds: float) -> Sequence[int]:
        """The tokens that are sent until a moment."""
        response = self.response
        tokens = response.tokens[: response.sent] if response.error else response.tokens
        if response.timing is None or seconds >= self.ends:
            return tokens
        moments = zip(tokens, response.timing.moments(), strict=False)
        return cut(tokens, sum(1 for _ in takewhile(lambda pair: self.began + pair[1] <= seconds, moments)))


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record: the run at its start, and its answers.

    ``outputs`` are those of the calls by their ids, ``added`` the messages that the request adds to the thread. With
    ``over`` not even the last message was within the limit of the prompt. ``ended`` is the time of a cancellation.
    """

    run: RunObject
    turns: Sequence[Turn]
    outputs: Mapping[str, str] = {}
    added: Sequence[RawItem] = ()
    over: bool = False
    ended: float = 0.0

    @property
    def last(self) -> Turn:
        """The last answer."""
        return self.turns[-1]

    @property
    def due(self) -> float:
        """The time at which the run is over if nothing happens, in seconds after its creation."""
        return SECONDS_OF_A_RUN if self.last.has_calls else min(self.last.ends, SECONDS_OF_A_RUN)

    @property
    def usage(self) -> Usage:
        """The tokens of all answers."""
        usages = [turn.response.usage for turn in self.turns]
        return Usage(sum(one.prompt_tokens for one in usages), sum(one.completion_tokens for one in usages))


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StoredRun).decode


def written(stored: StoredRun) -> bytes:
    """The data of a record."""
    return _encode(stored)


class RunView(msgspec.Struct, frozen=True):
    """A run at a moment, in seconds after its creation."""

    stored: StoredRun
    created: float
    seconds: float
    status: RunStatus

    @classmethod
    def of(cls, record: Record, at_least: float = 0.0) -> "RunView":
        """The run of a record at the moment, which is not before ``at_least``."""
        return cls.at(record, max(seconds_since(record), at_least))

    @classmethod
    def at(cls, record: Record, seconds: float) -> "RunView":
        """The run of a record some seconds after its creation."""
        stored = _decode(record.data)
        status: RunStatus = "cancelled" if record.state == CANCELLED else _status_of(stored, seconds)
        return cls(stored, record.created, seconds, status)

    @property
    def is_active(self) -> bool:
        """True if the run locks its thread."""
        return self.status in ACTIVE

    def run(self) -> RunObject:
        """The run as an object."""
        stored, last = self.stored, self.stored.last
        error = last.response.error if self.status == "failed" else None
        started = self.status != "queued" or len(stored.turns) > 1
        return msgspec.structs.replace(
            stored.run,
            status=self.status,
            started_at=self._at(stored.turns[0].began + stored.turns[0].response.first) if started else None,
            expires_at=None if self._is_over and self.status != "expired" else stored.run.expires_at,
            completed_at=self._at(last.ends) if self.status in {"completed", "incomplete"} else None,
            failed_at=self._at(last.ends) if self.status == "failed" else None,
            cancelled_at=self._at(stored.ended) if self.status == "cancelled" else None,
            required_action=self._action() if self.status == "requires_action" else None,
            last_error=RunError(error.code, error.message) if error else None,
            incomplete_details=self._incomplete() if self.status == "incomplete" else None,
            usage=RunUsage.of([stored.usage]) if self._is_over else None,
        )

    def message(self) -> RawItem | None:
        """The message of the last answer as it is now, as an item of the thread; None without one."""
        turn, run = self.stored.last, self.stored.run
        if self.stored.over or turn.response.calls:
            return None
        tokens = turn.tokens_until(self.stored.ended if self.status == "cancelled" else self.seconds)
        is_whole = self.status in {"completed", "incomplete"}
        if self._is_over and not is_whole and not tokens:
            return None
        item: dict[str, Any] = {
            "type": MESSAGE,
            "id": turn.message_id,
            "role": "assistant",
            "status": "completed" if self.status == "completed" else "incomplete",
            "content": [
                {"type": "output_text", "text": turn.response.text if is_whole else text_of(tokens), "annotations": []}
            ],
            "created_at": self._at(turn.began),
            "assistant_id": run.assistant_id,
            "run_id": run.id,
            "attachments": [],
            "metadata": {},
        }
        if reason := _REASONS.get(self.status):
            return {**item, "incomplete_at": self._ended_at, "incomplete_details": {"reason": reason}}
        return {**item, "completed_at": self._ended_at}

    def steps(self) -> Sequence[StepObject]:
        """The steps until now, in order."""
        if self.stored.over:
            return ()
        turns = self.stored.turns if self.status != "queued" else self.stored.turns[:-1]
        return [self._step(turn) for turn in turns]

    # Parts

    @property
    def _is_over(self) -> bool:
        return self.status not in ACTIVE

    @property
    def _ended_at(self) -> int:
        """The time of the end of the last answer."""
        if self.status == "expired":
            return self._at(SECONDS_OF_A_RUN)
        return self._at(self.stored.ended if self.status == "cancelled" else self.stored.last.ends)

    def _at(self, seconds: float) -> int:
        return int(self.created + seconds)

    def _action(self) -> RequiredAction:
        return RequiredAction(SubmitOutputs(_calls_of(self.stored.last)))

    def _incomplete(self) -> RunIncomplete:
        return RunIncomplete("max_prompt_tokens" if self.stored.over else "max_completion_tokens")

    def _step(self, turn: Turn) -> StepObject:
        run, is_last = self.stored.run, turn is self.stored.last
        status: StepStatus = "in_progress" if is_last else "completed"
        if is_last and self.status == "incomplete":
            status = "completed"
        elif is_last and self.status in _STEP_STATUSES:
            status = self.status  # type: ignore[assignment] # it is one of both
        ended = self._ended_at if is_last else self._at(turn.ends)
        error = turn.response.error if status == "failed" else None
        step = StepObject(
            id=turn.step_id,
            created_at=self._at(turn.began),
            assistant_id=run.assistant_id,
            thread_id=run.thread_id,
            run_id=run.id,
            type="tool_calls" if turn.response.calls else "message_creation",
            status=status,
            step_details=self._details(turn),
            last_error=RunError(error.code, error.message) if error else None,
            usage=RunUsage.of([turn.response.usage]) if status == "completed" else None,
        )
        return step if status == "in_progress" else msgspec.structs.replace(step, **{f"{status}_at": ended})

    def _details(self, turn: Turn) -> Mapping[str, Any]:
        if not turn.response.calls:
            return {"type": "message_creation", "message_creation": {"message_id": turn.message_id}}
        is_sent = turn is not self.stored.last or self.status not in {"queued", "in_progress"}
        calls = _calls_of(turn) if is_sent else ()
        outputs = self.stored.outputs
        whole = [{**call, "function": {**call["function"], "output": outputs.get(call["id"])}} for call in calls]
        return {"type": "tool_calls", "tool_calls": whole}


def _status_of(stored: StoredRun, seconds: float) -> RunStatus:
    """The status of a run that was not cancelled."""
    turn = stored.last
    if stored.over:
        return "incomplete"
    if seconds < min(turn.ends, SECONDS_OF_A_RUN):
        return "queued" if seconds < turn.began + turn.response.first else "in_progress"
    if turn.ends > SECONDS_OF_A_RUN or (turn.has_calls and seconds >= SECONDS_OF_A_RUN):
        return "expired"
    if turn.response.error:
        return "failed"
    if turn.has_calls:
        return "requires_action"
    return "incomplete" if turn.response.finish_reason == "length" else "completed"


def _calls_of(turn: Turn) -> Sequence[dict[str, Any]]:
    """The calls of an answer."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in turn.response.calls
    ]


def at_start(view: RunView, status: RunStatus) -> RunView:
    """A run at the start of its last answer."""
    return msgspec.structs.replace(view, seconds=view.stored.last.began, status=status)


def plan_of(view: RunView, beta: Beta, thread: ThreadObject | None) -> EventPlan:
    """The stream of the last answer of a run, without its end: see :func:`ending_of`."""
    turn, response = view.stored.last, view.stored.last.response
    queued, begun = at_start(view, "queued").run(), at_start(view, "in_progress")
    events = [("thread.created", shown(thread, beta))] if thread else []
    if len(view.stored.turns) == 1:
        events.append(("thread.run.created", shown(queued, beta)))
    else:
        events.append(("thread.run.step.completed", shown(begun.steps()[-2], beta)))
    events += [("thread.run.queued", shown(queued, beta)), ("thread.run.in_progress", shown(begun.run(), beta))]
    if view.stored.over:
        return EventPlan(_events(events), text_steps("", ()))
    step = shown(begun.steps()[-1], beta)
    events += [("thread.run.step.created", step), ("thread.run.step.in_progress", step)]
    tokens = turn.tokens_until(float("inf"))
    if response.calls:
        calls = response.completion().answers[0].tool_calls
        return EventPlan(_events(events), call_steps(turn.step_id, calls), tokens=len(tokens))
    message = {**shown(_begun_message(begun), beta), "status": "in_progress", "completed_at": None}
    events += [("thread.message.created", message), ("thread.message.in_progress", message)]
    return EventPlan(_events(events), text_steps(turn.message_id, tokens), tokens=len(tokens))


def ending_of(view: RunView, beta: Beta) -> bytes:
    """The last events of a stream."""
    events, run, ended = [], view.stored.run, view.run()
    if ended.status == CANCELLED:
        cancelling = msgspec.structs.replace(ended, status="cancelling", cancelled_at=None, usage=None)
        events.append(("thread.run.cancelling", shown(cancelling, beta)))
    if not view.stored.over:
        if item := view.message():
            message = message_of(item, run.thread_id)
            events.append((f"thread.message.{message.status}", shown(message, beta)))
        step = view.steps()[-1]
        if step.status != "in_progress":
            events.append((f"thread.run.step.{step.status}", shown(step, beta)))
    events.append((f"thread.run.{ended.status}", shown(ended, beta)))
    return _events(events) + DONE


def _begun_message(begun: RunView) -> Any:
    item = begun.message()
    assert item is not None
    return message_of({**item, "content": []}, begun.stored.run.thread_id)


def _events(events: Sequence[tuple[str, dict[str, Any]]]) -> bytes:
    return b"".join([event(name, data) for name, data in events])
