"""Assistants of a file: a bad file is an error of the setting, which names the place."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from mimic.errors import RequestError, SettingError
from mimic.records.off import NoRecords
from mimic.settings import Settings
from mimic.stored.assistants import AssistantStore
from mimic.wire.openai.assistants.configured import parse_assistants
from mimic.wire.openai.assistants.objects import AssistantFields
from mimic.wire.openai.base import Names

OWN_ID: Final = f"asst_{'0' * 48}"


def function(**fields: Any) -> dict[str, Any]:
    """A tool with a function."""
    return {"type": "function", "function": fields}


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([], "expected a JSON object with the fields of each assistant by its id"),
        ({"": {}}, "expected a JSON object"),
        ({"a": {"temperature": 3}}, r"\$\[\.\.\.\]\.temperature"),
        ({"a": {"tools": [{"type": "other"}]}}, "the tool 0 of 'a' is invalid: expected one of the types"),
        ({"a": {"tools": [{"type": "retrieval"}, function(name="a b")]}}, "the tool 1 of 'a' is invalid"),
        ({"a": {"tools": [function(name="f", parameters={"type": 1})]}}, "the tool 0 of 'a' is invalid"),
    ],
)
def test_bad_files(found: object, problem: str) -> None:
    """The error says what is wrong, and where."""
    with pytest.raises(ValueError, match=problem):
        parse_assistants(json.dumps(found).encode())


def test_the_setting(tmp_path: Path) -> None:
    """The setting is the path of a file; a missing or invalid one is an error that names the setting."""
    file = tmp_path / "assistants.json"
    file.write_text('{"a": {"instructions": "Be brief."}}')
    settings = Settings.from_environment({"MIMIC_ASSISTANTS": str(file)})
    assert settings.assistants["a"].instructions == "Be brief."
    for text in ("{", "[]", "\ud800"):
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(SettingError, match="MIMIC_ASSISTANTS: expected a JSON object"):
            Settings.from_environment({"MIMIC_ASSISTANTS": str(file)})
    with pytest.raises(SettingError, match="MIMIC_ASSISTANTS: expected a file with assistants"):
        Settings.from_environment({"MIMIC_ASSISTANTS": str(tmp_path / "none.json")})


@pytest.mark.anyio
async def test_unknown_ids() -> None:
    """An id of another service is accepted, and refused with strict names; a known one needs no records."""
    known = {"a": AssistantFields(instructions="Be brief.")}
    lenient, strict = (AssistantStore(NoRecords(), Names(strict=one), known) for one in (False, True))
    assert (await lenient.get("asst_1", "")).model == "mimic-v3"
    for store in (lenient, strict):
        assert (await store.get("a", "")).instructions == "Be brief."
        with pytest.raises(RequestError, match=f"No assistant found with id '{OWN_ID}'"):
            await store.get(OWN_ID, "")
        with pytest.raises(RequestError, match="Assistants need records"):
            await store.create(AssistantFields(model="m"), "")
    with pytest.raises(RequestError, match="No assistant found with id 'asst_1'"):
        await strict.get("asst_1", "")
