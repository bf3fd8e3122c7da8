"""``python -m docs.generate``: writes the tables of ``docs/reference`` that the code has the texts of.

A page has a pair of comments for each table, ``<!-- table: NAME -->`` and ``<!-- end of the table -->``. Text around
them is written by hand.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mimic.cli import main
from mimic.corpus.manifest import Origin, Seeded, Seeding, Size
from mimic.records.base import KindSizes
from mimic.server.observability.gauges import Gauges
from mimic.server.observability.metrics import COUNTERS, HISTOGRAM, LABELS_OF_SECONDS, Metrics

Row: TypeAlias = Sequence[str]

FOLDER: Final = Path(__file__).parent / "reference"
OPENAPI: Final = Path(__file__).parents[1] / "tests" / "golden" / "openapi.json"
"""The recorded OpenAPI document, which a test compares with that of a server."""
LARGEST_INTEGER: Final = 2**53 - 1
"""The largest integer that every client of JSON can write."""
TABLE: Final = re.compile(r"(?<=<!-- table: )([a-z -]+)( -->\n).*?(?=<!-- end of the table -->)", re.DOTALL)

ROUTES: Final[Mapping[str, str]] = {
    "POST /v1/chat/completions": "Answers a chat, whole or as a stream.",
    "GET /v1/chat/completions": "Lists stored chat completions, a page at a time.",
    "GET /v1/chat/completions/{completion_id}": "Gives a stored chat completion.",
    "POST /v1/chat/completions/{completion_id}": "Replaces the metadata of a stored chat completion.",
    "DELETE /v1/chat/completions/{completion_id}": "Deletes a stored chat completion.",
    "GET /v1/chat/completions/{completion_id}/messages": "Gives the messages of a stored chat completion.",
    "POST /v1/completions": "Answers a prompt, whole or as a stream.",
    "POST /v1/responses": "Answers an input of the Responses API, whole or as a stream.",
    "POST /v1/responses/compact": "Gives one item that stands for the last ten items of an input.",
    "GET /v1/responses/{response_id}": "Gives a stored response, or its events.",
    "DELETE /v1/responses/{response_id}": "Deletes a stored response.",
    "POST /v1/responses/{response_id}/cancel": "Cancels a response in the background.",
    "GET /v1/responses/{response_id}/input_items": "Gives the input of a stored response, a page at a time.",
    "POST /v1/responses/input_tokens": "Counts the tokens of an input.",
    "POST /v1/conversations": "Creates a conversation, with up to 20 items.",
    "GET /v1/conversations/{conversation_id}": "Gives a conversation, without its items.",
    "POST /v1/conversations/{conversation_id}": "Replaces the metadata of a conversation.",
    "DELETE /v1/conversations/{conversation_id}": "Deletes a conversation and its items.",
    "GET /v1/conversations/{conversation_id}/items": "Gives the items of a conversation, a page at a time.",
    "POST /v1/conversations/{conversation_id}/items": "Appends up to 20 items.",
    "GET /v1/conversations/{conversation_id}/items/{item_id}": "Gives an item.",
    "DELETE /v1/conversations/{conversation_id}/items/{item_id}": "Deletes an item, and gives the conversation.",
    "POST /v1/webhook_endpoints": "Creates a webhook endpoint, and gives its secret.",
    "GET /v1/webhook_endpoints": "Lists webhook endpoints, the newest first, a page at a time.",
    "GET /v1/webhook_endpoints/{webhook_endpoint_id}": "Gives a webhook endpoint, without its secret.",
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}": "Changes name, URL or types of events of a webhook endpoint.",
    "DELETE /v1/webhook_endpoints/{webhook_endpoint_id}": "Deletes a webhook endpoint; its pending deliveries fail.",
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}/test": "Sends a sample event, and gives the answer's status.",
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret": "Replaces the secret, and gives the new one.",
    "GET /v1/webhook_event_types": "Lists the types of events that Mimic sends.",
    "POST /v1/assistants": "Creates an assistant.",
    "GET /v1/assistants": "Lists the stored assistants, the newest first, a page at a time.",
    "GET /v1/assistants/{assistant_id}": "Gives an assistant; an unknown id gives one without instructions.",
    "POST /v1/assistants/{assistant_id}": "Replaces the given fields of a stored assistant.",
    "DELETE /v1/assistants/{assistant_id}": "Deletes a stored assistant.",
    "POST /v1/threads": "Creates a thread, with its messages.",
    "GET /v1/threads/{thread_id}": "Gives a thread, without its messages.",
    "POST /v1/threads/{thread_id}": "Replaces metadata or resources of tools of a thread.",
    "DELETE /v1/threads/{thread_id}": "Deletes a thread, its messages and its runs.",
    "POST /v1/threads/{thread_id}/messages": "Adds a message to a thread.",
    "GET /v1/threads/{thread_id}/messages": "Lists the messages of a thread, the newest first, a page at a time.",
    "GET /v1/threads/{thread_id}/messages/{message_id}": "Gives a message.",
    "POST /v1/threads/{thread_id}/messages/{message_id}": "Replaces the metadata of a message.",
    "DELETE /v1/threads/{thread_id}/messages/{message_id}": "Deletes a message.",
    "POST /v1/threads/runs": "Creates a thread, and runs it.",
    "POST /v1/threads/{thread_id}/runs": "Runs a thread: the answer of an assistant, in the background or as a stream.",
    "GET /v1/threads/{thread_id}/runs": "Lists the runs of a thread, the newest first, a page at a time.",
    "GET /v1/threads/{thread_id}/runs/{run_id}": "Gives a run in its state at the moment.",
    "POST /v1/threads/{thread_id}/runs/{run_id}": "Replaces the metadata of a run.",
    "POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs": "Continues a run with the outputs of its calls.",
    "POST /v1/threads/{thread_id}/runs/{run_id}/cancel": "Cancels a run that is active.",
    "GET /v1/threads/{thread_id}/runs/{run_id}/steps": "Lists the steps of a run, a page at a time.",
    "GET /v1/threads/{thread_id}/runs/{run_id}/steps/{step_id}": "Gives a step of a run.",
    "POST /v1/embeddings": "Gives a vector for each text: of the stand-in, or of `MIMIC_EMBEDDING_MODEL`.",
    "POST /v1/moderations": "Checks texts for the words of `MIMIC_MODERATION_WORDS`.",
    "POST /v1/files": "Stores a file of at most 512 MB.",
    "GET /v1/files": "Lists files, a page at a time.",
    "GET /v1/files/{file_id}": "Describes a file.",
    "DELETE /v1/files/{file_id}": "Deletes a file.",
    "GET /v1/files/{file_id}/content": "Gives the bytes of a file, or a range of them.",
    "POST /v1/uploads": "Begins a file that comes in parts.",
    "POST /v1/uploads/{upload_id}/parts": "Stores a part of at most 64 MB.",
    "POST /v1/uploads/{upload_id}/complete": "Makes a file of the parts.",
    "POST /v1/uploads/{upload_id}/cancel": "Cancels an upload, and deletes its parts.",
    "POST /v1/batches": "Answers the requests in a file, in the background.",
    "GET /v1/batches": "Lists batches, the newest first, a page at a time.",
    "GET /v1/batches/{batch_id}": "Describes a batch, with the number of answered lines.",
    "POST /v1/batches/{batch_id}/cancel": "Cancels a batch that has not ended.",
    "GET /v1/models": "Lists Mimic's own models.",
    "GET /v1/models/{model}": "Describes a model by any name that requests may use.",
    "DELETE /v1/models/{model}": "Accepts the deletion of a fine-tuned model, without effect; others are a 403.",
    "POST /conversation/completion": "Gives every message of the corpus that came next, in the order of the corpus.",
    "POST /conversation/seed": "Starts a seeding from `SEED_FILE`.",
    "GET /conversation/seed": "Reports the progress or the result of the last seeding.",
    "GET /corpus": "Describes the corpus: counts, sizes, lengths, senders with their roles, source and date.",
    "GET /corpus/search": "Finds messages that are similar to a text.",
    "GET /corpus/{version}/conversations/{document}": "Gives the conversation of a document, a page at a time.",
    "GET /mimic/requests": "Gives the journal of requests.",
    "DELETE /mimic/requests": "Empties the journal, and resets rate limits and the faults of a seed.",
    "GET /mimic/webhook_deliveries": "Lists events of webhooks with their attempts, a page at a time.",
    "GET /health": "Answers 200 as long as the process is alive.",
    "GET /ready": "Answers 200 if the server can answer requests, else 503 with the reason.",
    "GET /metrics": "Gives the metrics of all worker processes in the format of Prometheus.",
}
"""The purpose of each route of the OpenAPI document."""

FIELDS: Final[Mapping[str, str]] = {
    "audio": "Ignored.",
    "background": "The response is `queued` at once, and is fetched later.",
    "best_of": "Ignored.",
    "context_management": "Ignored.",
    "conversation": "The conversation before the input, which gets input and output.",
    "dimensions": "Length of each vector.",
    "echo": "Each answer begins with its prompt.",
    "encoding_format": "Vectors as numbers, or as base64 of 32-bit floats.",
    "frequency_penalty": "Ignored.",
    "function_call": "Older form of `tool_choice`.",
    "functions": "Older form of `tools`.",
    "include": "`message.output_text.logprobs`: the text has log probabilities.",
    "input": "Texts, or tokens of `cl100k_base`.",
    "instructions": "A system message before the input.",
    "logit_bias": "Ignored.",
    "logprobs": "The answer has the log probability of each token, from the distribution of answers.",
    "max_completion_tokens": "Greatest number of tokens of each answer.",
    "max_output_tokens": "Greatest number of tokens of the answer; a longer answer is `incomplete`.",
    "max_tokens": "Greatest number of tokens of each answer.",
    "max_tool_calls": "Accepted: it limits built-in tools, which are never called.",
    "messages": "The conversation so far.",
    "metadata": "Up to 16 texts, which the response repeats.",
    "modalities": "Ignored: an answer is a text.",
    "model": "A name of Mimic's chooses the version; another name is served by `MIMIC_VERSION`.",
    "moderation": "Ignored.",
    "n": "Number of answers to each prompt.",
    "parallel_tool_calls": "`false`: an answer has at most one tool call.",
    "presence_penalty": "Ignored.",
    "previous_response_id": "The stored response that the input continues.",
    "prompt": "Texts, or tokens of the model's encoding.",
    "prompt_cache_key": "Accepted; the response repeats it.",
    "prompt_cache_retention": "Accepted; the response repeats it.",
    "reasoning": "The effort `none` gives no reasoning of `MIMIC_REASONING`; with `summary`, the reasoning has a text.",
    "reasoning_effort": "`none` gives no reasoning of `MIMIC_REASONING`; ignored otherwise.",
    "response_format": "The answer is text, a JSON object, or JSON by a schema.",
    "safety_identifier": "Accepted; the response repeats it.",
    "seed": "Seed of the draw: the same request with the same seed gets the same answer.",
    "service_tier": "Accepted; the response has `default`.",
    "stop": "Texts before which an answer ends.",
    "store": "`false`: the response is not stored, or for 10 minutes if it works in the background.",
    "stream": "The answer comes as server-sent events.",
    "stream_options": "`include_usage`: the stream ends with the usage.",
    "suffix": "Ignored.",
    "temperature": "Temperature of the draw; 0 gives the most frequent answer.",
    "text": "`format`: the answer is text, a JSON object, or JSON by a schema; `verbosity` is ignored.",
    "tool_choice": "Tools that the answer may call, must call or must not call.",
    "tools": "Tools that the answer may call.",
    "top_logprobs": "Most likely tokens to show in the place of each token.",
    "top_p": "Nucleus sampling: the draw uses the most frequent answers that make up this share.",
    "truncation": "Accepted: no input is too long.",
    "user": "Ignored.",
    "verbosity": "Ignored.",
    "web_search_options": "Ignored.",
}
"""The effect of each field of a request."""
EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = {
    **{
        (path, name): effect
        for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact")
        for name, effect in (
            ("input", "A text, or a list of items: messages, tool calls, and their results."),
            ("model", "A name of Mimic's chooses the version; without a name, `MIMIC_VERSION` does."),
            ("tools", "Functions and custom tools that the answer may call; built-in tools are ignored."),
        )
    },
    ("/v1/chat/completions", "store"): "`true`: the completion is stored, and can be fetched later.",
    ("/v1/responses", "prompt"): "Ignored; the response repeats it.",
    ("/v1/responses", "stream_options"): "Accepted: no event is obfuscated.",
    ("/v1/responses", "user"): "Accepted; the response repeats it.",
    ("/v1/completions", "logprobs"): "Most likely tokens to show in the place of each token, with log probabilities.",
    ("/v1/moderations", "input"): "A text, several texts, or one input in parts: texts and images.",
    ("/v1/moderations", "model"): "Any name; by default `omni-moderation-latest`.",
    ("/v1/embeddings", "model"): "Any name; `text-embedding-3-large` gets longer vectors of the stand-in by default.",
}
"""The effect of fields that have another effect on a route."""


def pages() -> Iterator[tuple[Path, str]]:
    """Each page of the reference with the text that it must have."""
    for path in sorted(FOLDER.glob("*.md")):
        yield path, TABLE.sub(lambda found: f"{found[1]}{found[2]}\n{TABLES[found[1]]()}\n", path.read_text())


def table(head: Row, rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(text: object) -> str:
    """A text as code."""
    return f"`{text}`"


def routes() -> str:
    """Routes of the OpenAPI document, with the statuses of their answers."""
    found = {f"{method} {path}": operation for method, path, operation in _operations()}
    undescribed = found.keys() ^ ROUTES.keys()
    assert not undescribed, undescribed
    rows = [(code(name), text, ", ".join(sorted(found[name]["responses"]))) for name, text in ROUTES.items()]
    return table(("route", "purpose", "statuses"), rows)


def parameters() -> str:
    """Query parameters of all routes."""
    rows = [
        (code(f"{method} {path}"), code(one["name"]), _allowed(one["schema"]), one["description"])
        for method, path, operation in _operations()
        for one in operation.get("parameters", ())
        if one["in"] == "query"
    ]
    return table(("route", "parameter", "value", "meaning"), rows)


def fields(path: str) -> Callable[[], str]:
    """The fields of the body that a route reads."""

    def rows() -> Iterator[Row]:
        schemas = _openapi()["components"]["schemas"]
        [operation] = [one for method, route, one in _operations() if (method, route) == ("POST", path)]
        [reference] = operation["requestBody"]["content"]["application/json"]["schema"]["allOf"]
        schema = schemas[reference["$ref"].rpartition("/")[2]]
        for name, field in sorted(schema["properties"].items()):
            required = " (required)" if name in schema["required"] else ""
            yield code(name) + required, _allowed(field), EXCEPTIONS.get((path, name), FIELDS[name])

    return lambda: table(("field", "value", "effect"), rows())


def command(name: str) -> Callable[[], str]:
    """The options of a command."""

    def rows() -> Iterator[Row]:
        found: click.Command | None = main
        for word in name.split():
            assert isinstance(found, click.Group), name
            found = found.get_command(_context(found), word)
        assert found, name
        for one in found.get_params(_context(found)):
            if isinstance(one, click.Option) and not one.hidden:
                names = "/".join([one.opts[0], *one.secondary_opts])
                kind = one.type
                choices = [code(choice) for choice in kind.choices] if isinstance(kind, click.Choice) else []
                value = ", ".join(choices) or ("" if one.is_flag else code(one.metavar or "TEXT"))
                default = f" [default `{one.default}`]" if one.show_default else ""
                yield code(names), value, f"{one.help}{default}"

    return lambda: table(("option", "value", "meaning"), rows())


def metrics() -> str:
    """Metrics that a server reports, with their types and labels."""
    labels = {**{name: names for name, (_, names) in COUNTERS.items()}, HISTOGRAM[0]: LABELS_OF_SECONDS}
    rows = [(code(_name(one)), one.type, _labels(one, labels), one.documentation) for one in _families()]
    return table(("metric", "type", "labels", "meaning"), rows)


def _families() -> Iterable[Metric]:
    """All metrics of a server that has a corpus, a seeding and records."""
    now = datetime.now(UTC)
    seeded = Seeded(1, 1, 1, Size(1, 1, 1), Origin("", 1, ""), now)
    records = {"response": KindSizes(1, 1, 1, 1)}
    text = Metrics().text() + Gauges(True, {"v3": seeded}, Seeding("", "done", "", now), records).text()
    return text_string_to_metric_families(text.decode())


def _name(metric: Metric) -> str:
    """The name of a metric as queries have it."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(metric: Metric, known: Mapping[str, Sequence[str]]) -> str:
    names = known.get(metric.name) or sorted({name for sample in metric.samples for name in sample.labels})
    return ", ".join(map(code, names))


