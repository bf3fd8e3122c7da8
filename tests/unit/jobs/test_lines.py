"""Lines of batches through ``handle``: faults, stores that are away, and equal ids for equal lines."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from mimic.corpus.schemas import Version
from mimic.engine.base import Answer, Answers, Completion, CompletionRequest, Usage
from mimic.errors import StoreUnavailable
from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.context import Gateway, Policy
from mimic.gateway.faults import FaultInjector, FaultOptions, parse_chances
from mimic.gateway.handle import Endpoint
from mimic.gateway.ledger import Changes, Ledger
from mimic.gateway.pacing import PaceOptions
from mimic.gateway.rate_limits import LimitOptions, RateLimiter
from mimic.jobs import lines
from mimic.jobs.lines import LineAnswer, LineAnswerer
from mimic.stored.batches import StoredBatch, Tally
from mimic.wire.openai.batches import BatchLine, NewBatch
from mimic.wire.openai.chat import PATH, ChatWire
from mimic.wire.openai.sampled import CompletionOptions

pytestmark = pytest.mark.anyio

CHAT = b'{"model": "mimic-v2", "messages": [{"role": "user", "content": "hi"}]}'
COMPLETION = Completion([Answers("last", 1.0, [Answer("hello", [24912], "stop", None)])], Usage(8, 1))
REQUEST = NewBatch(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
BATCH = StoredBatch(request=REQUEST, group="ab", created_at=1_700_000_000, window=60)


class Quiet:
    """An observer that records nothing."""

    is_recorded = False

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id

    def record(self, changes: Changes) -> None:
        """Do nothing."""

    def unrecord(self) -> None:
        """Do nothing."""

    def completed(self, version: Version, completion: Completion) -> None:
        """Do nothing."""

    def continued(self, version: Version, choices: int) -> None:
        """Do nothing."""

    def missed(self, version: Version) -> None:
        """Do nothing."""

    def ignored(self, fields: Sequence[str]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Setup:
    """An answerer with an engine that fails at first, as often as ``failures`` says."""

    def __init__(self, faults: str = "", failures: int = 0) -> None:
        ledger = Ledger()
        self.gateway = Gateway(
            ledger,
            Keys(("secret",), BruteForceGuard(ledger)),
            RateLimiter(LimitOptions(rpm=1, tpm=1)),
            FaultInjector(FaultOptions(parse_chances(faults) if faults else ())),
            ConcurrencyLimit(1),
            PaceOptions(),
        )
        endpoint = Endpoint(PATH, ChatWire(CompletionOptions()), self.engine, Policy(True, True, True))
        self.answerer = LineAnswerer({PATH: endpoint}, self.gateway, Quiet)
        self.asked: list[CompletionRequest] = []
        self._failures = failures

    async def engine(self, request: CompletionRequest) -> Completion:
        """Answer, or fail."""
        self.asked.append(request)
        if len(self.asked) <= self._failures:
            raise StoreUnavailable("away")
        return COMPLETION

    async def ask(self, number: int = 1, *, is_late: bool = False, **fields: Any) -> LineAnswer:
        """Answer a line."""
        body = msgspec.json.encode(msgspec.json.decode(CHAT) | fields)
        line = BatchLine(f"id-{number}", msgspec.Raw(body))
        answering = self.answerer.answer(line, number, BATCH, "owner", lambda: is_late)
        return await asyncio.create_task(answering)


async def test_a_line_is_answered_without_limits() -> None:
    """Rate limits do not apply, tokens are counted, and a repeated line has the same result."""
    setup = Setup()
    first, second, again = await setup.ask(), await setup.ask(2), await setup.ask()
    assert first == again
    assert first.tally == Tally(completed=1, input_tokens=8, output_tokens=1)
    assert first.line.response
    assert second.line.response
    answers = [msgspec.json.decode(one.body) for one in (first.line.response, second.line.response)]
    assert [answer["created"] for answer in answers] == [BATCH.created_at] * 2
    assert answers[0]["id"] != answers[1]["id"]
    assert first.line.custom_id == "id-1"
    assert not setup.gateway.places.is_full


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("100% status=418", 418, None),
        ("100% error", 500, None),
        ("100% empty", 200, None),
        ("100% disconnect", None, "connection_error"),
        ("100% disconnect; after=1", None, "connection_error"),
        ("100% malformed", None, "connection_error"),
    ],
)
async def test_a_fault_is_the_result_of_its_line(fault: str, status: int | None, error: str | None) -> None:
    """A fault that needs a connection becomes an error, and the others an answer with their status."""
    answer = await Setup(fault).ask()
    assert (answer.line.response.status_code if answer.line.response else None) == status
    assert (answer.line.error.code if answer.line.error else None) == error
    assert answer.line.is_answer == (status == 200)
    assert (answer.tally.completed, answer.tally.failed) == ((1, 0) if status == 200 else (0, 1))


async def test_a_line_cannot_stream() -> None:
    """A stream is an error of its line."""
    answer = await Setup().ask(stream=True)
    assert answer.line.error
    assert answer.line.error.code == "stream_not_supported"


async def test_a_line_waits_for_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of the store passes, so the line is repeated."""
    monkeypatch.setattr(lines, "SECONDS_BETWEEN_ATTEMPTS", 0)
    setup = Setup(failures=3)
    assert (await setup.ask()).line.is_answer
    assert len(setup.asked) == 4


async def test_a_late_line_has_expired() -> None:
    """After the window, lines are not answered any more."""
    setup = Setup()
    answer = await setup.ask(is_late=True)
    assert answer.line.error
    assert answer.line.error.code == "batch_expired"
    assert answer.tally == Tally(failed=1, expired=1)
    assert setup.asked == []
