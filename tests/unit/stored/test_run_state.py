"""The state of a run at a moment, which follows from its record."""

from typing import Any, Final

import msgspec
import pytest

from mimic.engine.base import Usage
from mimic.gateway.pacing import Delay, Pace, Timing
from mimic.records.base import Record
from mimic.stored.response_state import StoredCall, StoredResponse
from mimic.stored.run_state import RunView, StoredRun, Turn, at_start, ending_of, plan_of, written
from mimic.tokens import encode
from mimic.wire.openai.assistants.beta import beta_of, shown
from mimic.wire.openai.assistants.objects import RunObject, ThreadObject
from mimic.wire.openai.responses.answer import ResponseError, ResponseObject

CREATED: Final = 1_700_000_000.0
SECONDS: Final = Timing(Pace(Delay(1000), Delay(1000)), 0)
"""The first token after a second, and each further one a second later."""
RUN: Final = RunObject(
    id="run_1",
    created_at=int(CREATED),
    expires_at=int(CREATED) + 600,
    assistant_id="asst_1",
    thread_id="thread_1",
    model="m",
    truncation_strategy={"type": "auto", "last_messages": None},
)
CALL: Final = StoredCall("call_1", "look", '{"a": 1}', False, encode('{"a": 1}'))


def answer(text: str = "", number: int = 1, **fields: Any) -> StoredResponse:
    """A stored answer at a token a second."""
    given: dict[str, Any] = {"tokens": encode(text), "calls": (), "finish_reason": "stop", "timing": SECONDS, **fields}
    if given["calls"]:
        given["tokens"] = [token for call in given["calls"] for token in call.tokens]
    response = ResponseObject(id=f"resp_{number:048x}", created_at=0, model="m")
    return StoredResponse(response=response, items=(), ancestors=(), text=text, usage=Usage(10, 3), **given)


def view(seconds: float, *turns: Turn, state: str = "queued", **fields: Any) -> RunView:
    """A run some seconds after its creation."""
    record = Record(
        kind="thread_run",
        id="run_1",
        owner="",
        parent="thread_1",
        position=1,
        state=state,
        data=written(StoredRun(run=RUN, turns=turns, **fields)),
        created=CREATED,
        expires=None,
        due=None,
        revision=1,
        generation=0,
        holder=None,
    )
    return RunView.at(record, seconds)


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, "queued"), (0.9, "queued"), (1, "in_progress"), (2.9, "in_progress"), (3, "completed")]
)
def test_a_run_follows_its_tokens(seconds: float, status: str) -> None:
    """A run is queued before the first token, in progress until the last one, and then completed."""
    run = view(seconds, Turn(0.0, answer("hello you there"))).run()
    assert run.status == status
    assert (run.started_at is None) == (status == "queued")
    assert (run.completed_at, run.usage is None) == (
        (int(CREATED) + 3, False) if status == "completed" else (None, True)
    )


def test_the_message_and_its_step() -> None:
    """A message is whole at the end; its step names it, and has its usage."""
    done = view(3, Turn(0.0, answer("hello you there")))
    message, [step] = done.message(), done.steps()
    assert message
    assert (message["status"], message["content"][0]["text"]) == ("completed", "hello you there")
    assert step.step_details["message_creation"]["message_id"] == message["id"]
    assert (step.status, step.completed_at) == ("completed", int(CREATED) + 3)
    assert view(0.5, Turn(0.0, answer("hello"))).steps() == []
    assert [one.status for one in view(1.5, Turn(0.0, answer("hello you"))).steps()] == ["in_progress"]


@pytest.mark.parametrize(
    ("seconds", "fields", "status", "reason", "text"),
    [
        (9, {"state": "cancelled", "ended": 2.0}, "cancelled", "run_cancelled", "hello you"),
        (9, {"state": "cancelled", "ended": 0.5}, "cancelled", None, None),
    ],
)
def test_a_cancelled_run(seconds: float, fields: Any, status: str, reason: str | None, text: str | None) -> None:
    """The text until the cancellation is an incomplete message; without a token there is none."""
    found = view(seconds, Turn(0.0, answer("hello you there")), **fields)
    message = found.message()
    assert (found.status, found.run().cancelled_at) == (status, int(CREATED + fields["ended"]))
    if reason is None:
        assert message is None
    else:
        assert message
        assert (message["incomplete_details"], message["content"][0]["text"]) == ({"reason": reason}, text)


