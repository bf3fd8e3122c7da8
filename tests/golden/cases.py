"""The recorded requests as data, most of them products of a few dimensions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]

NATIVE: Final = "/conversation/completion"
CHAT: Final = "/v1/chat/completions"
PROMPT: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"
RESPONSES: Final = "/v1/responses"
SEED: Final = "/conversation/seed"
JOURNAL: Final = "/mimic/requests"

JSON: Final = ("content-type", "application/json")
TOO_LARGE: Final = b" " * 10_000_001
SHOWN_CHARACTERS: Final = 300


@dataclass(frozen=True)
class Case:
    """A request: its body whole, in pieces or in chunks.

    ``raw`` are bytes to send instead; the answer is then everything until the server ends the connection. ``beside`` is
    a request sent a moment before on another connection. Without ``keeps_body`` the body is not recorded.
    """

    name: str
    method: str = "GET"
    path: str = "/"
    headers: Headers = ()
    body: bytes | None = None
    framing: Literal["whole", "pieces", "chunked"] = "whole"
    raw: bytes | None = None
    beside: "Case | None" = None
    keeps_body: bool = True

    def __str__(self) -> str:
        """The request as a message may show it."""
        if self.raw is not None:
            return repr(self.raw[:SHOWN_CHARACTERS])
        lines = [f"{self.method} {self.path[:SHOWN_CHARACTERS]} ({self.framing})"]
        lines += [f"{name}: {value[:SHOWN_CHARACTERS]}" for name, value in self.headers]
        if self.body is not None:
            lines.append(self.body[:SHOWN_CHARACTERS].decode(errors="backslashreplace"))
        return "\n".join(lines)


@dataclass(frozen=True)
class Group:
    """Requests sent one after the other to a server with these settings.

    ``key`` is an API key that the server accepts. ``unsteady`` are headers whose values depend on the time.
    """

    name: str
    cases: Sequence[Case]
    settings: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    unsteady: Sequence[str] = ()
    is_seeded: bool = True


def post(name: str, path: str, body: Any, *headers: tuple[str, str], **others: Any) -> Case:
    """A request with a body, sent as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Case(name, "POST", path, (JSON, *headers), data, **others)


def get(name: str, path: str, *headers: tuple[str, str], **others: Any) -> Case:
    """A request without a body."""
    return Case(name, "GET", path, headers, **others)


def bearer(key: str) -> tuple[str, str]:
    """The header with an API key."""
    return ("authorization", f"Bearer {key}")


def said(*texts: str, **fields: Any) -> dict[str, Any]:
    """A body for the route of conversations: human and gpt in turn, the last one human."""
    senders = ["human" if (len(texts) - n) % 2 else "gpt" for n in range(len(texts))]
    return {"messages": [{"from": sender, "value": text} for sender, text in zip(senders, texts, strict=True)]} | fields


def chat(*texts: str, **fields: Any) -> dict[str, Any]:
    """A body for the route of chats: user and assistant in turn, the last one the user."""
    roles = ["user" if (len(texts) - n) % 2 else "assistant" for n in range(len(texts))]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return {"model": "mimic-v3", "messages": messages} | fields


def prompt(prompt: Any, **fields: Any) -> dict[str, Any]:
    """A body for the route of prompts."""
    return {"model": "mimic-v3", "prompt": prompt} | fields


def embedding(given: Any, **fields: Any) -> dict[str, Any]:
    """A body for the route of embeddings."""
    return {"model": "mimic-embedding", "input": given, "dimensions": 4} | fields


SKY: Final = "Why is the sky blue?"
SKY_CHAT: Final = chat(SKY, temperature=0)
SKY_PROMPT: Final = prompt(SKY, temperature=0)
SKY_NATIVE: Final = said(SKY)
PLAIN: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "native": (NATIVE, SKY_NATIVE),
    "chat": (CHAT, SKY_CHAT),
    "prompt": (PROMPT, SKY_PROMPT),
    "embedding": (EMBEDDINGS, embedding("blue sky")),
}
"""A request with an answer, for each route that takes a body."""
STREAM: Final[Mapping[str, dict[str, Any]]] = {
    "whole": {},
    "stream": {"stream": True},
    "stream-usage": {"stream": True, "stream_options": {"include_usage": True}},
}

BAD_BODIES: Final[Mapping[str, bytes]] = {
    "empty": b"",
    "not-json": b"hello",
    "truncated": b'{"model": "mimic-v3", "messages": [',
    "trailing": b"{} {}",
    "not-utf8": b'{"model": "mimic-v3", "user": "\xff\xfe"}',
    "lone-surrogate": b'{"model": "mimic-v3", "user": "\\ud800"}',
    "deep": b"[" * 2000,
    "deep-value": b'{"metadata": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "array": b"[]",
    "null": b"null",
    "number": b"1",
    "text": b'"hello"',
    "no-fields": b"{}",
}

BAD_NATIVE: Final[Mapping[str, Any]] = {
    "messages-null": {"messages": None},
    "messages-empty": {"messages": []},
    "messages-text": {"messages": "Hello"},
    "message-number": {"messages": [1]},
    "message-no-fields": {"messages": [{}]},
    "message-no-value": {"messages": [{"from": "human"}]},
    "from-number": {"messages": [{"from": 1, "value": "x"}]},
    "value-null": {"messages": [{"from": "human", "value": "x"}, {"from": "human", "value": None}]},
}

