"""Settings as commands read them: options over the environment, and that over a file ``.env``."""

import os
from collections.abc import Callable

import click
from dotenv import dotenv_values

from mimic.corpus.stores import open_store
from mimic.errors import SettingError
from mimic.settings import VARIABLES, Settings

OF_TESTS = "MIMIC_TEST_"
STORE_HELP = "own.db, sqlite:///own.db or mongodb://host:port/database. [MIMIC_STORE; default sqlite:///mimic.db]"


def read_settings(warn: Callable[[str], object], **options: str | None) -> Settings:
    """Settings from the environment, under it a file .env, and over it the options that were given."""
    for field, value in options.items():
        if value == "":  # of a variable that was not set, most likely: the default is not what is meant
            raise click.UsageError(f"--{field}: it is empty")
    try:
        in_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as exc:
        raise click.UsageError(f".env cannot be read: {exc}") from None
    known = {name for name, _ in VARIABLES.values()}
    misspelt = [(name, ".env") for name in in_file if name.startswith(("MIMIC_", "SEED_"))]
    misspelt += [(name, "the environment") for name in os.environ if name.startswith("MIMIC_")]
    for name, place in misspelt:
        if name not in known and not name.startswith(OF_TESTS):
            warn(f"{name} in {place} is not a setting; those are {', '.join(sorted(known))}.")
    os.environ.update({name: value for name, value in in_file.items() if name not in os.environ})
    os.environ.update({VARIABLES[field][0]: value for field, value in options.items() if value is not None})
    try:
        settings = Settings.from_environment(os.environ)
        open_store(settings.store, settings.mongo_driver)  # a URL that is none is wrong usage, too
        return settings
    except SettingError as exc:
        as_option = {VARIABLES[field][0]: f"--{field}" for field, value in options.items() if value is not None}
        raise click.UsageError(f"{as_option.get(exc.name, exc.name)}: {exc.problem}") from None