def test_other_ends() -> None:
    """A run fails with its error, is incomplete after a cut, and expires after ten minutes."""
    error = ResponseError("server_error", "no")
    failed = view(9, Turn(0.0, answer("hello you there", error=error, sent=1)))
    message = failed.message()
    assert message
    assert (failed.status, message["content"][0]["text"]) == ("failed", "hello")
    cut = view(9, Turn(0.0, answer("hello you", finish_reason="length"))).run()
    assert cut.incomplete_details
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    late = Timing(Pace(Delay(599_000), Delay(1000)), 0)
    slow = Turn(0.0, answer("hello you there", timing=late))
    assert view(599.5, slow).status == "in_progress"
    expired = view(600, slow)
    message = expired.message()
    assert message
    assert (expired.status, expired.run().expires_at, message["content"][0]["text"]) == (
        "expired",
        int(CREATED) + 600,
        "hello you",
    )


def test_calls_wait_for_outputs() -> None:
    """A run with calls waits until it expires; the next answer begins later, and adds its usage."""
    turn = Turn(0.0, answer(calls=[CALL]))
    assert view(0.5, turn).steps() == []
    assert view(1.5, turn).steps()[0].step_details["tool_calls"] == []
    waiting = view(100, turn)
    action = waiting.run().required_action
    assert action
    assert [call["id"] for call in action.submit_tool_outputs.tool_calls] == ["call_1"]
    assert (waiting.status, waiting.message(), waiting.stored.due) == ("requires_action", None, 600)
    assert view(600, turn).status == "expired"
    turns = (turn, Turn(100.0, answer("sunny", 2)))
    assert view(100.5, *turns, outputs={"call_1": "x"}).run().status == "queued"
    done = view(103, *turns, outputs={"call_1": "x"})
    first, second = done.steps()
    assert first.step_details["tool_calls"][0]["function"]["output"] == "x"
    usage = done.run().usage
    assert usage
    assert (done.status, usage.total_tokens, second.created_at) == ("completed", 26, int(CREATED) + 100)


def test_a_prompt_over_its_limit_has_no_answer() -> None:
    """The run is incomplete at once, without a step and a message."""
    over = view(0, Turn(0.0, answer("")), over=True)
    details = over.run().incomplete_details
    assert details
    assert (over.status, details.reason, over.steps(), over.message()) == ("incomplete", "max_prompt_tokens", (), None)
    plan = plan_of(over, "v2", None)
    stream = plan.whole() + ending_of(over, "v2")
    assert names(stream) == [
        *(f"thread.run.{one}" for one in ("created", "queued", "in_progress", "incomplete")),
        "done",
    ]


def names(stream: bytes) -> list[str]:
    """The names of the events of a stream."""
    return [line.removeprefix("event: ") for line in stream.decode().split("\n") if line.startswith("event: ")]


def test_a_stream_has_each_token_in_an_event() -> None:
    """The pieces of all deltas are the text, and line breaks of Unicode do not break an event."""
    found = view(9, Turn(0.0, answer("hello\u2028 you")))
    thread = ThreadObject(id="thread_1", created_at=0)
    stream = plan_of(at_start(found, "queued"), "v2", thread).whole() + ending_of(found, "v2")
    assert names(stream)[:2] == ["thread.created", "thread.run.created"]
    assert len(stream.decode().splitlines()) == 3 * len(names(stream))
    deltas = [
        msgspec.json.decode(line.removeprefix(b"data: "))["delta"]["content"][0]["text"]["value"]
        for line in stream.split(b"\n")
        if b'"delta"' in line
    ]
    assert "".join(deltas) == "hello\u2028 you"
    assert stream.endswith(b"event: done\ndata: [DONE]\n\n")


def test_versions() -> None:
    """The header may have several words; the first version shows other fields."""
    assert beta_of("realtime=v1, assistants=v1") == "v1"
    run = msgspec.structs.replace(RUN, tools=[{"type": "file_search"}])
    assert (shown(run, "v1")["tools"], shown(run, "v1")["file_ids"]) == ([{"type": "retrieval"}], [])
    assert (shown(run, "v2")["tools"], "file_ids" in shown(run, "v2")) == ([{"type": "file_search"}], False)
