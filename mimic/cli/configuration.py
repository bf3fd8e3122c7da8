"""Settings of commands: options take precedence over the environment, and that over a file ``.env``."""

import os
from collections.abc import Callable, Sequence

import click
from dotenv import dotenv_values

from mimic.corpus.stores import open_store
from mimic.errors import SettingError
from mimic.records import open_records
from mimic.settings import PREFIXES, VARIABLES, Settings, similar_setting, unknown_setting

OF_TESTS = "MIMIC_TEST_"
_ALMOST = ("MIM", "SEED")
"""Prefixes of names that may be misspelled settings. To compare every variable would take long."""
STORE_HELP = "own.db, sqlite:///own.db or mongodb://host:port/database. [MIMIC_STORE; default sqlite:///mimic.db]"


def read_settings(warn: Callable[[str], object], **options: str | None) -> Settings:
    """Read the settings from the options, the environment and a file .env. Raises UsageError."""
    for field, value in options.items():
        if value == "":  # probably an unset shell variable; the default would be wrong
            raise click.UsageError(f"--{field}: it is empty")
    try:
        in_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as exc:
        raise click.UsageError(f".env cannot be read: {exc}") from None
    misspelled = [(name, ".env") for name in in_file if _is_misspelled(name, PREFIXES)]
    misspelled += [(name, "the environment") for name in os.environ if _is_misspelled(name, PREFIXES[:1])]
    for name, place in misspelled:
        warn(f"{name} in {place} {unknown_setting(name)}.")
    os.environ.update({name: value for name, value in in_file.items() if name not in os.environ})
    os.environ.update({VARIABLES[field][0]: value for field, value in options.items() if value is not None})
    try:
        settings = Settings.from_environment(os.environ)
        open_store(settings.store, settings.mongo_driver)  # an invalid URL is wrong usage, too
        open_records(settings.records, settings.store, settings.record_options)
        return settings
    except SettingError as exc:
        as_option = {VARIABLES[field][0]: f"--{field}" for field, value in options.items() if value is not None}
        raise click.UsageError(f"{as_option.get(exc.name, exc.name)}: {exc.problem}") from None


def _is_misspelled(name: str, ours: Sequence[str]) -> bool:
    """True if a variable is meant for Mimic, but is no setting.

    A name with a prefix in ``ours`` is meant for Mimic. Another name is, if it is similar to a setting.
    """
    if name in {known for known, _ in VARIABLES.values()} or name.startswith(OF_TESTS):
        return False
    return name.startswith(tuple(ours)) or (name.upper().startswith(_ALMOST) and similar_setting(name) is not None)
