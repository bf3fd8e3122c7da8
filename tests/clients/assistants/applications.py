"""Applications of the Assistants kind ask the server that OPENAI_BASE_URL names, and print all outcomes as one JSON.

They run with any OpenAI SDK since 1.3.6, which has neither helpers for polling nor streams.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import openai
from openai import OpenAI

MODEL: Final = "gpt-4o"
HAIKU: Final = "Write a haiku about the sea"
WEATHER: Final = "What is the weather in Paris and Rome?"
JOHN: Final = "John Doe is 42 years old"
SLOW: Final = {"x-mimic-ttft-ms": "20000"}
PACE: Final = {"x-mimic-ttft-ms": "100", "x-mimic-itl-ms": "5"}
TOOL: Final[Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PERSON: Final[Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        },
    },
}


def answer(call: Any) -> Any:
    """The output of a tool call."""
    city = json.loads(call.function.arguments)["city"]
    return {"tool_call_id": call.id, "output": f"It is sunny in {city}"}


def outputs_of(run: Any) -> list[Any]:
    """The outputs of all calls of a run."""
    return [answer(call) for call in run.required_action.submit_tool_outputs.tool_calls]


def refusal(request: Callable[..., Any], *arguments: Any, **fields: Any) -> str | None:
    """The message of the error that a request raises."""
    try:
        request(*arguments, **fields)
    except openai.APIStatusError as error:
        return error.message
    return None


class Application:
    """An application that polls its runs in a tight loop."""

    def __init__(self, client: OpenAI) -> None:
        self.client: Any = client
        self.threads: Any = client.beta.threads

    def end(self, run: Any) -> tuple[Any, list[str]]:
        """A run that has ended or waits for outputs, and its different states in order."""
        states = [run.status]
        while run.status in {"queued", "in_progress", "cancelling"}:
            run = self.threads.runs.retrieve(run.id, thread_id=run.thread_id)
            if run.status != states[-1]:
                states.append(run.status)
        return run, states

    def newest(self, thread: str) -> Any:
        """The newest message of a thread."""
        return self.threads.messages.list(thread_id=thread).data[0]

    def panel(self) -> Any:
        """Three assistants answer on one thread in turn, each after a question."""
        names = ("Poet", "Critic", "Friend")
        panel = [self.client.beta.assistants.create(model=MODEL, name=name, instructions="Be kind.") for name in names]
        thread = self.threads.create().id
        turns, questions = [], (HAIKU, "lol. now a serious one about a storm at sea", "Tell me a joke")
        for assistant, question in zip(panel, questions, strict=True):
            self.threads.messages.create(thread, role="user", content=question)
            run, states = self.end(
                self.threads.runs.create(thread_id=thread, assistant_id=assistant.id, extra_headers=PACE)
            )
            newest = self.newest(thread)
            own = (newest.run_id, newest.assistant_id) == (run.id, assistant.id)
            turns.append({"states": states, "text": newest.content[0].text.value, "own": own})
        whole = [one.content[0].text.value for one in self.threads.messages.list(thread_id=thread, order="asc")]
        gone = [self.client.beta.assistants.delete(assistant.id).deleted for assistant in panel]
        return {"turns": turns, "thread": whole, "questions": questions, "gone": gone}

    def round_table(self) -> Any:
        """Three assistants answer one question one after the other, without another question."""
        thread = self.threads.create(messages=[{"role": "user", "content": HAIKU}]).id
        for name in ("asst_one", "asst_two", "asst_three"):
            self.end(self.threads.runs.create(thread_id=thread, assistant_id=name))
        found = self.threads.messages.list(thread_id=thread).data
        return [[one.role, one.assistant_id, bool(one.content[0].text.value)] for one in found]

    def tools(self) -> Any:
        """Two parallel calls, whose outputs are submitted together; steps show them."""
        bot = self.client.beta.assistants.create(model=MODEL, tools=[TOOL])
        thread = {"messages": [{"role": "user", "content": WEATHER}]}
        run, before = self.end(self.threads.create_and_run(assistant_id=bot.id, thread=thread))
        outputs = outputs_of(run)
        submit = self.threads.runs.submit_tool_outputs
        run, after = self.end(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs))
        steps = self.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
        return {
            "states": [before[-1], after[-1]],
            "outputs": [output["output"] for output in outputs],
            "steps": [step.type for step in steps],
            "shown": [call.function.output for call in steps[-1].step_details.tool_calls],
            "text": self.newest(run.thread_id).content[0].text.value,
        }

    def cancel(self) -> Any:
        """A run that is cancelled frees its thread, which is locked before."""
        thread = self.threads.create(messages=[{"role": "user", "content": HAIKU}]).id
        run = self.threads.runs.create(thread_id=thread, assistant_id="asst_any", extra_headers=SLOW)
        locked = [
            refusal(self.threads.messages.create, thread, role="user", content="hi"),
            refusal(self.threads.runs.create, thread, assistant_id="asst_any"),
        ]
        cancelled, _ = self.end(self.threads.runs.cancel(run.id, thread_id=thread))
        second, _ = self.end(self.threads.runs.create(thread_id=thread, assistant_id="asst_any"))
        return {"locked": locked, "states": [cancelled.status, second.status]}

    def structured(self) -> Any:
        """A structured answer to an additional message."""
        thread = self.threads.create().id
        more: Any = {"response_format": PERSON, "additional_messages": [{"role": "user", "content": JOHN}]}
        run = self.threads.runs.create(thread_id=thread, assistant_id="asst_any", extra_body=more)
        self.end(run)
        return json.loads(self.newest(thread).content[0].text.value)

    def without_vector_stores(self) -> Any:
        """The error of an application that searches in files."""
        return refusal(self.client.post, "/vector_stores", body={"name": "files"}, cast_to=object)


def outcomes() -> Mapping[str, Any]:
    """All outcomes by the names of the applications."""
    with OpenAI(max_retries=0) as client:
        one = Application(client)
        programs = (one.panel, one.round_table, one.tools, one.cancel, one.structured, one.without_vector_stores)
        return {program.__name__: program() for program in programs}


if __name__ == "__main__":
    print(json.dumps({"version": openai.__version__, **outcomes()}))  # noqa: T201 - this is how the test gets them