def _openapi() -> Any:
    return json.loads(OPENAPI.read_text())


def _operations() -> Iterator[tuple[str, str, Any]]:
    """Method, path and operation of each route."""
    for path, item in _openapi()["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def _context(part: click.Command) -> click.Context:
    return click.Context(part)


def _allowed(schema: Any) -> str:
    """The values that a schema allows, in words."""
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_allowed(one) for one in schema[several] if one.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"] if value is not None)
    if "type" not in schema:
        return "object" if "$ref" in schema else "any"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = " or ".join(name for name in kinds if name != "null")
    if kind == "array":
        return f"array{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "string":
        return f"string{_bounds(schema, 'minLength', 'maxLength', ' characters')}"
    default = f" [default `{schema['default']}`]" if "default" in schema else ""
    return f"{kind}{_bounds(schema, 'minimum', 'maximum')}{default}"


def _bounds(schema: Any, least: str, most: str, unit: str = "") -> str:
    """The bounds of a value, or of its length. Bounds of a kind of integer are left out."""
    low, high = schema.get(least), schema.get(most)
    high = None if high is not None and high >= LARGEST_INTEGER else high
    if high is not None:
        return f" ({low or 0:g} to {high:,g}{unit})"
    if least != "minimum":
        return " (not empty)" if low else ""
    return f" ({low:g} or more)" if low is not None and abs(low) < LARGEST_INTEGER else ""


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "routes": routes,
    "query parameters": parameters,
    "fields of a chat": fields("/v1/chat/completions"),
    "fields of a prompt": fields("/v1/completions"),
    "fields of a response": fields("/v1/responses"),
    "fields of embeddings": fields("/v1/embeddings"),
    "fields of moderations": fields("/v1/moderations"),
    "options of seed": command("seed"),
    "options of serve": command("serve"),
    "options of records list": command("records list"),
    "options of records clear": command("records clear"),
    "options of recordings list": command("recordings list"),
    "options of export": command("export"),
    "options of chat": command("chat"),
    "options of search": command("search"),
    "metrics": metrics,
}
"""The generated tables by name."""


if __name__ == "__main__":
    for file, text in pages():
        file.write_text(text)
