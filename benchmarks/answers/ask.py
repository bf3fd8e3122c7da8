"""Ask every human message of a dump through OpenAI's own client, complete and streamed, and check each answer.

    mimic seed dump.json && mimic serve &
    python -m benchmarks.answers.ask dump.json [--url http://127.0.0.1:8000/v1] [--alone] [--sample 300]

An answer must be a message that really came next, with the usage that OpenAI's tokenizer counts. tiktoken downloads its
vocabulary unless TIKTOKEN_CACHE_DIR has it. Needs the dependency group ``dev``. Exit code 1 if anything is wrong.
"""

import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import tiktoken
from openai import NotFoundError, OpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam

from mimic.corpus.conversation import role_of

LocatedMessage = tuple[str, str]
Asked = tuple[LocatedMessage, ...]


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--url", default="http://127.0.0.1:8000/v1", show_default=True)
@click.option("--alone", is_flag=True, help="Ask each message alone, not with the conversation before it.")
@click.option("--sample", type=int, help="Number of messages to ask, drawn with a fixed seed.")
def main(dump: Path, url: str, alone: bool, sample: int | None) -> None:
    """Ask, and compare with a plain reading of the file."""
    talks = [
        [(role_of(m["from"]), m["value"]) for m in element["conversations"]]
        for element in json.loads(dump.read_bytes())
    ]
    chats = [chat for talk in talks for chat in asked_of(talk, alone)]
    if sample:
        chats = random.Random(1).sample(chats, min(sample, len(chats)))  # noqa: S311 - not a secret
    found = check(chats, next_messages(talks), OpenAI(base_url=url, api_key="mimic", _strict_response_validation=True))
    click.echo(", ".join(f"{name} {number:,}" for name, number in found.items()))
    sys.exit(1 if any(number for name, number in found.items() if name.startswith("wrong")) else 0)


def asked_of(talk: list[LocatedMessage], alone: bool) -> Iterator[Asked]:
    """The chats that end with each of the user's messages."""
    for end, (role, _) in enumerate(talk, 1):
        if role == "user":
            yield tuple(talk[end - 1 : end] if alone else talk[:end])


def next_messages(talks: list[list[LocatedMessage]]) -> dict[Asked, set[str]]:
    """The messages that came after each message, and after each two."""
    following: defaultdict[Asked, set[str]] = defaultdict(set)
    for talk in talks:
        for end in range(1, len(talk)):
            for start in {max(0, end - 2), end - 1}:
                following[tuple(talk[start:end])].add(talk[end][1])
    return following


def check(chats: list[Asked], following: dict[Asked, set[str]], client: OpenAI) -> Counter[str]:
    """Counts of questions asked, answered, and answered wrongly."""
    encode = tiktoken.get_encoding("o200k_base").encode_ordinary
    found: Counter[str] = Counter({"asked": 0, "answered": 0, "by the last two messages": 0})
    found |= Counter({"wrong answers": 0, "wrong streams": 0, "wrong usage": 0, "wrong misses": 0})
    started = time.perf_counter()
    for chat in chats:
        expected = following.get(chat[-2:], set()) or following.get(chat[-1:], set())
        found["asked"] += 1
        try:
            text, usage, rung = complete(client, chat)
        except NotFoundError:
            found["wrong misses"] += bool(expected)
            continue
        found["answered"] += 1
        found["by the last two messages"] += rung == "previous"
        found["wrong answers"] += text not in expected
        streamed, chunks, streamed_usage = stream(client, chat)
        prompt = 3 + sum(3 + len(encode(role)) + len(encode(said)) for role, said in chat)
        counted = (prompt, len(encode(text)), prompt + len(encode(text)))
        found["wrong streams"] += streamed != text or chunks != counted[1]
        for one in (usage, streamed_usage):
            found["wrong usage"] += (one.prompt_tokens, one.completion_tokens, one.total_tokens) != counted
    found["seconds"] = round(time.perf_counter() - started)
    return found


def complete(client: OpenAI, chat: Asked) -> tuple[str, CompletionUsage, str]:
    """The answer, its usage, and the rung that found it."""
    response = client.chat.completions.with_raw_response.create(model="mimic-v3", messages=_messages(chat))
    completion = response.parse()
    text = completion.choices[0].message.content
    if text is None or completion.usage is None:
        raise ValueError("an answer without text or usage")
    return text, completion.usage, response.headers["x-mimic-match"]


def stream(client: OpenAI, chat: Asked) -> tuple[str, int, CompletionUsage]:
    """The answer, its number of chunks, and its usage."""
    parts: list[str] = []
    usage = None
    for chunk in client.chat.completions.create(
        model="mimic-v3", messages=_messages(chat), stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage
        delta = chunk.choices[0].delta if chunk.choices else None
        if delta and delta.content is not None and delta.role is None:
            parts.append(delta.content)
    if usage is None:
        raise ValueError("a stream without usage")
    return "".join(parts), len(parts), usage


def _messages(chat: Asked) -> list[ChatCompletionMessageParam]:
    return [{"role": role, "content": text} for role, text in chat]  # type: ignore[misc]


if __name__ == "__main__":
    main()
