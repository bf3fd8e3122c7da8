"""The conversations that the tests of the page share."""

from tests.support.corpora import SMALL, conversation

LONG = conversation("long", *((("human", "gpt")[n % 2], f"message {n}") for n in range(130)))
STORY = " ".join(f"word{n}" for n in range(120))
SCRIPT = "<script>document.title = 'run'; alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
BIDI = "\u202eevil\u2066 \u200f\u0007"
ENDLESS = "x" * 1_000_000
HOSTILE = [
    conversation(f"{SCRIPT}#{number}", (f"human{SCRIPT}", SCRIPT), ("human", SCRIPT), ("gpt", f"{SCRIPT} {BIDI}"))
    for number in range(3)
]
DUMP = [
    *SMALL,
    LONG,
    conversation("story", ("human", "tell me a story"), ("gpt", STORY), ("human", "and then?"), ("gpt", "The end.")),
    conversation("endless", ("human", "endless"), ("gpt", ENDLESS), ("human", BIDI), ("gpt", BIDI)),
    conversation(
        "tools",
        ("human", "is it raining in Oslo"),
        ("function_call", '{"name": "get_weather", "arguments": {"location": "Oslo"}}'),
        ("observation", '{"rain": true}'),
        ("gpt", "It rains."),
    ),
    *(conversation(f"unseen_{number}", ("human", "\u200b"), ("gpt", "\u200b")) for number in range(2)),
    *HOSTILE,
]