BAD_CHAT: Final[Mapping[str, Any]] = {
    "model-missing": {"messages": SKY_CHAT["messages"]},
    "model-null": SKY_CHAT | {"model": None},
    "model-empty": SKY_CHAT | {"model": ""},
    "messages-missing": {"model": "mimic-v3"},
    "messages-null": SKY_CHAT | {"messages": None},
    "messages-empty": SKY_CHAT | {"messages": []},
    "messages-text": SKY_CHAT | {"messages": "Hello"},
    "role-unknown": SKY_CHAT | {"messages": [{"role": "robot", "content": "x"}]},
    "role-missing": SKY_CHAT | {"messages": [{"content": "x"}]},
    "content-missing": SKY_CHAT | {"messages": [{"role": "user"}]},
    "content-null": SKY_CHAT | {"messages": [{"role": "user", "content": None}]},
    "content-number": SKY_CHAT | {"messages": [{"role": "user", "content": 1}]},
    "content-empty": SKY_CHAT | {"messages": [{"role": "user", "content": []}]},
    "part-no-text": SKY_CHAT | {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    "part-unknown": SKY_CHAT | {"messages": [{"role": "user", "content": [{"type": "smell", "text": "x"}]}]},
    "n-zero": SKY_CHAT | {"n": 0},
    "n-129": SKY_CHAT | {"n": 129},
    "n-text": SKY_CHAT | {"n": "2"},
    "n-fraction": SKY_CHAT | {"n": 1.5},
    "temperature-low": SKY_CHAT | {"temperature": -0.1},
    "temperature-high": SKY_CHAT | {"temperature": 2.1},
    "top-p-high": SKY_CHAT | {"top_p": 1.1},
    "seed-fraction": SKY_CHAT | {"seed": 1.5},
    "seed-large": SKY_CHAT | {"seed": 2**63},
    "stop-five": SKY_CHAT | {"stop": ["a", "b", "c", "d", "e"]},
    "stop-number": SKY_CHAT | {"stop": 1},
    "max-tokens-zero": SKY_CHAT | {"max_tokens": 0},
    "max-completion-tokens-zero": SKY_CHAT | {"max_completion_tokens": 0},
    "stream-text": SKY_CHAT | {"stream": "yes"},
    "stream-options-alone": SKY_CHAT | {"stream_options": {"include_usage": True}},
    "stream-options-number": SKY_CHAT | {"stream": True, "stream_options": 1},
    "top-logprobs-alone": SKY_CHAT | {"top_logprobs": 2},
    "top-logprobs-21": SKY_CHAT | {"top_logprobs": 21},
    "penalty-high": SKY_CHAT | {"presence_penalty": 3},
    "logit-bias-text": SKY_CHAT | {"logit_bias": {"1": "x"}},
}

BAD_PROMPTS: Final[Mapping[str, Any]] = {
    "prompt-missing": {"model": "mimic-v3"},
    "prompt-null": prompt(None),
    "prompt-list-empty": prompt([]),
    "prompt-fraction": prompt([1.5]),
    "prompt-mixture": prompt(["x", 1]),
    "prompt-mixed-lists": prompt([[1], "x"]),
    "prompt-negative": prompt([-1]),
    "prompt-no-token": prompt([[1], [300_000]]),
    "prompt-half-character": prompt([9552, 235]),
    "prompt-too-many": prompt([SKY] * 3, n=43),
    "max-tokens-negative": prompt(SKY, max_tokens=-1),
    "stream-options-alone": prompt(SKY, stream_options={}),
    "model-empty": prompt(SKY, model=""),
}

BAD_EMBEDDINGS: Final[Mapping[str, Any]] = {
    "input-missing": {"model": "mimic-embedding"},
    "input-empty": embedding(""),
    "input-list-empty": embedding([]),
    "input-second-empty": embedding(["x", ""]),
    "input-many": embedding(["x"] * 2049),
    "input-long": embedding("word " * 8200),
    "input-mixture": embedding(["x", [1]]),
    "input-no-token": embedding([300_000]),
    "dimensions-zero": embedding("x", dimensions=0),
    "dimensions-large": embedding("x", dimensions=4097),
    "dimensions-text": embedding("x", dimensions="8"),
    "format-unknown": embedding("x", encoding_format="binary"),
    "model-null": embedding("x", model=None),
}

CONTENT_TYPES: Final[Mapping[str, Headers]] = {
    "charset": (("content-type", "application/json; charset=utf-8"),),
    "upper-case": (("content-type", "Application/JSON"),),
    "none": (),
    "text": (("content-type", "text/plain"),),
    "form": (("content-type", "application/x-www-form-urlencoded"),),
    "gzip": (JSON, ("content-encoding", "gzip")),
    "identity": (JSON, ("content-encoding", "identity")),
}

CLIENT_IDS: Final[Mapping[str, str]] = {
    "valid": "my request 1",
    "longest": "x" * 512,
    "too-long": "x" * 513,
    "not-ascii": "pr\u00e4ge",
    "empty": "",
}

FAULTS: Final[Mapping[str, str]] = {
    "status-400": "status=400",
    "status-401": "status=401",
    "status-429": "status=429; retry-after=2; should-retry=true",
    "status-429-quota": "status=429; code=insufficient_quota; should-retry=false",
    "status-500": "status=500; type=strange_error; code=strange_code",
    "status-503": "status=503; retry-after=0.5",
    "status-599": "status=599",
    "disconnect": "disconnect",
    "disconnect-after": "disconnect; after=2",
    "disconnect-after-all": "disconnect; after=99",
    "stall": "stall; seconds=0.1",
    "stall-after": "stall; after=2; seconds=0.1",
    "malformed": "malformed",
    "malformed-after": "malformed; after=3",
    "error": "error",
    "error-after": "error; after=2; type=server_error; code=overloaded",
    "slow-headers": "slow-headers; seconds=0.1",
    "empty": "empty",
    "none": "none",
}

BAD_FAULTS: Final[Mapping[str, str]] = {
    "unknown": "explosion",
    "empty-text": "",
    "status-200": "status=200",
    "status-alone": "status",
    "stray-parameter": "disconnect; seconds=1",
    "parameter-of-none": "none; after=1",
    "not-a-number": "stall; after=x",
    "twice": "status=429; retry-after=1; retry-after=2",
    "not-a-word": "error; code=Not A Word",
}

PACES: Final[Mapping[str, Headers]] = {
    "both": (("x-mimic-ttft-ms", "5"), ("x-mimic-itl-ms", "1")),
    "spread": (("x-mimic-ttft-ms", "5/2"), ("x-mimic-itl-ms", "1/0.5")),
    "named": (("x-mimic-pace", "typical"), ("x-mimic-ttft-ms", "1"), ("x-mimic-itl-ms", "0.1")),
    "instant": (("x-mimic-pace", "instant"),),
}

BAD_PACES: Final[Mapping[str, tuple[str, str]]] = {
    "pace-unknown": ("x-mimic-pace", "warp"),
    "pace-empty": ("x-mimic-pace", ""),
    "ttft-negative": ("x-mimic-ttft-ms", "-1"),
    "ttft-large": ("x-mimic-ttft-ms", "600001"),
    "itl-three": ("x-mimic-itl-ms", "1/2/3"),
    "itl-empty": ("x-mimic-itl-ms", ""),
}

RUNGS: Final = ("previous", "last", "normalized", "nearest")
TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "exact": (SKY,),
    "previous": ("Hello!", "Hi.", "Thanks!"),
    "normalized": ("  WHY is the sky blue",),
    "mistyped": ("Why ist the sky so blu",),
    "other": ("Quantum zebra xylophone",),
}
"""Texts for each way to find one."""

