"""The client of the upstream, and the pieces of its answers."""

import pytest

from mimic.errors import RequestError
from mimic.recordings.calls import UpstreamCall
from mimic.recordings.options import UpstreamOptions
from mimic.recordings.tape import MOST_KEPT, Tape
from mimic.recordings.upstream import Upstream
from tests.support.upstream import answer, scripted

PIECE = b" " * 1024 * 1024


@pytest.mark.anyio
async def test_a_slow_answer_is_asked_for_once() -> None:
    """The upstream has the request: a second one could be paid for as well."""
    with scripted([b"", answer(b"{}")]) as slow:
        slow.go_on.clear()
        async with Upstream(UpstreamOptions(slow.url), read_seconds=0.2) as upstream:
            with pytest.raises(RequestError, match="SocketTimeoutError"):
                await upstream.send(UpstreamCall(), "/v1/chat/completions", b"{}", (), "")
        assert len(slow.requests) == 1


def test_the_end_of_a_long_stream_is_kept() -> None:
    """Only the last two pieces are in memory. They may hold the mark of the end."""
    tape = Tape()
    for _ in range(MOST_KEPT // len(PIECE)):
        tape.add(PIECE)
    assert (tape.is_cut, len(tape.body)) == (False, MOST_KEPT)
    tape.add(b"data: [DO")
    tape.add(b"NE]")
    assert (tape.is_cut, tape.body) == (True, b"data: [DONE]")
    assert tape.has_at_end([b"[DONE]"])
