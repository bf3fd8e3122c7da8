"""The questions of the clients, and the true next messages of the corpus."""

from collections.abc import Sequence

import tiktoken
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ChatCompletionUserMessageParam,
)

from tests.support.corpora import Dump, conversation

HELLO = "Hello! How can I help you today?"
SEA = "The sea is never still: tides, currents and winds move it. 🌊🐙 海は広いな、大きいな。 Ask on, naïve swimmer!"
RED = "red\ngreen\nblue"
LINES = "one\u2028two\u2029three\u0085four\r\nfive\x00six"
CORPUS: Dump = [
    conversation(
        "sea_0",
        ("human", "hi"),
        ("gpt", HELLO),
        ("human", "Tell me about the sea"),
        ("gpt", SEA),
        ("human", "continue"),
        ("gpt", "Its waves are made by the wind."),
    ),
    conversation("hi_1", ("user", "hi"), ("bing", "Hey there.")),
    conversation("hi_2", ("human", "hi"), ("chatgpt", HELLO)),
    conversation("hi_3", ("human", "hi"), ("bard", "Good morning!")),
    conversation(
        "hill_0",
        ("human", "Tell me about the hills"),
        ("gpt", "They are old mountains."),
        ("human", "continue"),
        ("gpt", "Sheep live there."),
        ("human", "thanks"),
        ("gpt", "You are welcome."),
    ),
    conversation("coin_0", ("human", "Flip a coin"), ("gpt", "tails")),
    conversation("coin_1", ("human", "Flip a coin"), ("gpt", "heads")),
    conversation("red_0", ("human", "Name three colours"), ("gpt", RED)),
    conversation("lines_0", ("human", "Name some lines"), ("gpt", LINES)),
    conversation("pirate_0", ("system", "Talk like a pirate"), ("human", "hi"), ("gpt", "Ahoy!")),
]
HI = {HELLO, "Hey there.", "Good morning!", "Ahoy!"}
"""The messages that came after a "hi"."""
KEY = "unused"


def user(content: str) -> ChatCompletionUserMessageParam:
    """A message of the user."""
    return {"role": "user", "content": content}


def only(completion: ChatCompletion) -> str:
    """The text of a completion with one choice."""
    [choice] = completion.choices
    return choice.message.content or ""


def came_from(source: str) -> str:
    """The message of the corpus that ``x-mimic-source`` names."""
    name, _, position = source.partition("#")
    [found] = [element for element in CORPUS if element["id"] == name]
    return str(found["conversations"][int(position)]["value"])


def pieces(chunks: Sequence[ChatCompletionChunk], index: int = 0) -> list[str]:
    """The contents streamed for one choice, one per token; asserts the frame around them."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    first, *between, last = choices
    assert (first.delta.role, first.delta.content, first.finish_reason) == ("assistant", "", None)
    assert last.delta.to_dict() == {}
    assert last.finish_reason is not None
    assert all(choice.finish_reason is None and choice.delta.role is None for choice in between)
    return [choice.delta.content for choice in between if choice.delta.content is not None]


def prompt_tokens(messages: Sequence[ChatCompletionMessageParam], o200k: tiktoken.Encoding) -> int:
    """The tokens of a prompt as OpenAI counts them: 3 per message, its role, its content; 3 for the answer to come."""
    texts = [(str(message["role"]), str(message.get("content"))) for message in messages]
    return 3 + sum(3 + len(o200k.encode(role)) + len(o200k.encode(content)) for role, content in texts)