ROUTES: Final[Mapping[str, str]] = {
    "native": NATIVE,
    "chat": CHAT,
    "prompt": PROMPT,
    "embeddings": EMBEDDINGS,
    "models": "/v1/models",
    "model": "/v1/models/mimic-v2",
    "corpus": "/corpus",
    "search": "/corpus/search?q=sky",
    "conversation": "/corpus/v3/conversations/0",
    "health": "/health",
    "ready": "/ready",
    "journal": JOURNAL,
    "seed": SEED,
    "metrics": "/metrics",
    "openapi": "/schema/openapi.json",
    "page": "/",
}
LONG_BODIES: Final = frozenset({"metrics", "openapi", "page"})
"""Routes whose bodies are recorded elsewhere, or not at all."""


DRAWS: Final[Mapping[str, dict[str, Any]]] = {
    "greedy": {"temperature": 0},
    "seed": {"seed": 7},
    "n": {"n": 3, "seed": 7},
    "n beyond": {"n": 6, "temperature": 2, "seed": 1},
    "top-p": {"top_p": 0.3, "seed": 3},
    "stop": {"temperature": 0, "stop": ["light", "zzz"]},
    "stop at once": {"temperature": 0, "stop": "Air"},
    "max-tokens": {"temperature": 0, "max_tokens": 2},
    "max-completion-tokens": {"temperature": 0, "max_tokens": 1, "max_completion_tokens": 3},
}
PROMPT_DRAWS: Final[Mapping[str, dict[str, Any]]] = {
    "n": {"n": 2, "seed": 7},
    "echo": {"echo": True, "temperature": 0},
    "max-tokens": {"max_tokens": 2, "temperature": 0},
    "max-tokens zero": {"max_tokens": 0, "echo": True},
    "stop": {"stop": [" light"], "temperature": 0},
}


def _bad_bodies(route: str, path: str, special: Mapping[str, Any]) -> Iterator[Case]:
    for name, body in BAD_BODIES.items():
        yield post(f"{route} bad body {name}", path, body)
    for name, fields in special.items():
        yield post(f"{route} bad body {name}", path, fields)


def _framings(route: str) -> Iterator[Case]:
    path, body = PLAIN[route]
    for name, headers in CONTENT_TYPES.items():
        yield replace(post(f"{route} content type {name}", path, body), headers=headers)
    yield post(f"{route} chunked", path, body, framing="chunked")
    yield post(f"{route} in pieces", path, body, framing="pieces")
    yield post(f"{route} too large", path, TOO_LARGE)


def native() -> Iterator[Case]:
    """Requests for true next messages."""
    for version in ("", "?version=v1", "?version=v2", "?version=v3"):
        for name, texts in TEXTS.items():
            yield post(f"native {name} {version or 'default'}", f"{NATIVE}{version}", said(*texts))
    for rung in RUNGS:
        for name, texts in TEXTS.items():
            yield post(f"native match {rung} {name}", f"{NATIVE}?match={rung}", said(*texts))
    queries = ["limit=1", "limit=2", "limit=0", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "limit=1.0"]
    queries += ["limit=1000000000", "limit=1000000001", "match=closest", "match=", "match=last&match=nearest"]
    queries += ["version=v4", "version=", "version=v1&version=v2", "unknown=1", "version=v2&limit=1&match=last"]
    for query in queries:
        yield post(f"native ?{query}", f"{NATIVE}?{query}", SKY_NATIVE)
    for query in ("", "?version=v1", "?version=v2", "?limit=128", "?limit=129", "?match=last"):
        yield post(f"native long {query or 'default'}", f"{NATIVE}{query}", said("continue"))
    for name, body in {
        "extra fields": said(SKY, model="x", stream=True),
        "other sender": {"messages": [{"from": "user", "value": "你好"}]},
        "empty text": said(""),
        "headers of v1": SKY_NATIVE,
    }.items():
        headers = [("x-mimic-match", "bad"), ("x-mimic-fault", "status=500")] if name == "headers of v1" else []
        yield post(f"native {name}", NATIVE, body, *headers)
    yield from _bad_bodies("native", NATIVE, BAD_NATIVE)
    yield from _framings("native")
    yield post("native too large chunked", NATIVE, TOO_LARGE, framing="chunked")


def chats() -> Iterator[Case]:
    """Chats with an answer, and chats without."""
    for stream in ("whole", "stream"):
        fields = STREAM[stream]
        for name, more in DRAWS.items():
            yield post(f"chat {stream} {name}", CHAT, chat(SKY) | fields | more)
        for model in ("mimic-v1", "mimic-v2", "gpt-4o-mini"):
            yield post(f"chat {stream} {model}", CHAT, SKY_CHAT | fields | {"model": model})
        # At a temperature of 0, since the last digit of other logarithms may depend on the machine.
        likely = {"logprobs": True, "top_logprobs": 2, "temperature": 0, "n": 2}
        yield post(f"chat {stream} logprobs", CHAT, SKY_CHAT | fields | likely)
        yield post(f"prompt {stream} logprobs", PROMPT, prompt(SKY, **likely | {"logprobs": 2}, echo=True) | fields)
        for name, texts in TEXTS.items():
            yield post(f"chat {stream} {name}", CHAT, chat(*texts, temperature=0) | fields)
    for name in ("greedy", "n", "max-tokens"):
        yield post(f"chat stream-usage {name}", CHAT, chat(SKY) | STREAM["stream-usage"] | DRAWS[name])
    yield post("chat without usage", CHAT, SKY_CHAT | {"stream": True, "stream_options": {"include_usage": False}})
    for rung in RUNGS:
        for name, texts in TEXTS.items():
            header = ("x-mimic-match", rung)
            yield post(f"chat match {rung} {name}", CHAT, chat(*texts, temperature=0), header)
    for rung in ("closest", "", "LAST"):
        yield post(f"chat match header {rung!r}", CHAT, SKY_CHAT, ("x-mimic-match", rung))
    yield from _special_chats()


