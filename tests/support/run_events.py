"""A handler of the events of streamed runs, which OpenAI's SDK calls."""

from typing import Any

from openai import AssistantEventHandler
from openai.types.beta import AssistantStreamEvent


class Events(AssistantEventHandler):
    """The names of all events, and the pieces of text."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.pieces: list[str] = []

    def on_event(self, event: AssistantStreamEvent) -> None:
        """Note an event."""
        if not event.event.endswith("delta"):
            self.names.append(event.event.removeprefix("thread."))

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        """Note a piece."""
        self.pieces.append(delta.value)
