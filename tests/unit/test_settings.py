"""Settings: defaults, names, errors, and that secrets stay secret."""

from pathlib import Path

import pytest

from mimic.errors import SettingError
from mimic.settings import VARIABLES, Settings


def test_defaults() -> None:
    """An empty environment, and empty variables, give the defaults."""
    defaults = Settings.from_environment({})
    assert defaults == Settings() == Settings.from_environment({name: " " for name, _ in VARIABLES.values()})
    assert (defaults.store, defaults.version, defaults.host, defaults.port) == (
        "sqlite:///mimic.db",
        "v3",
        "127.0.0.1",
        8000,
    )
    assert (defaults.workers, defaults.mongo_driver) == (1, "pymongo")
    assert (defaults.api_keys, defaults.strict_models) == ((), False)
    assert (defaults.seed_secret, defaults.seed_file, defaults.seed_batch_size) == (
        "",
        Path("seed/conversations.json"),
        1000,
    )


def test_every_setting_has_a_variable() -> None:
    """Every setting has a variable, and every variable a setting."""
    assert set(VARIABLES) == set(Settings.__struct_fields__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIMIC_VERSION", "v4"),
        ("MIMIC_PORT", "http"),
        ("MIMIC_PORT", "65536"),
        ("MIMIC_PORT", "-1"),
        ("MIMIC_WORKERS", "0"),
        ("MIMIC_WORKERS", "1.5"),
        ("MIMIC_MONGO_DRIVER", "mongoengine"),
        ("MIMIC_STRICT_MODELS", "strict"),
        ("MIMIC_CLIENT_TIMEOUT", "0"),
        ("SEED_BATCH_SIZE", "0"),
    ],
)
def test_an_invalid_value_is_named(name: str, value: str) -> None:
    """The error has the variable, the expected form and the value."""
    with pytest.raises(SettingError, match=f"^{name}: expected .*, not '{value}'$"):
        Settings.from_environment({name: value})


def test_templates_of_prompts(tmp_path: Path) -> None:
    """Templates are one template, a JSON array, or a file with either; each has its hole once."""
    several = '["Q: {text}", "Context: {context}\\n{text}"]'
    (tmp_path / "one.txt").write_text("Answer this:\n\n{text}\n")
    (tmp_path / "several.json").write_text(several)
    for value, templates in (
        ("Q: {text}", ("Q: {text}",)),
        (several, ("Q: {text}", "Context: {context}\n{text}")),
        (str(tmp_path / "one.txt"), ("Answer this:\n\n{text}",)),
        (str(tmp_path / "several.json"), ("Q: {text}", "Context: {context}\n{text}")),
    ):
        assert Settings.from_environment({"MIMIC_PROMPT_TEMPLATES": value}).prompt_templates == templates
    (tmp_path / "none.txt").write_text("Answer this")
    for value in ("{text}", "Q: {text} {text}", '["Q: {text}", "Q:"]', '["Q: {text}"', "[1]", "none"):
        with pytest.raises(SettingError, match=r"^MIMIC_PROMPT_TEMPLATES: expected .*(\{text\}|a JSON array)"):
            Settings.from_environment({"MIMIC_PROMPT_TEMPLATES": value})
    with pytest.raises(SettingError, match=r"expected \{text\} once in a template, with text beside it, not 'Answer"):
        Settings.from_environment({"MIMIC_PROMPT_TEMPLATES": str(tmp_path / "none.txt")})


def test_keys_and_switches() -> None:
    """Keys are separated by commas with optional blanks; switches have several words."""
    assert Settings.from_environment({"MIMIC_API_KEYS": " sk-one, sk-two,"}).api_keys == ("sk-one", "sk-two")
    with pytest.raises(SettingError, match=r"^MIMIC_API_KEYS: expected keys"):
        Settings.from_environment({"MIMIC_API_KEYS": " , "})
    for words, value in ((("on", "true", "Yes", "1"), True), (("off", "false", "no", "0"), False)):
        for word in words:
            assert Settings.from_environment({"MIMIC_STRICT_MODELS": word}).strict_models is value


def test_secrets_are_not_shown() -> None:
    """The representation has neither the seed secret, nor the API keys, nor the store's URL with its password."""
    settings = Settings(store="mongodb://user:pa55word@host/db", seed_secret="hunter2", api_keys=("sk-one",))
    assert "sk-one" not in repr(settings)
    assert "pa55word" not in repr(settings)
    assert "hunter2" not in str(settings)
    assert "port=8000" in repr(settings)


def test_targets_of_webhooks() -> None:
    """Targets need a secret and records; errors show neither the URLs nor the secret."""
    secret = "whsec_" + "dG9rZW4t" * 4
    found = Settings.from_environment(
        {"MIMIC_WEBHOOKS": "https://a.example/t0ken, http://10.0.0.1:8080/", "MIMIC_WEBHOOK_SECRET": secret}
    )
    assert found.webhook_options.urls == ("https://a.example/t0ken", "http://10.0.0.1:8080/")
    assert (found.webhook_options.secret, found.webhook_options.seconds) == (secret, 600)
    assert "t0ken" not in repr(found)
    assert secret not in repr(found)
    for variables, problem in (
        ({"MIMIC_WEBHOOKS": "https://a.example/t0ken"}, "MIMIC_WEBHOOKS: needs MIMIC_WEBHOOK_SECRET"),
        ({"MIMIC_WEBHOOKS": "a.example/t0ken"}, "MIMIC_WEBHOOKS: expected URLs separated by commas"),
        ({"MIMIC_WEBHOOKS": "https://user:t0ken@a.example"}, "MIMIC_WEBHOOKS: expected URLs"),
        ({"MIMIC_WEBHOOK_SECRET": "t0ken"}, "MIMIC_WEBHOOK_SECRET: expected whsec_ and 24 to 64 bytes in base64"),
        ({"MIMIC_WEBHOOK_HOSTS": "http://a"}, "MIMIC_WEBHOOK_HOSTS: expected names without a scheme or port"),
        (
            {"MIMIC_WEBHOOKS": "https://a.example", "MIMIC_WEBHOOK_SECRET": secret, "MIMIC_RECORDS": "off"},
            "MIMIC_WEBHOOKS: needs records",
        ),
    ):
        with pytest.raises(SettingError, match=f"^{problem}") as caught:
            Settings.from_environment(variables)
        assert "t0ken" not in str(caught.value)