def _special_chats() -> Iterator[Case]:
    user = {"role": "user", "content": SKY}
    picture = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}
    parts = [{"type": "text", "text": "Why is "}, picture, {"type": "text", "text": "the sky blue?"}]
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    weather = [
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees": 21}'},
    ]
    for name, messages in {
        "system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me a joke"}],
        "developer": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Tell me a joke"}],
        "other system": [{"role": "system", "content": "Be loud."}, user],
        "parts": [{"role": "user", "content": parts}],
        "picture alone": [{"role": "user", "content": [picture]}],
        "names": [{"role": "user", "content": SKY, "name": "eva"}],
        "tool": weather,
        "tool call alone": weather[:2],
        "null assistant": [user, {"role": "assistant", "content": None}, user],
        "empty text": [{"role": "user", "content": ""}],
        "unicode": [{"role": "user", "content": "你好"}],
        "no id": [{"role": "user", "content": "nameless"}],
        "number as id": [{"role": "user", "content": "A number for a name"}],
    }.items():
        yield post(f"chat special {name}", CHAT, {"model": "mimic-v3", "messages": messages, "temperature": 0})
    for text in ("Say nothing", "Break the line", "Many words"):
        yield post(f"chat special {text} whole", CHAT, chat(text))
        yield post(f"chat special {text} stream", CHAT, chat(text, stream=True))
    yield post("chat special very long", CHAT, chat("Many words", stream=True, n=3))
    yield post("chat special many answers", CHAT, chat("continue", n=20, seed=5))
    ignored = {"tools": [], "response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 2, "x": 1}
    yield post("chat special ignored fields", CHAT, SKY_CHAT | ignored | {"n": None, "stop": None, "stream": None})
    yield post("chat special query", f"{CHAT}?limit=x&version=v9", SKY_CHAT)
    yield post("chat special system draw", CHAT, chat(SKY, seed=2) | {"model": "mimic-v2"})
    for name, value in CLIENT_IDS.items():
        yield post(f"chat client id {name}", CHAT, SKY_CHAT, ("x-client-request-id", value))
    yield get("models client id too-long", "/v1/models", ("x-client-request-id", CLIENT_IDS["too-long"]))
    yield post("native client id too-long", NATIVE, SKY_NATIVE, ("x-client-request-id", CLIENT_IDS["too-long"]))


def bad_chats() -> Iterator[Case]:
    """Chats with an error in the body or around it."""
    yield from _bad_bodies("chat", CHAT, BAD_CHAT)
    yield from _framings("chat")
    client_id = ("x-client-request-id", CLIENT_IDS["too-long"])
    yield post("chat bad id and body", CHAT, b"{", client_id)
    yield post("chat bad fault and body", CHAT, b"{", ("x-mimic-fault", "explosion"))
    yield post("chat bad pace and body", CHAT, b"{", BAD_PACES["pace-unknown"])
    yield post("chat bad pace and match", CHAT, SKY_CHAT, BAD_PACES["pace-unknown"], ("x-mimic-match", "bad"))
    yield post("chat bad pace and miss", CHAT, chat(*TEXTS["other"]), BAD_PACES["pace-unknown"])
    yield post("chat bad id and fault", CHAT, SKY_CHAT, client_id, ("x-mimic-fault", "status=500"))


def prompts() -> Iterator[Case]:
    """Prompts, good and bad."""
    given = {
        "text": SKY,
        "texts": [SKY, "Hello!", SKY],
        "tokens": [13225, 0],
        "lists of tokens": [[13225, 0], [36198, 29709]],
        "one miss": [SKY, *TEXTS["other"]],
        "empty": "",
        "no answer": TEXTS["other"][0],
    }
    for stream in ("whole", "stream"):
        fields = STREAM[stream]
        for name, one in given.items():
            yield post(f"prompt {stream} {name}", PROMPT, prompt(one, temperature=0) | fields)
        for name, more in PROMPT_DRAWS.items():
            yield post(f"prompt {stream} {name}", PROMPT, prompt([SKY, "Hello!"]) | fields | more)
    for name, one in {"text": SKY, "texts": [SKY, "Hello!"]}.items():
        fields = STREAM["stream-usage"]
        yield post(f"prompt stream-usage {name}", PROMPT, prompt(one, temperature=0, echo=True) | fields)
    yield post("prompt match last", PROMPT, prompt(TEXTS["mistyped"][0]), ("x-mimic-match", "last"))
    yield post("prompt match bad", PROMPT, SKY_PROMPT, ("x-mimic-match", "bad"))
    yield post("prompt other model", PROMPT, SKY_PROMPT | {"model": "gpt-3.5-turbo-instruct"})
    yield from _bad_bodies("prompt", PROMPT, BAD_PROMPTS)
    yield from _framings("prompt")


def responses() -> Iterator[Case]:
    """Responses: a text, calls, and a cut text, whole and in a stream; counts, errors and faults."""
    function = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    bodies: dict[str, dict[str, Any]] = {
        "text": {"model": "mimic-v3", "input": SKY, "temperature": 0},
        "instructions": {"model": "mimic-v3", "input": SKY, "instructions": "Be brief", "metadata": {"a": "b"}},
        "call": {"model": "mimic-v3", "input": SKY, "tools": [function], "tool_choice": "required"},
        "custom": {"input": SKY, "tools": [{"type": "custom", "name": "note"}], "tool_choice": "required"},
        "ignored": {"input": SKY, "tools": [{"type": "web_search"}], "reasoning": {"effort": "low"}},
        "item": {"input": [{"role": "user", "content": [{"type": "input_text", "text": SKY}]}]},
        "cut": {"model": "mimic-v3", "input": SKY, "temperature": 0, "max_output_tokens": 16},
        "miss": {"model": "mimic-v3", "input": "nobody said this"},
        "wrong item": {"input": [{"role": "user"}]},
        "too short": {"input": SKY, "max_output_tokens": 1},
        "unknown response": {"input": SKY, "previous_response_id": "resp_1"},
    }
    for name, body in bodies.items():
        yield post(f"response {name}", RESPONSES, body)
        yield post(f"response {name} stream", RESPONSES, {**body, "stream": True})
    yield post("response count", f"{RESPONSES}/input_tokens", bodies["instructions"])
    for fault in ("error; after=1", "malformed; after=1", "disconnect; after=1", "empty", "status=500"):
        body = {**bodies["text"], "stream": True}
        yield post(f"response with {fault}", RESPONSES, body, ("x-mimic-fault", fault))


def embeddings() -> Iterator[Case]:
    """Embeddings, good and bad."""
    for encoding in (None, "float", "base64"):
        for name, given in {"text": "blue sky", "texts": ["blue", "sky"], "tokens": [[13225], [0]]}.items():
            yield post(f"embedding {encoding} {name}", EMBEDDINGS, embedding(given, encoding_format=encoding))
    yield post("embedding large model", EMBEDDINGS, {"model": "text-embedding-3-large", "input": "x"})
    yield post("embedding default size", EMBEDDINGS, {"model": "x", "input": "x", "encoding_format": "base64"})
    yield post("embedding with fault header", EMBEDDINGS, embedding("x"), ("x-mimic-fault", "status=500"))
    yield from _bad_bodies("embedding", EMBEDDINGS, BAD_EMBEDDINGS)
    yield from _framings("embedding")


def faults() -> Iterator[Case]:
    """Faults and paces asked for by a header."""
    for route, path, body in (("chat", CHAT, SKY_CHAT), ("prompt", PROMPT, SKY_PROMPT)):
        for stream in ("whole", "stream"):
            for name, value in FAULTS.items():
                header = ("x-mimic-fault", value)
                yield post(f"{route} {stream} fault {name}", path, body | STREAM[stream], header)
            for name, headers in PACES.items():
                yield post(f"{route} {stream} pace {name}", path, body | STREAM[stream], *headers)
        for name, value in BAD_FAULTS.items():
            yield post(f"{route} bad fault {name}", path, body, ("x-mimic-fault", value))
        for name, header in BAD_PACES.items():
            yield post(f"{route} bad pace {name}", path, body, header)
    for name in ("disconnect-after", "malformed-after", "error-after", "stall-after", "empty"):
        fault = ("x-mimic-fault", FAULTS[name])
        fields = STREAM["stream-usage"] | {"n": 2, "seed": 7}
        yield post(f"chat stream-usage n fault {name}", CHAT, chat(SKY) | fields, fault)
        yield post(f"chat paced stream fault {name}", CHAT, SKY_CHAT | STREAM["stream"], fault, *PACES["both"])
        yield post(f"chat miss fault {name}", CHAT, chat(*TEXTS["other"]), fault)
    for name in ("status-429", "disconnect", "error", "empty"):
        yield post(f"chat bad body fault {name}", CHAT, b"{", ("x-mimic-fault", FAULTS[name]))
    two = [("x-mimic-fault", FAULTS["status-500"]), ("x-mimic-fault", FAULTS["empty"])]
    yield post("chat two faults", CHAT, SKY_CHAT, *two)
    yield post("chat fault chunked", CHAT, SKY_CHAT, ("x-mimic-fault", "status=500"), framing="chunked")
    yield post("chat fault in pieces", CHAT, SKY_CHAT, ("x-mimic-fault", "disconnect"), framing="pieces")
    yield get("models with fault header", "/v1/models", ("x-mimic-fault", "status=500"))


def others() -> Iterator[Case]:
    """The routes that only read, wrong methods, and unknown routes."""
    for name, path in ROUTES.items():
        for method in ("GET", "HEAD", "OPTIONS", "PUT"):
            yield Case(f"{name} {method}", method, path, keeps_body=name not in LONG_BODIES)
        if name not in PLAIN and name not in {"seed", "embeddings"}:
            yield post(f"{name} POST", path, {})
    yield Case("chat DELETE", "DELETE", CHAT)
    yield Case("seed POST disabled", "POST", SEED, (JSON,), b'{"secret": "x"}')
    unknown = ["/v1/responses", "/v1/chat/completions/", "/chat/completions", "/completions", "/embeddings", "/models"]
    unknown += [
        "/v1",
        "/v2/models",
        "/nothing?q=1",
        "/schema/nothing",
        "/page/nothing.js",
        "/favicon.ico",
        "//v1/models",
    ]
    for path in unknown:
        yield get(f"unknown GET {path}", path)
    for path in unknown[:4]:
        yield post(f"unknown POST {path}", path, SKY_CHAT)
    for host in ("chat.example", "chat.example:8000", "localhost:1234", "127.0.0.1", "[::1]:80", "me.localhost", "box"):
        yield post(f"host {host}", CHAT, SKY_CHAT, ("host", host))
    yield get("host of a page", "/", ("host", "chat.example"))


def reading() -> Iterator[Case]:
    """Models, searches and conversations of the corpus."""
    for path in ("mimic-v1", "mimic-embedding", "gpt-4o", "org/name", "mimic-v1/", "%6Dimic-v1", "m%C3%A4rz"):
        yield get(f"model {path}", f"/v1/models/{path}")
    queries = ["", "q=", "q=sky&role=user", "q=sky&role=robot", "q=sky&limit=1", "q=sky&limit=0", "q=sky&limit=51"]
    queries += ["q=sky&version=v1", "q=sky&version=v9", "q=joke&role=assistant", "q=zzzzqqq", "q=" + "x" * 2001]
    for query in queries:
        yield get(f"search ?{query[:30]}", f"/corpus/search?{query}")
    for path in (
        "v1/conversations/5",
        "v2/conversations/8",
        "v3/conversations/8?first=1&count=1",
        "v3/conversations/-1",
    ):
        yield get(f"conversation {path}", f"/corpus/{path}")
    for path in ("v3/conversations/99999", "v9/conversations/0", "v3/conversations/x", "v3/conversations/0?count=101"):
        yield get(f"conversation {path}", f"/corpus/{path}")


def _request(method: str, path: str, *headers: str, body: bytes = b"", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: localhost", *headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connections() -> Iterator[Case]:
    """Raw bytes: several requests at once, other versions of HTTP, and bytes that are no HTTP."""
    body = json.dumps(SKY_CHAT).encode()
    last = "connection: close"
    yield Case("raw close", raw=_request("GET", "/health", last))
    yield Case("raw close chat", raw=_request("POST", CHAT, last, body=body))
    yield Case("raw pipelined", raw=_request("GET", "/health") + _request("GET", "/ready", last))
    yield Case(
        "raw pipelined posts", raw=_request("POST", CHAT, body=body) + _request("POST", NATIVE, last, body=b"{}")
    )
    faulty = _request("POST", CHAT, "x-mimic-fault: disconnect", body=body)
    yield Case("raw pipelined behind a cut", raw=faulty + _request("GET", "/ready", last))
    yield Case("raw http 1.0", raw=_request("GET", "/health", version="1.0"))
    yield Case("raw http 1.0 post", raw=_request("POST", CHAT, body=body, version="1.0"))
    yield Case("raw not http", raw=b"hello\r\n\r\n")
    yield Case("raw tls", raw=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 506)
    yield Case("raw http 2", raw=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield Case("raw connect", raw=b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n")
    yield Case("raw many headers", raw=_request("GET", "/health", *(f"x-{n}: 1" for n in range(101))))
    yield Case("raw large head", raw=b"GET /health HTTP/1.1\r\nx-large: " + b"x" * 200_000)
    yield Case("raw large url", raw=b"GET /" + b"x" * 200_000)
    yield Case("raw upgrade", raw=_request("POST", CHAT, "connection: upgrade", "upgrade: h2c", body=body))
    yield Case("raw websocket", raw=_request("GET", "/v1/realtime", "connection: upgrade", "upgrade: websocket", last))
    yield Case("raw expect", raw=_request("POST", CHAT, "expect: 100-continue", last, body=body))
    yield Case("raw two lengths", raw=_request("POST", CHAT, "content-length: 3", body=body))
    yield Case("raw bad chunk", raw=_request("POST", CHAT, "transfer-encoding: chunked") + b"zz\r\n")
    yield Case("raw head of a post", raw=_request("HEAD", CHAT, last))


KEY: Final = "sk-golden-number-one"
KEYS: Final[Mapping[str, Headers]] = {
    "right": (bearer(KEY),),
    "missing": (),
    "wrong": (bearer("sk-golden-number-nine"),),
}
ODD_KEYS: Final[Mapping[str, Headers]] = {
    "second": (bearer("sk-two"),),
    "wrong short": (bearer("sk-x"),),
    "basic": (("authorization", "Basic c2stdHdv"),),
    "bearer alone": (("authorization", "Bearer"),),
    "bearer and blanks": (("authorization", "Bearer   "),),
    "lower case": (("authorization", f"bearer {KEY}"),),
    "key alone": (("authorization", KEY),),
    "not ascii": (bearer("sch\u00fcssel"),),
    "two headers": (bearer("sk-x"), bearer(KEY)),
    "other header": (("x-api-key", KEY),),
}


def keys_of_routes() -> Iterator[Case]:
    """Each route with a key, without one, and with a wrong one."""
    for state, headers in KEYS.items():
        for route, (path, body) in PLAIN.items():
            yield post(f"{route} key {state}", path, body, *headers)
        for route, path in ROUTES.items():
            if route not in PLAIN and route not in {"embeddings", *LONG_BODIES}:
                yield get(f"{route} key {state}", path, *headers)


def keys_and_more() -> Iterator[Case]:
    """Odd keys, and keys together with another error."""
    for state, headers in ODD_KEYS.items():
        yield post(f"chat key {state}", CHAT, SKY_CHAT, *headers)
    yield post("native key second", NATIVE, SKY_NATIVE, *ODD_KEYS["second"])
    for state in ("missing", "wrong"):
        headers = KEYS[state]
        yield post(f"chat key {state} bad body", CHAT, b"{", *headers)
        yield post(f"chat key {state} fault", CHAT, SKY_CHAT, ("x-mimic-fault", "status=500"), *headers)
        yield post(f"chat key {state} bad fault", CHAT, SKY_CHAT, ("x-mimic-fault", "x"), *headers)
        yield post(f"chat key {state} bad id", CHAT, SKY_CHAT, ("x-client-request-id", "\u00e4"), *headers)
        yield get(f"unknown key {state}", "/v1/nothing", *headers)
    right = bearer(KEY)
    yield post("chat key right bad body", CHAT, b"{", right)
    yield post("chat key right bad fault", CHAT, SKY_CHAT, ("x-mimic-fault", "x"), right)
    yield post("chat key right bad id", CHAT, SKY_CHAT, ("x-client-request-id", "\u00e4"), right)
    yield post("chat key right stream", CHAT, SKY_CHAT | STREAM["stream"], right)
    yield Case("chat key missing PUT", "PUT", CHAT)
    yield get("chat key right host", "/v1/models", right, ("host", "chat.example"))
    yield post("chat key missing too large", CHAT, TOO_LARGE)


def requests_per_minute() -> Iterator[Case]:
    """Three requests per minute, and further requests."""
    yield post("rpm chat 1", CHAT, SKY_CHAT)
    yield post("rpm chat bad body", CHAT, b"{")
    yield post("rpm chat stream 3", CHAT, SKY_CHAT | STREAM["stream"])
    for name, fields in STREAM.items():
        yield post(f"rpm chat refused {name}", CHAT, SKY_CHAT | fields)
    yield post("rpm prompt refused", PROMPT, SKY_PROMPT)
    yield post("rpm embedding refused", EMBEDDINGS, embedding("x"))
    yield post("rpm chat refused with fault", CHAT, SKY_CHAT, ("x-mimic-fault", "status=500"))
    yield post("rpm chat refused bad body", CHAT, b"{")
    yield get("rpm models", "/v1/models")
    yield post("rpm native", NATIVE, SKY_NATIVE)


def requests_of_all_routes() -> Iterator[Case]:
    """Three requests per minute, of three routes."""
    yield post("rpm embedding 1", EMBEDDINGS, embedding("x"))
    yield post("rpm prompt 2", PROMPT, SKY_PROMPT)
    yield post("rpm chat fault 3", CHAT, SKY_CHAT, ("x-mimic-fault", "status=500"))
    yield post("rpm embedding refused after fault", EMBEDDINGS, embedding("x"))


def requests_that_fail() -> Iterator[Case]:
    """Three requests per minute that all fail, and count."""
    yield post("rpm chat disconnect 1", CHAT, SKY_CHAT, ("x-mimic-fault", "disconnect"))
    yield post("rpm chat bad fault 2", CHAT, SKY_CHAT, ("x-mimic-fault", "x"))
    yield post("rpm chat miss 3", CHAT, chat(*TEXTS["other"]))
    yield post("rpm chat after miss", CHAT, SKY_CHAT)


def tokens_per_minute() -> Iterator[Case]:
    """Sixty tokens per minute: requests that use them up, and requests larger than that."""
    long = chat(" ".join(["word"] * 100))
    yield post("tpm chat too large", CHAT, chat("continue", n=20, seed=5))
    yield post("tpm chat miss", CHAT, long)
    yield post("tpm chat", CHAT, SKY_CHAT)
    yield post("tpm chat stream", CHAT, SKY_CHAT | STREAM["stream-usage"])
    for name, fields in STREAM.items():
        yield post(f"tpm chat refused {name}", CHAT, chat("Count to five") | {"n": 2} | fields)
    yield post("tpm prompt refused", PROMPT, prompt(SKY, n=5, seed=1))
    yield post("tpm embedding refused", EMBEDDINGS, embedding("word " * 40))
    yield post("tpm embedding too large", EMBEDDINGS, embedding("word " * 100))
    yield post("tpm fault", CHAT, SKY_CHAT, ("x-mimic-fault", "status=500"))


def tokens_of_embeddings() -> Iterator[Case]:
    """Sixty tokens per minute, used up by an embedding."""
    yield post("tpm embedding", EMBEDDINGS, embedding("word " * 50))
    yield post("tpm embedding refused after embedding", EMBEDDINGS, embedding("word " * 50))
    yield post("tpm prompt", PROMPT, prompt("Hello!"))
    yield post("tpm chat refused after embedding with empty", CHAT, chat("continue", n=20), ("x-mimic-fault", "empty"))


def _all_kinds(name: str, rounds: int, *headers: tuple[str, str]) -> Iterator[Case]:
    for number in range(rounds):
        for route, path, body in (("chat", CHAT, SKY_CHAT), ("prompt", PROMPT, SKY_PROMPT)):
            for stream in ("whole", "stream"):
                yield post(f"{name} {number} {route} {stream}", path, body | STREAM[stream], *headers)


def everything() -> Iterator[Case]:
    """Keys, limits, faults and a journal at once."""
    yield from _all_kinds("everything", 3, bearer(KEY))
    yield post("everything embedding", EMBEDDINGS, embedding("x"), bearer(KEY))
    yield post("everything other key", CHAT, SKY_CHAT, *ODD_KEYS["second"])
    yield post("everything no key", CHAT, SKY_CHAT)
    yield post("everything wrong key", CHAT, SKY_CHAT, *KEYS["wrong"])
    yield post("everything without fault", CHAT, SKY_CHAT, bearer(KEY), ("x-mimic-fault", "none"))
    yield post("everything bad body", CHAT, b"{", bearer(KEY))


def faults_at_a_rate() -> Iterator[Case]:
    """Faults of the settings, with a seed; those of a header do not count."""
    yield from _all_kinds("rate", 6)
    yield post("rate none", CHAT, SKY_CHAT, ("x-mimic-fault", "none"))
    yield post("rate own", CHAT, SKY_CHAT, ("x-mimic-fault", "status=418"))
    yield post("rate embedding", EMBEDDINGS, embedding("x"))
    yield post("rate native", NATIVE, SKY_NATIVE)
    yield post("rate bad body", CHAT, b"{")
    yield from _all_kinds("rate later", 2)


def misses() -> Iterator[Case]:
    """Requests without an answer, on servers with a setting for one."""
    other = TEXTS["other"][0]
    for stream, fields in STREAM.items():
        yield post(f"miss chat {stream}", CHAT, chat(other) | fields)
        yield post(f"miss prompt {stream}", PROMPT, prompt(other) | fields)
        yield post(f"miss prompts {stream}", PROMPT, prompt([SKY, other], temperature=0) | fields)
        yield post(f"miss chat cut {stream}", CHAT, chat(other, max_tokens=2, n=2) | fields)
    yield post("miss chat last", CHAT, chat(TEXTS["mistyped"][0]), ("x-mimic-match", "last"))
    yield post("miss chat picture", CHAT, chat() | {"messages": [{"role": "user", "content": []}]})
    yield post("miss native", NATIVE, said(other))
    yield post("miss native match", f"{NATIVE}?match=nearest", said(other))
    yield post("miss not", CHAT, SKY_CHAT)


def strict_models() -> Iterator[Case]:
    """Names of models if only Mimic's own are allowed, on a server with another default version."""
    yield post("strict miss", CHAT, chat(*TEXTS["other"]) | {"model": "mimic-v2"})
    yield post("strict miss stream", CHAT, chat(*TEXTS["other"]) | {"model": "mimic-v2", "stream": True})
    yield post("strict miss cut", PROMPT, prompt(TEXTS["other"][0], max_tokens=1))
    yield post("strict not alike", CHAT, chat("Why do they say the sky is so very blue today?"))
    for model in ("mimic-v1", "mimic-v2", "mimic-v3", "mimic-v4", "gpt-4o", "mimic-embedding"):
        yield post(f"strict chat {model}", CHAT, SKY_CHAT | {"model": model})
        yield post(f"strict prompt {model}", PROMPT, SKY_PROMPT | {"model": model})
        yield post(f"strict embedding {model}", EMBEDDINGS, embedding("x", model=model))
    yield post("strict stream", CHAT, SKY_CHAT | STREAM["stream"] | {"model": "gpt-4o"})
    yield post("strict native", NATIVE, SKY_NATIVE)
    yield get("strict ready", "/ready")
    yield get("strict host", "/v1/models", ("host", "chat.example"))
    yield from cross_origin()


def cross_origin() -> Iterator[Case]:
    """Requests from pages of the web, and their preflights."""
    ask = ("access-control-request-method", "POST")
    more = ("access-control-request-headers", "authorization, content-type")
    for origin in ("https://chat.example", "https://evil.example", "null"):
        header = ("origin", origin)
        for name, path in (("chat", CHAT), ("native", NATIVE), ("unknown", "/nothing")):
            yield Case(f"cors preflight {name} {origin}", "OPTIONS", path, (header, ask, more))
        yield Case(f"cors options {origin}", "OPTIONS", CHAT, (header,))
        yield post(f"cors chat {origin}", CHAT, SKY_CHAT, header)
        yield post(f"cors stream {origin}", CHAT, SKY_CHAT | STREAM["stream"], header)
        yield get(f"cors unknown {origin}", "/v1/nothing", header)
    yield post("cors without origin", CHAT, SKY_CHAT)
    yield post("cors fault", CHAT, SKY_CHAT, ("origin", "https://chat.example"), ("x-mimic-fault", "status=500"))
    yield post("cors host", CHAT, SKY_CHAT, ("origin", "https://chat.example"), ("host", "chat.example"))


def in_flight() -> Iterator[Case]:
    """Requests that queue if one at a time is answered, at a pace."""
    yield from _all_kinds("paced", 1)
    slow = post("first", CHAT, SKY_CHAT, ("x-mimic-ttft-ms", "150"))
    for stream in ("whole", "stream"):
        yield post(f"behind a chat {stream}", CHAT, SKY_CHAT | STREAM[stream], beside=slow)
    yield post("behind a chat prompt", PROMPT, SKY_PROMPT, beside=slow)
    yield post("behind a chat bad body", CHAT, b"{", beside=slow)
    slow = post("first", CHAT, SKY_CHAT, ("x-mimic-ttft-ms", "400"))
    yield post("not behind a chat fault", CHAT, SKY_CHAT, ("x-mimic-fault", "status=500"), beside=slow)
    yield post("not behind a chat native", NATIVE, SKY_NATIVE, beside=slow)
    yield post("not behind a chat embedding", EMBEDDINGS, embedding("x"), beside=slow)
    yield post("paced miss", CHAT, chat(*TEXTS["other"]))
    yield post("paced instant", CHAT, SKY_CHAT, *PACES["instant"])
    yield post("paced fault", CHAT, SKY_CHAT | STREAM["stream"], ("x-mimic-fault", FAULTS["slow-headers"]))


def without_index() -> Iterator[Case]:
    """A corpus seeded without the index for similar messages, and a server without a journal."""
    yield get("no journal", JOURNAL)
    yield Case("no journal DELETE", "DELETE", JOURNAL)
    for name, texts in TEXTS.items():
        yield post(f"no index chat {name}", CHAT, chat(*texts, temperature=0))
    for rung in RUNGS:
        header = ("x-mimic-match", rung)
        yield post(f"no index chat match {rung}", CHAT, chat(*TEXTS["mistyped"]), header)
        yield post(f"no index native match {rung}", f"{NATIVE}?match={rung}", said(*TEXTS["mistyped"]))
    yield post("no index stream", CHAT, chat(*TEXTS["mistyped"], stream=True), ("x-mimic-match", "nearest"))
    yield post("no index prompt", PROMPT, prompt(TEXTS["mistyped"][0]), ("x-mimic-match", "nearest"))
    yield get("no index search", "/corpus/search?q=sky")
    yield get("no index corpus", "/corpus")


def journal() -> Iterator[Case]:
    """The journal itself."""
    yield post("journal chat", CHAT, SKY_CHAT)
    yield post("journal prompt", PROMPT, SKY_PROMPT)
    yield post("journal native", NATIVE, SKY_NATIVE)
    yield post("journal long model", CHAT, SKY_CHAT | {"model": "m" * 300})
    queries = ["", "limit=1", "limit=0", "limit=10001", "limit=x", "route=/v1/completions", "route=/nothing"]
    for query in queries:
        yield get(f"journal ?{query}", f"{JOURNAL}?{query}")
    yield Case("journal DELETE", "DELETE", JOURNAL)
    yield get("journal empty", JOURNAL)


SECRET: Final = "golden-secret-of-many-letters"


def seeding() -> Iterator[Case]:
    """Seeding over HTTP."""
    secret, wrong = ("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer wrong")
    yield get("seeding status", SEED, secret)
    yield get("seeding status wrong", SEED, wrong)
    yield get("seeding status missing", SEED)
    yield Case("seeding POST no body", "POST", SEED)
    yield Case("seeding POST secret as bearer", "POST", SEED, (secret,))
    for name, body in {"wrong": {"secret": "wrong"}, "no fields": {}, "null": {"secret": None}, "number": 1}.items():
        yield post(f"seeding POST {name}", SEED, body)
    for name in ("empty", "not-json", "truncated", "not-utf8", "lone-surrogate"):
        yield post(f"seeding POST {name}", SEED, BAD_BODIES[name])
    for name in ("charset", "none", "text", "gzip"):
        body = json.dumps({"secret": "wrong"}).encode()
        yield Case(f"seeding POST content type {name}", "POST", SEED, CONTENT_TYPES[name], body)
    yield Case("seeding POST too large", "POST", SEED, (JSON,), TOO_LARGE)


def nothing_seeded() -> Iterator[Case]:
    """A server of an empty store."""
    for route, (path, body) in PLAIN.items():
        yield post(f"nothing {route}", path, body)
    for stream in ("stream", "stream-usage"):
        yield post(f"nothing chat {stream}", CHAT, SKY_CHAT | STREAM[stream])
    yield post("nothing chat bad body", CHAT, b"{")
    yield post("nothing chat fault", CHAT, SKY_CHAT, ("x-mimic-fault", FAULTS["status-429"]))
    yield post("nothing chat empty", CHAT, SKY_CHAT, ("x-mimic-fault", "empty"))
    yield post("nothing native match", f"{NATIVE}?match=last", SKY_NATIVE)
    for route, path in ROUTES.items():
        if route not in PLAIN and route not in LONG_BODIES:
            yield get(f"nothing {route}", path)
    yield from seeding()
    # The last request, since the end of the seeding that it starts is not known.
    yield post("seeding POST starts", SEED, {"secret": SECRET})


def _strictly_named(group: Group) -> Group:
    names = [case.name for case in group.cases]
    if len(set(names)) < len(names):
        raise ValueError(f"{group.name}: names come twice: {sorted({n for n in names if names.count(n) > 1})}")
    return group


TWO_KEYS: Final = {"MIMIC_API_KEYS": f"{KEY}, sk-two"}
AT_A_RATE: Final = (
    "15% status=429; retry-after=1, 15% disconnect; after=2, 10% disconnect, 15% error; after=1, "
    "10% malformed; after=1, 10% empty, 10% slow-headers; seconds=0.02"
)
RATE: Final = {"MIMIC_FAULTS": AT_A_RATE, "MIMIC_FAULT_SEED": "7"}
STRICT: Final = {
    "MIMIC_STRICT_MODELS": "on",
    "MIMIC_VERSION": "v1",
    "MIMIC_ON_MISS": "Sorry, what was that?",
    "MIMIC_LEAST_SCORE": "0.5",
    "MIMIC_CORS_ORIGINS": "*",
}
ECHO: Final = {"MIMIC_ON_MISS": "echo", "MIMIC_CORS_ORIGINS": "https://chat.example", "SEED_SECRET": SECRET}
EVERYTHING: Final = {
    **TWO_KEYS,
    "MIMIC_RPM": "100",
    "MIMIC_TPM": "10000",
    "MIMIC_FAULTS": AT_A_RATE,
    "MIMIC_FAULT_SEED": "3",
}

GROUPS: Final[Sequence[Group]] = [
    _strictly_named(group)
    for group in (
        Group("native", list(native())),
        Group("chats", list(chats())),
        Group("bad chats", list(bad_chats())),
        Group("prompts", list(prompts())),
        Group("responses", list(responses())),
        Group("embeddings", list(embeddings())),
        Group("faults", list(faults())),
        Group("others", [*others(), *reading()]),
        Group("connections", list(connections())),
        Group("journal", list(journal())),
        Group("keys of routes", list(keys_of_routes()), TWO_KEYS, KEY),
        Group("keys and more", list(keys_and_more()), TWO_KEYS, KEY),
        Group("requests per minute", list(requests_per_minute()), {"MIMIC_RPM": "3"}),
        Group("requests of all routes", list(requests_of_all_routes()), {"MIMIC_RPM": "3"}),
        Group("requests that fail", list(requests_that_fail()), {"MIMIC_RPM": "3"}),
        Group("tokens per minute", list(tokens_per_minute()), {"MIMIC_TPM": "60"}),
        Group("tokens of embeddings", list(tokens_of_embeddings()), {"MIMIC_TPM": "60"}),
        Group("everything", list(everything()), EVERYTHING, KEY, ("x-ratelimit-remaining-requests",)),
        Group("faults at a rate", list(faults_at_a_rate()), RATE),
        Group("faults at a rate anew", list(_all_kinds("rate anew", 1)), RATE),
        Group("echoed misses", list(misses()), ECHO),
        Group("cross-origin", list(cross_origin()), ECHO),
        Group("seeding", [*seeding(), post("seeding POST no file", SEED, {"secret": SECRET})], ECHO),
        Group("strict models", list(strict_models()), STRICT),
        Group(
            "in flight",
            list(in_flight()),
            {"MIMIC_MOST_IN_FLIGHT": "1", "MIMIC_LOAD_FACTOR": "0.5", "MIMIC_TTFT_MS": "10", "MIMIC_ITL_MS": "1"},
        ),
        Group("without index", list(without_index()), {"MIMIC_MATCH": "last", "MIMIC_JOURNAL": "0"}),
        Group(
            "nothing seeded",
            list(nothing_seeded()),
            {"SEED_SECRET": SECRET, "SEED_FILE": "corpus.json"},
            is_seeded=False,
        ),
    )
]
