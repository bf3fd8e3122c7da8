"""Applications with streamed runs and event handlers, which OpenAI's SDKs have since 2024.

They ask the server that OPENAI_BASE_URL names, and print all outcomes as one JSON.
"""

import asyncio
import json
from typing import Any

import openai
from openai import AssistantEventHandler, AsyncAssistantEventHandler, AsyncOpenAI, OpenAI

from tests.clients.assistants.applications import HAIKU, JOHN, MODEL, PERSON, TOOL, WEATHER, outputs_of


class Handler(AssistantEventHandler):
    """Notes texts and calls, and streams on with the outputs of calls from within the stream."""

    def __init__(self, client: OpenAI) -> None:
        super().__init__()
        self.client = client
        self.seen: dict[str, list[Any]] = {"texts": [], "pieces": [], "calls": [], "inner": [], "events": []}

    def on_event(self, event: Any) -> None:
        """Note the event. Streams the rest of a run that requires an action."""
        if event.event != "thread.message.delta":
            self.seen["events"].append(event.event)
        if event.event == "thread.run.requires_action":
            run, inner = event.data, Handler(self.client)
            with self.client.beta.threads.runs.submit_tool_outputs_stream(
                run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_of(run), event_handler=inner
            ) as stream:
                stream.until_done()
            self.seen["inner"].append(inner.seen)

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        """Note a piece of a text."""
        self.seen["pieces"].append(delta.value)

    def on_text_done(self, text: Any) -> None:
        """Note a whole text."""
        self.seen["texts"].append(text.value)

    def on_tool_call_done(self, tool_call: Any) -> None:
        """Note a whole call."""
        self.seen["calls"].append(json.loads(tool_call.function.arguments))


class AsyncHandler(AsyncAssistantEventHandler):
    """Notes the texts of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def on_message_done(self, message: Any) -> None:
        """Note the text of a message."""
        self.texts.append(message.content[0].text.value)


def text(client: OpenAI) -> Any:
    """A text through an event handler, and the newest message of the thread afterwards."""
    threads, handler = client.beta.threads, Handler(client)
    thread = threads.create(messages=[{"role": "user", "content": HAIKU}]).id
    with threads.runs.stream(thread_id=thread, assistant_id="asst_any", event_handler=handler) as stream:
        stream.until_done()
        [final] = stream.get_final_messages()
    newest: Any = threads.messages.list(thread).data[0]
    last: Any = final
    same = (newest.id, newest.content[0].text.value) == (last.id, last.content[0].text.value)
    return {**handler.seen, "same": same}


def tools(client: OpenAI) -> Any:
    """Two calls, whose outputs are submitted from within the handler."""
    handler, threads = Handler(client), client.beta.threads
    bot = client.beta.assistants.create(model=MODEL, tools=[TOOL])
    thread: Any = {"messages": [{"role": "user", "content": WEATHER}]}
    with threads.create_and_run_stream(assistant_id=bot.id, thread=thread, event_handler=handler) as stream:
        stream.until_done()
        [step] = stream.get_final_run_steps()
    return {**handler.seen, "step": step.type}


def polled(client: OpenAI) -> Any:
    """The helpers that poll: a run that waits for outputs, a run on its thread, and a structured answer."""
    runs = client.beta.threads.runs
    thread: Any = {"messages": [{"role": "user", "content": WEATHER}]}
    first = client.beta.threads.create_and_run_poll(assistant_id="asst_any", thread=thread, tools=[TOOL])
    ids: Any = {"run_id": first.id, "thread_id": first.thread_id}
    second = runs.submit_tool_outputs_and_poll(**ids, tool_outputs=outputs_of(first))
    third = runs.create_and_poll(
        thread_id=first.thread_id,
        assistant_id="asst_any",
        response_format=PERSON,
        additional_messages=[{"role": "user", "content": JOHN}],
    )
    own: Any = client.beta.threads.messages.list(first.thread_id, run_id=third.id).data
    return {
        "states": [one.status for one in (first, second, third)],
        "person": json.loads(own[0].content[0].text.value),
    }


def plain(client: OpenAI) -> Any:
    """The events of ``stream=True``, without a helper."""
    thread: Any = {"messages": [{"role": "user", "content": WEATHER}]}
    threads = client.beta.threads
    first: Any = list(threads.create_and_run(assistant_id="asst_any", thread=thread, tools=[TOOL], stream=True))
    run = first[-1].data
    second: Any = threads.runs.submit_tool_outputs(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_of(run), stream=True
    )
    return [[one.event for one in first], [one.event for one in second]]


async def asynchronous() -> Any:
    """Three applications at once, each on a thread of its own."""

    async def one(client: AsyncOpenAI) -> Any:
        handler = AsyncHandler()
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": HAIKU}])
        asked: Any = {"thread_id": thread.id, "assistant_id": "asst_any", "event_handler": handler}
        async with client.beta.threads.runs.stream(**asked) as stream:
            await stream.until_done()
        return handler.texts

    async with AsyncOpenAI(max_retries=0) as client:
        return await asyncio.gather(*(one(client) for _ in range(3)))


if __name__ == "__main__":
    with OpenAI(max_retries=0) as client:
        found = {program.__name__: program(client) for program in (text, tools, polled, plain)}
    found["asynchronous"] = asyncio.run(asynchronous())
    print(json.dumps({"version": openai.__version__, **found}))  # noqa: T201 - this is how the test gets them
