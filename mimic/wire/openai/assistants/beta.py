"""The two versions of the Assistants API, which a header chooses."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.errors import RequestError
from mimic.spelling import shown as spelled
from mimic.wire.openai.assistants.objects import RETRIEVAL, SECONDS_OF_A_RUN

Beta: TypeAlias = Literal["v1", "v2"]
HEADER: Final = "openai-beta"
NAME: Final = "assistants="
VERSIONS: Final[Mapping[str, Beta]] = {"assistants=v1": "v1", "assistants=v2": "v2"}


def beta_of(header: str) -> Beta:
    """The version in the value of the header. Raises RequestError, as OpenAI does without the header."""
    for word in header.split(","):
        if found := VERSIONS.get(word.strip()):
            return found
    if NAME in header:
        text = f"Unknown version '{spelled(header)}' of the Assistants API: expected one of {', '.join(VERSIONS)}."
    else:
        text = (
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
            "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
        )
    raise RequestError(400, text, code="invalid_beta")


def shown(found: msgspec.Struct, beta: Beta) -> dict[str, Any]:
    """An object in a version. The first one has ``file_ids`` in place of attachments and resources of tools."""
    fields: dict[str, Any] = msgspec.to_builtins(found)
    if beta == "v2":
        return fields
    if "tools" in fields:
        fields["tools"] = [
            {**tool, "type": RETRIEVAL} if tool["type"] == "file_search" else tool for tool in fields["tools"]
        ]
    resources = fields.pop("tool_resources", {})
    if fields["object"] == "thread.message":
        fields["file_ids"] = [one["file_id"] for one in fields.pop("attachments") if "file_id" in one]
    elif fields["object"] in {"assistant", "thread.run"}:
        fields["file_ids"] = _files_in(resources)
    if fields["object"] == "thread.run":  # the first SDKs require the time
        fields["expires_at"] = fields["created_at"] + SECONDS_OF_A_RUN
    return fields


def _files_in(resources: Mapping[str, Any]) -> Sequence[str]:
    """The files for the code interpreter."""
    files = resources.get("code_interpreter", {}).get("file_ids") or ()
    return list(files)
