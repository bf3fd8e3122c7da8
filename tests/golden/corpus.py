"""The conversations of the recorded requests."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

ANSWERS_TO_CONTINUE: Final = 300
"""More choices than one batch of a long answer holds (128)."""


def _conversation(name: object, *messages: tuple[str, str]) -> Mapping[str, Any]:
    return {"id": name, "conversations": [{"from": sender, "value": value} for sender, value in messages]}


CORPUS: Final[Sequence[Mapping[str, Any]]] = [
    _conversation("sky_0", ("human", "Why is the sky blue?"), ("gpt", "Air scatters blue light."), ("human", "Thanks")),
    _conversation("sky_1", ("human", "Why is the sky blue?"), ("gpt", "Air scatters blue light."), ("human", "ok")),
    _conversation("sky_2", ("human", "Why is the sky blue?"), ("gpt", "Rayleigh scattering 👍🏽 it is.")),
    _conversation("sky_3", ("human", "Why is the sky blue?"), ("gpt", "Ask the sea.\nIt may know.")),
    _conversation("sky_4", ("user", "Why is the sky blue?"), ("chatgpt", "It only looks so.")),
    _conversation("hi_0", ("human", "Hello!"), ("gpt", "Hi."), ("human", "Thanks!"), ("gpt", "You are welcome.")),
    _conversation("hi_1", ("human", "Goodbye"), ("gpt", "Bye."), ("human", "Thanks!"), ("gpt", "See you.")),
    _conversation("rules", ("system", "Be brief."), ("human", "Tell me a joke"), ("gpt", "No.")),
    _conversation("joke", ("human", "Tell me a joke"), ("gpt", "A horse walks into a bar.")),
    _conversation("count", ("human", "Count to five"), ("gpt", "one, two, three, four, five")),
    _conversation("päge/1 x" + "y" * 120, ("user", "你好"), ("bing", "你好, 我能帮你吗")),
    _conversation("empty", ("human", ""), ("gpt", "You said nothing.")),
    _conversation("silent", ("human", "Say nothing"), ("gpt", "")),
    _conversation(17, ("human", "A number for a name"), ("gpt", "Why not?")),
    {"conversations": [{"from": "human", "value": "nameless"}, {"from": "gpt", "value": "No id."}]},
    _conversation("tool", ("tool", '{"degrees": 21}'), ("gpt", "It is warm.")),
    _conversation("breaks", ("human", "Break the line"), ("gpt", "a\u2028b\u2029c\u0085d\x00e")),
    _conversation("words", ("human", "Many words"), ("gpt", "word " * 400)),
    *(_conversation(f"more_{n}", ("human", "continue"), ("gpt", f"part {n}")) for n in range(ANSWERS_TO_CONTINUE)),
]
