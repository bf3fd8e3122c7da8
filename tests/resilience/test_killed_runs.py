"""Applications of the Assistants kind go on after a kill of the server, in a stream or before tool outputs."""

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.corpora import Dump, conversation
from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

DUMP: Dump = [conversation("a", ("human", "hi"), ("gpt", "hello you there, and good evening"))]
HI: Any = {"messages": [{"role": "user", "content": "hi"}]}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
STREAMED = {"x-mimic-ttft-ms": "0", "x-mimic-itl-ms": "200"}


def test_runs_of_a_killed_server(tmp_path: Path, serve: SharedServers) -> None:
    """A run whose stream broke off completes by itself with one message; a waiting run takes its outputs, once."""
    settings = {"MIMIC_STORE": serve.store(DUMP), "MIMIC_RECORDS": f"sqlite:///{tmp_path}/records.db"}
    with Server(tmp_path, **settings) as server, sdk(server) as client:
        threads = client.beta.threads
        asked: Any = {"assistant_id": "a", "thread": HI, "tools": [TOOL], "tool_choice": "required"}
        waiting = threads.create_and_run_poll(**asked)
        stream = threads.create_and_run(assistant_id="a", thread=HI, stream=True, extra_headers=STREAMED)
        run: Any = next(event.data for event in stream if event.event == "thread.run.created")
        next(event for event in stream if event.event == "thread.message.delta")
        server.process.kill()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
    with Server(tmp_path, **settings) as server, sdk(server) as client:
        threads = client.beta.threads
        ids: Any = {"run_id": waiting.id, "thread_id": waiting.thread_id}
        found = threads.runs.retrieve(**ids)
        assert (found.status, found.required_action) == ("requires_action", waiting.required_action)
        assert found.required_action
        calls = found.required_action.submit_tool_outputs.tool_calls
        outputs: Any = [{"tool_call_id": call.id, "output": "a light"} for call in calls]
        assert threads.runs.submit_tool_outputs_and_poll(**ids, tool_outputs=outputs).status == "completed"
        with pytest.raises(openai.BadRequestError, match="do not accept tool outputs"):
            threads.runs.submit_tool_outputs(**ids, tool_outputs=outputs)
        assert threads.runs.poll(run.id, thread_id=run.thread_id).status == "completed"
        for thread, text in ((waiting.thread_id, "a light"), (run.thread_id, DUMP[0]["conversations"][1]["value"])):
            newest, first = threads.messages.list(thread).data
            assert (first.role, newest.role, newest.status) == ("user", "assistant", "completed")
            [block] = newest.content
            assert block.type == "text"
            assert block.text.value == text
